"""Hunt for generated mutants of the engine: `python -m tests.simulation.mutants --count 30 --seed 1`.

Each mutant runs in a process of its own: seeds of the simulation until one fails, in the seed's own weather and in
others that faults need. One that survives is run against the unit tests of its module's folder.
"""

from __future__ import annotations

import argparse
import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable
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
    """Print a line for each mutant; the exit code is 0 whatever survives: survivors are to be explained."""
    arguments = _arguments()
    if arguments.one:
        return _run_one(Mutant.parse(arguments.one), arguments.seeds)
    if arguments.tests is not None:
        return _run_tests(Mutant.parse(arguments.tests) if arguments.tests else None)
    mutants = [Mutant.parse(text) for text in arguments.only] or choose(arguments.seed, arguments.count)
    print(f"{len(mutants)} of {len(all_mutants())} mutants, seed {arguments.seed}, {arguments.seeds} seeds each\n")
    print("| place | change | before | after | simulation | unit tests |\n|---|---|---|---|---|---|", flush=True)
    found = 0
    began_s = time.perf_counter()
    for mutant in mutants:
        change, result = changed(mutant), hunt(mutant, arguments.seeds)
        found += result.fate != SURVIVED
        units = _tested(mutant) if result.fate == SURVIVED else ""
        fate = SURVIVED if result.fate == SURVIVED else f"{result.fate} after {result.seeds}: {result.words}"
        code = " | ".join(f"`{text.replace('|', '¦')}`" for text in (change.before, change.after))
        print(
            f"| {mutant.path}:{change.line} ({mutant.index}) | {change.kind} | {code} | {fate} | {units} |", flush=True
        )
    print(f"\n{found} of {len(mutants)} were found by the simulation, {time.perf_counter() - began_s:.0f} s")
    return 0


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
    return Result(FOUND, done.stdout.count(b".") + 1, " ".join(words.split())[:60].replace("|", "¦"))


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
    from tests.simulation.weather import Weather
    from tests.simulation.world import simulate

    weathers: tuple[Callable[[Weather], None], ...] = (mutations._any, *mutations.WEATHERS)
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
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--tests", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
