"""Tests of TestEngine: skipped time, activities, refused definitions."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from penstock import BadDuration, Query, WorkflowFailedError, activity, now, sleep, workflow
from penstock.client.run import Run
from penstock.schemas.errors import BadInput, UserError, WorkflowBlockedError
from penstock.testing.engine import TestEngine

R = TypeVar("R")

hold = threading.Event()
attempts: list[dt.datetime] = []


@activity
def greet(name: str) -> str:
    return f"hello {name}"


@workflow
async def patient(name: str) -> str:
    await sleep("30d")
    return await greet(name)


@workflow
async def thrice(days: float) -> list[float]:
    """Return the hours from the start to the end of each of three sleeps, with an activity in between."""
    began, ended = now(), []
    for _ in range(3):
        await sleep(f"{days}d")
        await greet("ann")
        ended.append((now() - began).total_seconds() / 3600)
    return ended


@activity(name="testing-nap")
async def nap() -> None:
    await asyncio.sleep(0.15)


@workflow(name="testing-naps")
async def naps(together: int, after_each_other: int) -> float:
    """Return the hours that the naps took."""
    began = now()
    await asyncio.gather(*(nap() for _ in range(together)))
    for _ in range(after_each_other):
        await nap()
    return round((now() - began).total_seconds() / 3600, 2)


@activity(name="testing-unwilling", retries=2, backoff=["1h", "10h"])
def unwilling() -> str:
    if len(attempts) < 2:
        attempts.append(dt.datetime.now(dt.UTC))
        raise ConnectionError("not yet")
    return "at last"


@workflow(name="testing-insists")
async def insists() -> float:
    began = now()
    await unwilling()
    return round((now() - began).total_seconds() / 3600, 3)


days = Query("days", int)


@workflow(name="testing-counter")
async def counter() -> None:
    passed = 0
    days.answer(lambda: passed)
    while True:
        await sleep("1d")
        passed += 1


@activity(name="testing-slow")
def slow() -> None:
    hold.wait(20)


@workflow(name="testing-drags-on")
async def drags_on() -> None:
    await slow()
    await sleep("1h")


@workflow
async def careless() -> str:
    return str(dt.datetime.now(dt.UTC))


def with_engine(use: Callable[[TestEngine], Awaitable[R]], *hosted: object) -> R:
    async def inside() -> R:
        async with TestEngine(*hosted, concurrency=10) as engine:
            return await asyncio.wait_for(use(engine), 60)

    return asyncio.run(inside())


async def status(run: Run[object]) -> str:
    return str((await run.describe())["status"])


async def at_once(run: Run[Any]) -> Any:
    """Return the run's result without waiting."""
    described = await run.describe()
    assert described["status"] == "completed"
    return described["result"]


def test_thirty_days_pass_at_once() -> None:
    """A durable sleep of 30 days ends when they are skipped, and its consequences are complete on return."""

    async def use(engine: TestEngine) -> tuple[str, str]:
        run = await engine.client.start(patient("ann"), id="greeting")
        await engine.skip("30d")
        return await status(run), await run.result(timeout="20s")

    assert with_engine(use, patient, greet) == ("completed", "hello ann")


def test_each_timer_has_its_own_time() -> None:
    """Timers that follow each other are skipped in one call, and each ends at its own time."""

    async def use(engine: TestEngine) -> tuple[list[float], list[float]]:
        runs = [await engine.client.start(thrice(days), id=f"{days}") for days in (1, 1.5)]
        await engine.skip("4.5d")
        first, second = [await at_once(run) for run in runs]
        return first, second

    assert with_engine(use, thrice, greet) == ([24.0, 48.0, 72.0], [36.0, 72.0, 108.0])


def test_no_more_than_the_duration_passes() -> None:
    """A timer that is due after the skipped time stays pending."""

    async def use(engine: TestEngine) -> list[str]:
        run = await engine.client.start(thrice(1), id="x")
        seen = []
        for hours in (71, 2):
            await engine.skip(f"{hours}h")
            seen.append(await status(run))
        return seen

    assert with_engine(use, thrice, greet) == ["running", "completed"]


def test_retries_pass_too() -> None:
    """The delays between an activity's attempts are skipped one after the other."""

    async def use(engine: TestEngine) -> float:
        run = await engine.client.start(insists(), id="x")
        await engine.skip("11h")
        return await at_once(run)

    attempts.clear()
    assert with_engine(use, insists, unwilling) == 11.0


def test_a_long_activity_is_not_awaited() -> None:
    """Each skip awaits a long activity for one second only; the run continues when the activity ends."""
    hold.clear()

    async def use(engine: TestEngine) -> list[str]:
        run = await engine.client.start(drags_on(), id="x")
        seen = []
        for _ in range(2):
            await engine.skip("1h")
            seen.append(await status(run))
            hold.set()
        return seen

    assert with_engine(use, drags_on, slow) == ["running", "completed"]


@pytest.mark.parametrize("many", [(100, 0), (0, 12)], ids=["waiting for their turn", "in a row"])
def test_quick_activities_take_no_durable_time(many: tuple[int, int]) -> None:
    """Time does not pass while short activities wait for their turn or follow each other."""

    async def use(engine: TestEngine) -> float:
        await engine.client.start(thrice(0.5), id="another")
        run = await engine.client.start(naps(*many), id="x")
        await engine.skip("2d")
        hours: float = await at_once(run)
        return hours

    assert with_engine(use, naps, thrice, nap, greet) == 0.0


