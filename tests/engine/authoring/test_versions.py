"""Tests of patched."""

from __future__ import annotations

import pytest

from penstock.engine.authoring.versions import patched
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
