"""Tests of replay: one history, whether a run stays in memory or is rebuilt for each decision."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.engine.authoring.context import now
from penstock.engine.authoring.versions import patched
from penstock.engine.authoring.workflow import workflow
from tests.engine.core import flows
from tests.engine.stage import Stage


@workflow
async def mixed(n: int) -> list[Any]:
    seen: list[Any] = []
    lock, gate, slots = asyncio.Lock(), asyncio.Event(), asyncio.Semaphore(2)
    queue: asyncio.Queue[int] = asyncio.Queue(maxsize=2)

    async def work(i: int) -> None:
        await gate.wait()
        async with slots:
            value = await flows.add(i, i)
        async with lock:
            seen.append([i, value])
        await queue.put(i)

    async def read() -> None:
        for _ in range(n):
            seen.append(await queue.get())

    async with asyncio.TaskGroup() as group:
        group.create_task(read())
        for i in range(n):
            group.create_task(work(i))
        try:
            async with asyncio.timeout(5):
                await asyncio.shield(flows.go.wait())
        except TimeoutError:
            seen.append("late")
        gate.set()
    seen.append(patched("later"))
    seen.append(now().timestamp())
    return seen


def test_all_of_asyncio_repeats_on_replay() -> None:
    """Locks, events, semaphores, queues, groups, shields and timeouts give one history, evicted or not."""
    histories = []
    for evicts in (False, True):
        stage = Stage(mixed)
        stage.start(mixed, 6, message_id="same")
        stage.advance(10)
        while tasks := stage.take("tasks"):
            for task in reversed(tasks):
                if evicts:
                    stage.nodes[0].runs.clear()
                stage.complete(task, task.sequence)
        histories.append(stage.history())
        assert stage.described()["status"] == "completed"
    assert histories[0] == histories[1]


@pytest.mark.parametrize("flow", [flows.five, flows.fan, flows.grouped])
def test_every_step_survives_eviction(flow: Any) -> None:
    """A run that is evicted after every decision ends with the same history."""
    histories = []
    for evicts in (False, True):
        stage = Stage(flow)
        stage.start(flow, 4, message_id="same")
        while tasks := stage.take("tasks"):
            for task in tasks:
                if evicts:
                    stage.nodes[0].runs.clear()
                stage.complete(task, task.sequence)
        histories.append(stage.history())
    assert histories[0] == histories[1]