def test_runs_that_closed_long_ago_can_be_read() -> None:
    """Runs that closed during a skip stay readable."""

    async def use(engine: TestEngine) -> list[list[float]]:
        runs = [await engine.client.start(thrice(1), id=f"{number}") for number in range(3)]
        await engine.skip("90d")
        return [await run.result(timeout="20s") for run in runs]

    assert with_engine(use, thrice, greet) == [[24.0, 48.0, 72.0]] * 3


def test_what_is_asked_after_a_skip_is_answered() -> None:
    """Queries, and reads over the log, are answered however much time was skipped before."""

    async def use(engine: TestEngine) -> tuple[Any, ...]:
        run = await engine.client.start(counter(), id="x")
        await engine.skip("90d")
        log_reads = engine.client.reads._over_log
        return (
            await run.query("days", timeout="5s"),
            (await log_reads.describe("x"))["status"],
            len(await log_reads.history("x")),
        )

    assert with_engine(use, counter) == (90, "running", 182)


def test_skips_may_overlap() -> None:
    """Two concurrent skips end at the later of their times, and no timer is missed."""

    async def use(engine: TestEngine) -> list[float]:
        run = await engine.client.start(thrice(1), id="x")
        await asyncio.gather(engine.skip("1d"), engine.skip("3d"))
        return await at_once(run)

    assert with_engine(use, thrice, greet) == [24.0, 48.0, 72.0]


def test_invalid_skips() -> None:
    """An invalid duration is refused; skip outside of the block raises an error that shows its use."""

    async def use(engine: TestEngine) -> None:
        with pytest.raises(BadDuration):
            await engine.skip("soon")

    with_engine(use, careless)
    with pytest.raises(UserError, match="async with TestEngine"):
        asyncio.run(TestEngine(careless).skip("1h"))


def test_a_list_is_hosted_too() -> None:
    """TestEngine takes a list as Engine does."""

    async def use(engine: TestEngine) -> str:
        run = await engine.client.start(patient("ann"), id="x")
        await engine.skip("30d")
        return await run.result(timeout="20s")

    assert with_engine(use, [patient, greet]) == "hello ann"


def test_an_activity_that_is_not_hosted() -> None:
    """A run that calls an activity which is not hosted is blocked with a message that names the remedy."""

    async def use(engine: TestEngine) -> str:
        run = await engine.client.start(patient("ann"), id="x")
        await engine.skip("30d")
        return str((await run.describe())["blocked_message"])

    message = with_engine(use, patient)
    assert "hosts no activity of the task queue 'default'" in message and "penstock topics" not in message


def test_two_of_one_name_are_refused() -> None:
    """An activity and its stand-in of the same name are refused together."""

    @activity(name="greet")
    def stand_in(name: str) -> str:
        return f"bye {name}"

    with pytest.raises(BadInput, match="called 'greet'"):
        with_engine(lambda _: asyncio.sleep(0), patient, greet, stand_in)


def test_the_real_clock_is_refused() -> None:
    """datetime.now() in workflow code fails the run with a message that names the replacement."""

    async def use(engine: TestEngine) -> str:
        run = await engine.client.start(careless(), id="careless")
        with pytest.raises(WorkflowFailedError) as caught:
            await run.result(timeout="20s")
        return str(caught.value)

    assert "now()" in with_engine(use, careless)


@activity(name="testing-parcel")
def parcel(name: str) -> str:
    return name


@workflow(name="testing-has-a-bug")
async def has_a_bug(name: str) -> str:
    sent: Any = await parcel(name)
    return str(sent.no_such_field)


@workflow(name="testing-awaits-a-bug")
async def awaits_a_bug(name: str) -> str:
    return await has_a_bug(name)


@pytest.mark.parametrize("flow", [has_a_bug, awaits_a_bug])
def test_a_bug_is_raised_with_its_traceback(flow: Any) -> None:
    """`result()` of a run that is BLOCKED by a bug, or awaits a child that is, raises with the traceback."""

    async def use(engine: TestEngine) -> str:
        run = await engine.client.start(flow("ann"), id="x")
        with pytest.raises(WorkflowBlockedError) as caught:
            await run.result(timeout="20s")
        return str(caught.value)

    message = with_engine(use, has_a_bug, awaits_a_bug, parcel)
    assert "BLOCKED (code_error)" in message and "has no attribute 'no_such_field'" in message
    assert "test_engine.py" in message and "return str(sent.no_such_field)" in message


def test_an_unblocked_run_is_awaited_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once its code is mended, a test unblocks a BLOCKED run and awaits its result."""

    async def mended(name: str) -> str:
        return await parcel(name)

    async def use(engine: TestEngine) -> str:
        run = await engine.client.start(has_a_bug("ann"), id="x")
        with pytest.raises(WorkflowBlockedError):
            await run.result(timeout="20s")
        monkeypatch.setattr(has_a_bug, "fn", mended)
        await run.unblock()
        return await run.result(timeout="20s")

    assert with_engine(use, has_a_bug, parcel) == "ann"
