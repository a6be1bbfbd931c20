"""Tests of the order of requests, which is the same on every interpreter: `make test-pythons` runs them on each."""

from __future__ import annotations

import asyncio
import contextlib
import types
from asyncio import wait_for  # as user code may import it, before any module of Penstock
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.waiting import sleep
from penstock.engine.authoring.workflow import workflow
from tests.engine.core import flows
from tests.engine.stage import Stage

go = Signal("pythons-go")


async def _slow(n: int) -> int:
    await sleep(n)
    return await flows.add(n, n)


async def _gathered_waits() -> None:
    await asyncio.gather(
        *(wait_for(_slow(n), 10) for n in (1, 2)), *(asyncio.wait_for(flows.add(n, 0), 3) for n in (3, 4))
    )


async def _expired_waits() -> None:
    for timeout in (0, 1):
        try:
            await asyncio.gather(asyncio.wait_for(_slow(5), timeout), _slow(1))
        except TimeoutError:
            await flows.add(timeout, 0)


async def _waits_within_waits() -> None:
    await asyncio.wait_for(asyncio.gather(asyncio.wait_for(_slow(1), 5), asyncio.shield(_slow(2))), 8)


async def _waits_in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        for n in (1, 2):
            group.create_task(asyncio.wait_for(go.wait(), n))
        group.create_task(flows.add(1, 1))


async def _waits_for_tasks() -> None:
    tasks = [asyncio.create_task(_slow(n)) for n in (1, 2, 3)]
    done, _ = await asyncio.wait(tasks, timeout=2.5)
    await asyncio.wait_for(tasks[2], 9)
    for task in asyncio.as_completed([*tasks, flows.add(len(done), 0)]):
        await task


async def _locks() -> None:
    slots, queue = asyncio.Semaphore(2), asyncio.Queue[int](1)

    async def worker(n: int) -> None:
        async with slots:
            await asyncio.wait_for(_slow(n), 9)
        await queue.put(n)

    async with asyncio.TaskGroup() as group:
        for n in (1, 2, 3):
            group.create_task(worker(n))
        for _ in range(3):
            await flows.add(await queue.get(), 9)


_LOCKS = (
    "t1 t2 t3 t4 fired2 a5 done5 t-1 t6 t7 a8 fired4 a9 done8 done9 t-3 a10 done10 fired7 a11 done11 t-6 a12 done12 end"
)
_ORDERS: dict[str, tuple[Callable[[], Coroutine[Any, Any, None]], str]] = {
    "gathered waits": (
        _gathered_waits,
        "t1 t2 t3 t4 t5 a6 t7 a8 done6 t-5 done8 t-7 fired2 a9 done9 t-1 fired4 a10 done10 t-3 end",
    ),
    "expired waits": (_expired_waits, "t1 a2 done2 t3 t4 t5 fired1 a6 fired3 t-4 a7 fired5 a8 done6 done7 end"),
    "waits within waits": (_waits_within_waits, "t1 t2 t3 t4 fired4 a5 done5 t-3 fired2 a6 done6 t-1 end"),
    "waits in a group": (_waits_in_a_group, "t1 t2 a3 done3 fired1 t-2 WorkflowFailed"),
    "waits for tasks": (
        _waits_for_tasks,
        "t1 t2 t3 t4 fired2 a5 done5 fired3 a6 done6 fired1 t7 fired4 a8 done8 t-7 a9 done9 end",
    ),
    "locks": (_locks, _LOCKS),
}


@workflow
async def pythons_orders(case: str) -> None:
    await _ORDERS[case][0]()


@pytest.mark.parametrize("evicts", [False, True])
@pytest.mark.parametrize("case", _ORDERS)
def test_the_order_of_requests_is_that_of_every_python(case: str, evicts: bool) -> None:
    """asyncio's tools make the same requests in the same order on every supported Python."""
    stage = Stage(pythons_orders)
    stage.start(pythons_orders, case)
    for _ in range(12):
        for task in stage.take("tasks"):
            if evicts:
                stage.nodes[0].runs.clear()
            stage.complete(task, 0)
        stage.advance(1)
    assert " ".join(_short(event) for event in stage.history()[1:]) == _ORDERS[case][1]


_WORDS = {"TimerStarted": "t", "TimerFired": "fired", "TimerCancelled": "t-", "ActivityScheduled": "a"}
_WORDS |= {"ActivityCompleted": "done", "ActivityCancelled": "a-", "WorkflowCompleted": "end"}


def _short(event: dict[str, Any]) -> str:
    return f"{_WORDS.get(event['event'], event['event'])}{event.get('sequence', '')}"


@workflow
async def pythons_shows_tasks() -> str:
    task = asyncio.create_task(flows.add(1, 2))
    shown = repr(task)
    await task
    return shown.partition(" ")[0]


def test_a_task_of_a_call_can_be_shown() -> None:
    """`repr` of a task asks from Python 3.12 whether its coroutine is true, and is no use of a call as a condition."""
    stage = Stage(pythons_shows_tasks)
    stage.start(pythons_shows_tasks)
    stage.run(add=lambda a, b: a + b)
    assert stage.described()["result"] == "<_Task"
    call = flows.add(1, 2)
    asks = types.FunctionType((lambda one: bool(one)).__code__, {"bool": bool, "__name__": "asyncio.base_tasks"})
    assert asks(call)
    call.close()


@pytest.mark.parametrize("timeout", [None, 0, 0.01])
def test_wait_for_outside_of_workflows_is_that_of_python(timeout: float | None) -> None:
    """On other loops `asyncio.wait_for` does what it did."""

    async def quick() -> int:
        await asyncio.sleep(0)
        return 1

    async def main() -> int:
        with contextlib.suppress(TimeoutError):
            await wait_for(asyncio.sleep(5), 0.01)
            return 0
        try:
            return await wait_for(quick(), timeout)
        except TimeoutError:
            return -1

    assert asyncio.run(main()) == (-1 if timeout == 0 else 1)
