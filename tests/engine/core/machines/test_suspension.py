"""Tests of activations that are spread over several decisions."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock import activity, sleep, workflow
from penstock.engine.core.keys import DUE, after
from penstock.engine.execution import program
from penstock.schemas.encoding.codec import decode
from penstock.schemas.records.pause import PauseWorkflow, ResumeWorkflow
from penstock.schemas.records.run import CancelWorkflow
from penstock.schemas.records.suspension import ActivationResumed, ActivationSuspended
from tests.engine.stage import Stage


@activity(name="spread_part")
def part(number: int) -> int: ...


@workflow(name="spread_child")
async def child(number: int) -> int:
    return number


@workflow(name="spread_fan")
async def fan(width: int) -> int:
    return sum(await asyncio.gather(*(part(number) for number in range(width))))


@workflow(name="spread_mixed")
async def mixed(width: int) -> list[int]:
    found: list[int] = []

    async def one(number: int) -> None:
        match number % 4:
            case 0:
                found.append(await part(number))
            case 1:
                await sleep(number)
                found.append(number)
            case 2:
                found.append(await child(number))
            case _:
                found.append(await part(number) + await part(number))

    await asyncio.gather(*(one(number) for number in range(width)))
    return found


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three requests suspend an activation."""
    monkeypatch.setattr(program, "REQUESTS_MAX", 3)


def _decoded(stage: Stage) -> list[Any]:
    return [[decode(data) for data in record.events] for record in stage.take("events")]


def _result(stage: Stage) -> Any:
    (closed,) = [closed for closed in stage.take("completions") if closed.workflow_id == "run-1"]
    return msgspec.json.decode(closed.result)


def test_a_fan_out_is_spread_over_decisions(few: None) -> None:
    """An activation with more requests than one decision takes goes on in the next ones, until all are made."""
    stage = Stage(fan)
    stage.start(fan, 8)
    made = [len(stage.take("tasks"))]
    for _ in range(2):
        stage.advance(0.001)
        made.append(len(stage.take("tasks")))
    assert made == [3, 3, 2]
    kinds = [[type(event) for event in events] for events in _decoded(stage)]
    assert [ActivationSuspended in found for found in kinds] == [True, True, False]
    assert [found[0] is ActivationResumed for found in kinds] == [False, True, True]


def test_a_spread_fan_out_completes(few: None) -> None:
    """A run whose activations were suspended gives the result it would give otherwise, evicted at each step or not."""
    for run_cache_bytes in (1, 1_000_000):
        stage = Stage(fan, run_cache_bytes=run_cache_bytes)
        stage.start(fan, 20)
        for _ in range(20):
            stage.advance(0.01)
            stage.run(spread_part=lambda number: number)
        assert _result(stage) == sum(range(20))


def test_bytes_suspend_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few requests with large inputs are spread over decisions as well."""
    monkeypatch.setattr(program, "REQUEST_BYTES_MAX", 10)
    stage = Stage(fan)
    stage.start(fan, 30)
    assert 1 < len(stage.take("tasks")) < 30


def test_inputs_of_a_suspended_run_let_it_go_on(few: None) -> None:
    """A result that arrives while the activation is suspended is delivered after the requests that came before it."""
    stage = Stage(fan)
    stage.start(fan, 5)
    first, *_ = stage.take("tasks")
    stage.complete(first, 0)
    assert [task.sequence for task in stage.take("tasks")] == [4, 5]


def test_a_suspended_run_can_be_cancelled(few: None) -> None:
    """A cancelled run whose activation is suspended makes its requests, and is cancelled then."""
    stage = Stage(fan)
    stage.start(fan, 8)
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="stop"))
    for _ in range(8):
        stage.advance(0.01)
    assert [closed.status for closed in stage.take("completions")] == ["cancelled"]


@pytest.mark.parametrize("turns", [0, 1, 2])
def test_a_suspended_run_can_be_paused(few: None, turns: int) -> None:
    """A pause amid an activation lets it make no more requests, through a restart; the rest follows when it is over."""
    stage = Stage(fan, strict_inputs=True)
    stage.start(fan, 8)
    stage.advance(0.001 * turns)
    stage.tell(PauseWorkflow(workflow_id="run-1", message_id="p"))
    tasks = stage.take("tasks")
    stage.restart()
    stage.advance(60)
    for task in tasks:
        stage.complete(task, 1)
    assert (stage.take("tasks"), stage.described()["status"]) == ([], "paused")
    stage.tell(ResumeWorkflow(workflow_id="run-1", message_id="r"))
    for _ in range(8):
        stage.advance(0.01)
        stage.run(spread_part=lambda number: 1)
    assert _result(stage) == 8


def test_a_terminated_run_leaves_no_suspension(few: None) -> None:
    """Terminating a suspended run removes its entry of the due index."""
    stage = Stage(fan)
    stage.start(fan, 8)
    stage.terminate()
    stage.advance(0.01)
    assert list(stage.stores[0].scan(DUE, after(DUE))) == []


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(width=st.integers(1, 14), requests=st.integers(1, 9), run_cache_bytes=st.sampled_from([1, 1_000_000]))
def test_where_an_activation_is_suspended_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, width: int, requests: int, run_cache_bytes: int
) -> None:
    """Whatever suspends it, a run of activities, timers and children ends with the values that it would have."""
    monkeypatch.setattr(program, "REQUESTS_MAX", requests)
    stage = Stage(mixed, child, run_cache_bytes=run_cache_bytes)
    stage.start(mixed, width)
    for _ in range(40):
        stage.advance(1)
        stage.run(spread_part=lambda number: number)
    assert sorted(_result(stage)) == sorted(number * 2 if number % 4 == 3 else number for number in range(width))


@workflow(name="spread_buggy")
async def buggy(width: int, mended: bool) -> int:
    async def one(number: int) -> int:
        return 0 if mended else (None).no_such_attribute  # type: ignore[attr-defined]  # the bug

    return sum(await asyncio.gather(*(one(number) if number == 1 else part(number) for number in range(width))))


def test_a_bug_in_a_suspended_activation_blocks_its_run(few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug that ends an activation which was suspended meanwhile blocks its run, as nothing was awaited."""
    stage = Stage(buggy)
    stage.start(buggy, 8, False)
    stage.advance(0.002)
    assert len(stage.sent["tasks"]) == 6
    assert stage.described()["blocked_reason"] == "code_error"
    original = buggy.fn
    monkeypatch.setattr(buggy, "fn", lambda width, mended: original(width, True))
    stage.restart()
    stage.advance(1)
    stage.run(spread_part=lambda number: 1)
    assert stage.described()["result"] == 7
