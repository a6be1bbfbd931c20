"""Tests of a run's own randomness and of side effects."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.engine.authoring.chain import continue_as_new
from penstock.engine.authoring.context import info, uuid4
from penstock.engine.authoring.context import side_effect as made
from penstock.engine.authoring.workflow import workflow
from tests.engine.core import flows
from tests.engine.stage import Stage


def test_random_values_repeat_on_replay() -> None:
    """random(), uuid4() and side_effect() give the same on replay."""
    results = []
    for evicts in (False, True):
        stage = Stage(flows.chancy)
        stage.start(flows.chancy, message_id="same")
        if evicts:
            stage.nodes[0].runs.clear()
        stage.signal("go")
        results.append(stage.described()["result"])
    assert results[0] == results[1] and results[0][2] == 42


@workflow
async def asks_run_for_an_id() -> str:
    return made(lambda: str(uuid4()))


@workflow
async def nests() -> int:
    return made(lambda: made(lambda: 1) + 1)


@pytest.mark.parametrize("flow", [asks_run_for_an_id, nests])
def test_a_side_effect_may_not_change_its_run(flow: Any) -> None:
    """A request from within a side effect, which replay does not run, fails the run and names the remedy."""
    stage = Stage(flow)
    stage.start(flow)
    assert "side_effect() runs, which is not run again on replay" in stage.described()["failure"]["message"]


@workflow
async def measures(rounds: int) -> list[Any]:
    found = []
    for _ in range(rounds):
        await flows.go.wait()
        known = info()
        found.append([known.history_length, known.chain_length, known.continue_as_new_suggested])
    if info().chain_length < 1:
        continue_as_new(measures(rounds))
    return found


def test_the_length_of_a_history_repeats_on_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    """info() tells lengths of history and chain, and whether to continue as new: the same on replay."""
    monkeypatch.setattr("penstock.engine.authoring.context.HISTORY_LONG", 3)
    results = []
    for evicts in (False, True):
        stage = Stage(measures)
        stage.start(measures, 3)
        for _ in range(6):
            stage.advance(1)
            if evicts:
                stage.nodes[0].runs.clear()
            stage.signal("go")
        results.append(stage.described()["result"])
    assert results[0] == results[1]
    assert [one[1] for one in results[0]] == [1, 1, 1]
    assert [one[2] for one in results[0]] == [one[0] >= 3 for one in results[0]]
