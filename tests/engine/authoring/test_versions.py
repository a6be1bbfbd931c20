"""Tests of patched."""

from __future__ import annotations

import pytest

from penstock.engine.authoring.chain import continue_as_new
from penstock.engine.authoring.context import info
from penstock.engine.authoring.versions import deprecate_patch, patched
from penstock.engine.authoring.workflow import workflow
from tests.engine.core import flows
from tests.engine.stage import Stage


@workflow
async def greets() -> str:
    await flows.go.wait()
    await flows.add(1, 2)
    return "old"


async def greets_anew() -> str:
    await flows.go.wait()
    is_new = patched("greet")
    await flows.add(1, 2)
    return "new" if is_new else "old"


def test_patched_is_true_for_a_run_that_reaches_it_first() -> None:
    """`patched` is true, and recorded, for a run that reaches it for the first time with the new code."""
    stage = Stage(flows.patchy)
    stage.start(flows.patchy)
    stage.signal("go")
    assert stage.described()["result"] == "new"
    assert "PatchMarked" in stage.events()


@pytest.mark.parametrize(("signals_before", "expected"), [(True, "old"), (False, "new")])
def test_patched_keeps_old_runs_on_their_path(
    monkeypatch: pytest.MonkeyPatch, signals_before: bool, expected: str
) -> None:
    """`patched` is false for a run that passed that point with the old code, true for one that had not reached it."""
    stage = Stage(greets)
    stage.start(greets)
    if signals_before:
        stage.signal("go")
    monkeypatch.setattr(greets, "fn", greets_anew)
    stage.restart()
    if not signals_before:
        stage.signal("go")
    stage.run(add=lambda a, b: a + b)
    assert stage.described()["result"] == expected


@workflow(name="versions-loops")
async def loops(rounds: int) -> list[bool]:
    """Add up, one signal a round."""
    return [await _round(n, False) for n in range(rounds)]


async def loops_anew(rounds: int) -> list[bool]:
    return [await _round(n, patched("round")) for n in range(rounds)]


async def _round(n: int, is_new: bool) -> bool:
    await flows.go.wait()
    await flows.add(n, 1)
    return is_new


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("rounds_before", [0, 2])
def test_a_patch_has_one_value_in_a_run(monkeypatch: pytest.MonkeyPatch, rounds_before: int, restarts: bool) -> None:
    """In a loop, `patched` is what it was when the run first came there: one that was there with the old code does
    not change in its later rounds, and one that begins with the new code has it in all of them."""
    stage = Stage(loops)
    if rounds_before:
        stage.start(loops, 4)
    for at in range(4):
        if at == rounds_before:
            monkeypatch.setattr(loops, "fn", loops_anew)
            stage.restart()
            if not rounds_before:
                stage.start(loops, 4)
        if restarts:
            stage.restart()
        stage.signal("go")
        stage.run(add=lambda a, b: a + b)
    assert stage.described()["result"] == [rounds_before == 0] * 4
    assert stage.events().count("PatchMarked") == (1 if rounds_before == 0 else 0)


def test_a_patch_that_is_removed_while_runs_have_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code without a patch that a run has recorded blocks that run, and the message names the patch."""
    stage = Stage(loops)
    monkeypatch.setattr(loops, "fn", loops_anew)
    stage.start(loops, 4)
    stage.signal("go")
    monkeypatch.undo()
    stage.restart()
    stage.run(add=lambda a, b: a + b)
    described = stage.described()
    assert (described["status"], described["blocked_reason"]) == ("blocked", "non_determinism")
    assert "PatchMarked round" in described["blocked_message"]


@workflow(name="versions-many")
async def many(patches: int) -> int:
    """Ask for many patches, and wait."""
    found = sum(patched(f"p{n}") for n in range(patches))
    await flows.go.wait()
    return found


def test_any_number_of_patches_replays() -> None:
    """Thousands of patches of one run fail nothing, and are found again when it is rebuilt."""
    stage = Stage(many, strict_inputs=True)
    stage.start(many, 3_000)
    stage.restart()
    stage.signal("go")
    assert stage.described()["result"] == 3_000


@workflow(name="versions-chain", version=3)
async def chained(again: bool) -> int:
    """Continue once."""
    await flows.go.wait()
    if again:
        continue_as_new(chained(False))
    return info().version


def test_a_chain_keeps_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that continues as new hands its version on, whatever the code's is by then."""
    stage = Stage(chained)
    stage.start(chained, True)
    monkeypatch.setattr(chained, "version", 4)
    stage.signal("go")
    stage.advance(1)
    assert (stage.described()["version"], stage.history()[0]["version"]) == (3, 3)
    stage.signal("go")
    assert stage.described()["result"] == 3


async def loops_without(rounds: int) -> list[bool]:
    found = []
    for n in range(rounds):
        deprecate_patch("round")
        found.append(await _round(n, True))
    return found


@pytest.mark.parametrize("is_marked", [True, False])
def test_a_deprecated_patch_passes(monkeypatch: pytest.MonkeyPatch, is_marked: bool) -> None:
    """Code with `deprecate_patch` continues runs that recorded the patch, and records nothing in new ones."""
    stage = Stage(loops)
    monkeypatch.setattr(loops, "fn", loops_anew if is_marked else loops_without)
    stage.start(loops, 3)
    stage.signal("go")
    monkeypatch.setattr(loops, "fn", loops_without)
    for _ in range(3):
        stage.restart()
        stage.run(add=lambda a, b: a + b)
        stage.signal("go")
    assert stage.described()["result"] == [True] * 3
    assert stage.events().count("PatchMarked") == (1 if is_marked else 0)


def test_a_run_from_before_a_deprecated_patch_is_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that passed the place with the code before the patch is BLOCKED where the old path is gone."""
    stage = Stage(greets)
    stage.start(greets)
    stage.signal("go")
    stage.restart()

    async def changed() -> str:
        await flows.go.wait()
        deprecate_patch("greet")
        return "new"

    monkeypatch.setattr(greets, "fn", changed)
    stage.restart()
    stage.run(add=lambda a, b: a + b)
    assert stage.described()["blocked_reason"] == "non_determinism"
