"""The page docs/reference/mutants.md, from the kept results of the hunts in tools/mutants.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

RESULTS = Path(__file__).parent / "mutants.toml"

_INTRODUCTION = """\
# Mutants

What the [simulator](../../tests/simulation/__init__.py) notices. A mutant is the engine without one safeguard, or with
one small change. The simulator runs random programs under random faults, one history a seed, until a seed breaks a
guarantee; the tables say how many seeds that took. `python -m tests.simulation.mutants` hunts again.

Without a mutant, {held:,} of {simulated:,} seeds held; they committed {transactions:,} transactions (`make sim`).
{note}"""

_NAMED = """\
## Safeguards that are switched off

Each is switched off by [mutations.py](../../tests/simulation/mutations.py), in weather in which it is needed, and
`test_a_missing_safeguard_is_noticed` in [test_simulation.py](../../tests/engine/runtime/test_simulation.py) holds that
a seed notices it."""

_GENERATED = """\
## Generated mutants

Chosen at random (`--count 30 --seed 1`) among the {places:,} places of `engine/core`, `engine/execution`,
`engine/runtime` and `engine/store` where a condition, an operator, a constant or a statement can be changed. Each ran
for up to {seeds} seeds. {found} of {count} were noticed by the simulator, {tested} more by a unit test, and {left} by
neither."""


class Named(msgspec.Struct, frozen=True):
    """A safeguard that was switched off. `blind`: one of those that the simulator did not notice at first."""

    name: str
    seeds: int
    words: str
    blind: bool = False


class Generated(msgspec.Struct, frozen=True):
    """A generated mutant. Of a survivor, `test`: the first unit test that fails, `why`: it survived."""

    mutant: str
    line: int
    kind: str
    before: str
    after: str
    fate: str
    seeds: int
    words: str
    test: str = ""
    why: str = ""

    @property
    def is_found(self) -> bool:
        """Whether the simulator noticed it."""
        return self.fate != "survived"

    @property
    def is_tested(self) -> bool:
        """Whether a unit test alone noticed it."""
        return not self.is_found and self.test not in ("", "survived")


class Results(msgspec.Struct, frozen=True):
    """All kept results. `places`: mutants to choose from, `seeds`: of a hunt.

    `simulated`, `held`, `transactions`: of the last long simulation without a mutant, seeds and what they committed;
    `note`: about those that did not hold."""

    places: int
    seeds: int
    simulated: int
    held: int
    transactions: int
    note: str
    named: Sequence[Named]
    generated: Sequence[Generated]


def results() -> Results:
    """The kept results."""
    return msgspec.convert(tomllib.loads(RESULTS.read_text("utf-8")), Results)


def page() -> Iterator[str]:
    """The lines of the page."""
    kept = results()
    introduction = _INTRODUCTION.format(
        held=kept.held, simulated=kept.simulated, transactions=kept.transactions, note=kept.note
    ).rstrip()
    yield from (introduction, "", _NAMED, "", "| safeguard | seeds | first violation |", "|---|---|---|")
    for named in sorted(kept.named, key=lambda one: not one.blind):
        yield _row(named.name, str(named.seeds), _code(named.words))
    found = sum(one.is_found for one in kept.generated)
    tested = sum(one.is_tested for one in kept.generated)
    count = len(kept.generated)
    left = count - found - tested
    words = _GENERATED.format(
        places=kept.places, seeds=kept.seeds, found=found, count=count, tested=tested, left=left or "none"
    )
    yield from ("", words, "", "| place | before | after | seeds | noticed by |", "|---|---|---|---|---|")
    for one in kept.generated:
        yield _row(_place(one), _code(one.before), _code(one.after), str(one.seeds), _noticed(one))
    yield from ("", "Why the simulator did not notice the others:", "")
    for one in kept.generated:
        if not one.is_found:
            yield f"- {_place(one)}: {one.why}"


def _place(one: Generated) -> str:
    path = one.mutant.partition(":")[0]
    return f"[{path.removeprefix('engine/')}:{one.line}](../../{path})"


def _noticed(one: Generated) -> str:
    if one.is_found:
        return _code(one.words)
    return _code(one.test.rpartition("::")[2]) if one.is_tested else "nothing"


def _code(text: str) -> str:
    return f"`{text.replace('`', chr(39))}`" if text else ""


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
