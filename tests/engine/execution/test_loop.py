"""Tests of the workflow loop: asyncio as workflow code uses it, in the order that replay repeats."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.engine.authoring.workflow import workflow
from penstock.engine.execution import loop
from tests.engine.core import flows
from tests.engine.stage import Stage


async def added(a: int) -> int:
    return await flows.add(a, 0)


@workflow
async def completed_first(n: int) -> list[int]:
    found = []
    for next_done in asyncio.as_completed([added(i) for i in range(n)]):
        found.append(await next_done)
    return found


@workflow
async def calls_completed_first(n: int) -> list[int]:
    return [await done for done in asyncio.as_completed([flows.add(i, 0) for i in range(n)])]


@pytest.mark.parametrize("flow", [completed_first, calls_completed_first])
def test_as_completed_requests_in_the_order_of_its_arguments(flow: Any) -> None:
    """`as_completed` schedules its coroutines in their order, not by their addresses, so that replay does the same."""
    stage = Stage(flow)
    stage.start(flow, 40)
    tasks = stage.take("tasks")
    assert [task.input for task in tasks] == [b'{"a":%d,"b":0}' % i for i in range(40)]
    for task in reversed(tasks):
        stage.nodes[0].runs.clear()
        stage.complete(task, task.sequence)
    assert stage.described()["result"] == list(range(40, 0, -1))


def test_task_group() -> None:
    """`TaskGroup` works as in asyncio."""
    stage = Stage(flows.grouped)
    stage.start(flows.grouped, 5)
    stage.run(add=lambda a, b: a + b)
    assert stage.described()["result"] == 20


def test_first_completed_and_cancelling_the_others() -> None:
    """`asyncio.wait` iterates in the same order on replay, and cancelled calls cancel their activities."""
    stage = Stage(flows.first_of)
    stage.start(flows.first_of, 30)
    tasks = stage.take("tasks")
    stage.nodes[0].runs.clear()
    stage.complete(tasks[17], 17)
    assert stage.described()["result"] == 17
    assert stage.events().count("ActivityCancelled") == 29


def test_an_endless_loop_fails_its_run_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that never waits is stopped after a bounded number of steps, and other runs continue."""
    monkeypatch.setattr(loop, "STEPS_MAX", 1_000)
    stage = Stage(flows.endless, flows.failing)
    stage.start(flows.endless)
    assert stage.described()["failure"]["type"].endswith("EndlessWorkflow")
    stage.start(flows.failing, 1, id="neighbour")
    assert stage.described("neighbour")["status"] == "failed"
