"""Tests of time that moves by itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

import pytest

from penstock import Signal, Update, WorkflowFailedError, activity, now, sleep, wait_condition, workflow
from penstock.schemas.errors import StillRunning, UserError
from penstock.testing import TestEngine, auto_skip

R = TypeVar("R")
DAY_H = 24.0
approval = Signal("auto-approval", bool)
extend = Update("auto-extend", int, int)
released = threading.Event()
seen_running: list[float] = []


@activity(name="auto-greet")
def greet(name: str) -> str:
    return f"hello {name}"


@activity(name="auto-slow")
def slow() -> None:
    released.wait(20)


@activity(name="auto-flaky", retries=3, backoff=["1h", "10h"])
def flaky(failures: list[int]) -> str:
    if len(seen_running) < failures[0]:
        seen_running.append(1)
        raise ConnectionError("not yet")
    return "at last"


@workflow(name="auto-drip")
async def drip(mails: int) -> list[float]:
    """Return the hours after which each mail was sent."""
    began, sent = now(), []
    for _ in range(mails):
        await sleep("1d")
        await greet("ann")
        sent.append((now() - began) / timedelta(hours=1))
    return sent


@workflow(name="auto-order")
async def order() -> str:
    approved = await approval.wait(timeout="48h")
    return "approved" if approved else "refused"


@workflow(name="auto-insists")
async def insists() -> float:
    began = now()
    await flaky([2])
    return (now() - began) / timedelta(hours=1)


@workflow(name="auto-races")
async def races() -> str:
    """Say what ends first: an activity that runs until it is released, or a timer of an hour."""
    timer, job = asyncio.create_task(_hour()), asyncio.create_task(_slow())
    done, _ = await asyncio.wait({timer, job}, return_when=asyncio.FIRST_COMPLETED)
    timer.cancel()
    return done.pop().result()


async def _hour() -> str:
    await sleep("1h")
    return "timer"


async def _slow() -> str:
    await slow()
    return "activity"


@workflow(name="auto-forever")
async def forever() -> None:
    while True:
        await sleep("3650d")


@workflow(name="auto-extends")
async def extends() -> int:
    days = 0

    async def more(by: int) -> int:
        nonlocal days
        await sleep("1d")
        days += by
        return days

    async with extend.answer(more):
        await wait_condition(lambda: days >= 5)
    return days


def with_engine(use: Callable[[TestEngine], Awaitable[R]], *hosted: Any, **options: Any) -> R:
    async def inside() -> R:
        async with TestEngine(*hosted, **options) as engine:
            return await asyncio.wait_for(use(engine), 60)

    return asyncio.run(inside())


def test_a_month_passes_while_its_result_is_awaited() -> None:
    """Timers end one after the other while the test waits, each at its own time; short activities take none."""

    async def use(engine: TestEngine) -> list[float]:
        return await engine.client.execute(drip(30), id="ann")

    assert with_engine(use, drip, greet) == [DAY_H * day for day in range(1, 31)]


def test_time_stands_while_the_test_acts() -> None:
    """A signal that the test sends after the start comes before a timeout, however long other runs take."""

    async def use(engine: TestEngine) -> list[str]:
        run = await engine.client.start(order(), id="o-1")
        for _ in range(20):
            assert (await run.describe())["status"] == "running"
        await run.signal(approval, True)
        return [await run.result(), await engine.client.execute(order(), id="o-2")]

    with pytest.raises(WorkflowFailedError, match="TimeoutError"):
        with_engine(use, order)


def test_what_one_task_of_the_test_does_next_comes_before_time_moves() -> None:
    """A task of the test that received a reply makes its next call before time moves for another one."""

    async def use(engine: TestEngine) -> str:
        client = engine.client
        first, second = [await client.start(order(), id=f"o-{number}") for number in (1, 2)]

        async def approve_after_the_first() -> None:
            assert await first.result() == "approved"
            await second.signal(approval, False)

        await first.signal(approval, True)
        outcome, _ = await asyncio.gather(second.result(), approve_after_the_first())
        return outcome

    assert with_engine(use, order) == "refused"


def test_retries_come_due_by_themselves() -> None:
    """The delays between attempts pass while the test waits."""
    seen_running.clear()

    async def use(engine: TestEngine) -> float:
        return await engine.client.execute(insists(), id="x")

    assert with_engine(use, insists, flaky) == 11.0


def test_no_time_is_skipped_while_an_activity_runs() -> None:
    """A timer of an hour does not come due while an activity runs, even for longer than the clock stands."""
    released.clear()

    async def use(engine: TestEngine) -> str:
        threading.Timer(1.5 * auto_skip.OUTSIDE_S, released.set).start()
        return await engine.client.execute(races(), id="x")

    assert with_engine(use, races, slow) == "activity"


def test_an_update_that_takes_a_day() -> None:
    """Time moves while the result of an update is awaited."""

    async def use(engine: TestEngine) -> list[int]:
        run = await engine.client.start(extends(), id="x")
        return [await run.update(extend, 2), await run.update(extend, 3), await run.result()]

    assert with_engine(use, extends) == [2, 5, 5]


def test_without_it_time_passes_as_everywhere() -> None:
    """With auto_skip=False a run of days does not close while it is awaited."""

    async def use(engine: TestEngine) -> None:
        run = await engine.client.start(order(), id="x")
        with pytest.raises(StillRunning):
            await run.result(timeout=0.3)

    with_engine(use, order, auto_skip=False)


def test_time_moves_again_after_a_wait_that_ended() -> None:
    """A second wait for the same run moves time as the first one did."""
    released.clear()

    async def use(engine: TestEngine) -> str:
        run = await engine.client.start(races(), id="x")
        with pytest.raises(StillRunning):
            await run.result(timeout=0.3)
        released.set()
        assert await run.result() == "activity"
        return await engine.client.execute(order(), id="y")

    with pytest.raises(WorkflowFailedError, match="TimeoutError"):
        with_engine(use, races, order, slow)


def test_a_run_that_never_ends_is_named() -> None:
    """Awaiting a run that only sleeps raises an error after a hundred years, which says what to do."""

    async def use(engine: TestEngine) -> None:
        await engine.client.execute(forever(), id="x")

    with pytest.raises(UserError, match="time moved by 100 years while x was awaited"):
        with_engine(use, forever)


def test_the_clock_goes_on_with_a_long_activity() -> None:
    """While an activity takes long, the clock of the runs goes on as the real one does."""
    released.clear()

    async def use(engine: TestEngine) -> int:
        waiting = asyncio.create_task(engine.client.execute(races(), id="x"))
        await asyncio.sleep(3 * auto_skip.QUICK_S)
        began_ms = engine._clock()
        await asyncio.sleep(0.2)
        moved_ms = engine._clock() - began_ms
        released.set()
        await waiting
        return moved_ms

    assert 100 <= with_engine(use, races, slow) < 3_600_000
