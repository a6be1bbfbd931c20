"""Hunt for mutants of the engine: `python -m tests.simulation.mutants --count 30 --seed 1`, or `--named`.

A generated mutant runs in a process of its own: seeds of the simulation until one fails, in the seed's own weather and
in others that faults need. One that survives is run against the engine's unit tests. The named ones are those of
mutations.py. The results are printed as TOML; tools/mutants.toml keeps them for docs/reference/mutants.md.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.simulation.mutate import Mutant, all_mutants, changed, choose, install

ROOT = Path(__file__).resolve().parents[2]
SEEDS_MAX = 150
TIMEOUT_S = 240
FAILURES_MAX = 10
TESTS = ("tests/engine", "tests/contract/test_store.py")
FOUND, SURVIVED, HUNG = "found", "survived", "hung"


class Result(NamedTuple):
    """Fate of a mutant: how the simulation ended, after how many seeds, and the first words of the violation."""

    fate: str
    seeds: int
    words: str


def main() -> int:
    """Print an entry for each mutant; the exit code is 0 whatever survives: survivors are to be explained."""
    arguments = _arguments()
    if arguments.one:
        return _run_one(Mutant.parse(arguments.one), arguments.seeds)
    if arguments.tests is not None:
        return _run_tests(Mutant.parse(arguments.tests) if arguments.tests else None)
    if arguments.named:
        return _print_named(arguments.seeds)
    mutants = [Mutant.parse(text) for text in arguments.only] or choose(arguments.seed, arguments.count)
    print(f"# {len(mutants)} of {len(all_mutants())} mutants, seed {arguments.seed}, {arguments.seeds} seeds each")
    began_s = time.perf_counter()
    found = sum(_print_one(mutant, arguments.seeds) for mutant in mutants)
    print(f"# {found} of {len(mutants)} were found by the simulation, {time.perf_counter() - began_s:.0f} s")
    return 0


def _print_one(mutant: Mutant, seeds: int) -> bool:
    """Hunt for a mutant and print its entry; returns whether the simulation found it."""
    change, result = changed(mutant), hunt(mutant, seeds)
    entry = {
        "mutant": str(mutant), "line": change.line, "kind": change.kind, "before": change.before, "after": change.after,
        "fate": result.fate, "seeds": result.seeds, "words": result.words,
        "test": _tested(mutant) if result.fate == SURVIVED else "",
    }  # fmt: skip
    _print_entry("generated", entry)
    return result.fate != SURVIVED


def _print_named(seeds: int) -> int:
    """Print how many seeds of its weather each named mutation took."""
    from tests.simulation.mutations import MUTATIONS

    for name in MUTATIONS:
        found = seeds_of(name, seeds)
        _print_entry("named", {"name": name, "seeds": found.seeds, "words": found.words})
    return 0


def seeds_of(name: str, seeds: int) -> Result:
    """How many seeds a named mutation took, and what was found."""
    from tests.simulation.mutations import MUTATIONS, mutated
    from tests.simulation.world import Failed, simulate

    with mutated(name):
        for seed in range(seeds):
            try:
                simulate(seed, MUTATIONS[name].weather)
            except Failed as failed:
                return Result(FOUND, seed + 1, _short(str(failed.violation)))
    return Result(SURVIVED, seeds, "")


def _print_entry(kind: str, entry: Mapping[str, str | int]) -> None:
    print(f"\n[[{kind}]]")
    for key, value in entry.items():
        print(f"{key} = {json.dumps(value, ensure_ascii=False)}")
    sys.stdout.flush()


def _short(text: str) -> str:
    return " ".join(text.split())[:60]


def hunt(mutant: Mutant, seeds: int) -> Result:
    """Simulate the mutant in another process."""
    command = [sys.executable, "-m", "tests.simulation.mutants", "--one", str(mutant), "--seeds", str(seeds)]
    try:
        done = _run(command)
    except subprocess.TimeoutExpired as expired:
        return Result(HUNG, (expired.stdout or b"").count(b"."), f"no end within {TIMEOUT_S} s")
    last = done.stdout.decode(errors="replace").rsplit("\n", 2)
    if done.returncode == 0 and SURVIVED in last[-2:][0]:
        return Result(SURVIVED, seeds, "")
    words = next((line for line in last if ":" in line), done.stderr.decode(errors="replace").strip()[-120:])
    return Result(FOUND, done.stdout.count(b".") + 1, _short(words))


@functools.cache
def _failures(mutant: Mutant | None) -> tuple[str, ...]:
    """Unit tests that fail with the mutant, or without one."""
    try:
        done = _run([sys.executable, "-m", "tests.simulation.mutants", "--tests", str(mutant or "")])
    except subprocess.TimeoutExpired:
        return (HUNG,)
    lines = done.stdout.decode(errors="replace").splitlines()
    failed = tuple(line.split()[1].split("[")[0] for line in lines if line.startswith(("FAILED", "ERROR")))
    return failed or ((f"exit code {done.returncode}",) if done.returncode else ())


def _tested(mutant: Mutant) -> str:
    """The first unit test that fails with the mutant alone."""
    return next((failed for failed in _failures(mutant) if failed not in _failures(None)), SURVIVED)


def _run(command: list[str]) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=TIMEOUT_S, check=False)


def _run_one(mutant: Mutant, seeds: int) -> int:
    """Print a dot for each seed that held, then the violation, or that the mutant survived."""
    install(mutant)
    from tests.simulation import mutations
    from tests.simulation.mutation import any_weather
    from tests.simulation.weather import Weather
    from tests.simulation.world import simulate

    weathers: tuple[Callable[[Weather], None], ...] = (any_weather, *mutations.WEATHERS)
    for seed in range(seeds):
        try:
            # Every second seed has its own weather, the others those of the named mutations in turn.
            simulate(seed, weathers[0] if seed % 2 else weathers[seed // 2 % len(weathers)])
        except Exception as error:
            violation = getattr(error, "violation", error)
            print(f"\n{type(violation).__name__}: {str(violation).splitlines()[0] if str(violation) else ''}")
            return 1
        print(".", end="", flush=True)
    print(f"\n{SURVIVED}")
    return 0


def _run_tests(mutant: Mutant | None) -> int:
    """Run the unit tests."""
    import pytest

    if mutant is not None:
        install(mutant)
    options = [
        "--ignore=tests/engine/runtime/test_simulation.py",
        "-p",
        "no:cacheprovider",
        f"--maxfail={FAILURES_MAX}",
    ]
    return int(pytest.main(["-q", "-m", "not broker", *options, *TESTS]))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants", description=__doc__)
    parser.add_argument("--count", type=int, default=30, help="how many mutants (30)")
    parser.add_argument("--seed", type=int, default=1, help="seed of their choice (1)")
    parser.add_argument("--seeds", type=int, default=SEEDS_MAX, help=f"seeds of the simulation for each ({SEEDS_MAX})")
    parser.add_argument("--only", nargs="*", default=[], help="these mutants, as PATH:INDEX")
    parser.add_argument("--named", action="store_true", help="the mutations of mutations.py instead")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--tests", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
