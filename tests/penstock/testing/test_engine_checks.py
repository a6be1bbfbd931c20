"""Tests of what a TestEngine checks and shows: replay at the end, interruptions, assertions, histories."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from penstock import Signal, WorkflowBlockedError, activity, publish, sleep, workflow
from penstock.schemas.errors import BadInput, NonDeterminism
from penstock.testing import TestEngine

R = TypeVar("R")
go = Signal("checks-go", int)
calls: list[int] = []
late: list[int] = []


@activity(name="checks-double", retries=1, backoff=["1h"])
def double(number: int) -> int:
    if number > 100:
        raise ValueError("too much")
    return 2 * number


@workflow(name="checks-doubles")
async def doubles(numbers: list[int]) -> int:
    total = sum([await double(number) for number in numbers])
    await sleep("1d")
    return total + await go.wait()


@workflow(name="checks-publishes")
async def publishes(number: int) -> None:
    publish("checks.audit", key="a", value={"number": number})
    publish("checks.audit", "a", deletes=True)


@workflow(name="checks-parent")
async def parent(number: int) -> int:
    return await counted(number)


@workflow(name="checks-counted")
async def counted(number: int) -> int:
    return await double(number)


@workflow(name="checks-remembers")
async def remembers() -> int:
    """Depend on memory that a restored run does not have: the count of its activations in this process."""
    calls.append(1)
    seen = len(calls)
    await double(seen)
    await sleep("1d")
    return seen


@workflow(name="checks-late")
async def depends_on_late_state() -> int:
    """Depend on a list that a test changes after the run has closed."""
    if late:
        return await double(1)
    return 0


def with_engine(use: Callable[[TestEngine], Awaitable[R]], *hosted: Any, **options: Any) -> R:
    async def inside() -> R:
        async with TestEngine(*hosted, **options) as engine:
            return await asyncio.wait_for(use(engine), 60)

    return asyncio.run(inside())


async def run_doubles(engine: TestEngine, numbers: list[int], id: str = "x") -> int:
    run = await engine.client.start(doubles(numbers), id=id)
    await run.signal(go, 1)
    return await run.result()


def test_activities_and_signals() -> None:
    """An engine lists what its runs called and received, with decoded arguments, also after the block."""

    async def use(engine: TestEngine) -> TestEngine:
        assert await run_doubles(engine, [1, 2]) == 7
        assert [called.name for called in engine.activities] == ["checks-double"] * 2
        return engine

    engine = with_engine(use, doubles, double)
    first, second = engine.activities
    assert (first.arguments, first.status, first.result, first.attempts) == ((1,), "completed", 2, 1)
    assert (second.arguments, second.workflow_id) == ((2,), "x")
    assert [(sent.name, sent.workflow_id, sent.value) for sent in engine.signals] == [("checks-go", "x", 1)]


def test_published_records() -> None:
    """An engine lists the records that its runs published, with JSON values, and None for a deletion."""

    async def use(engine: TestEngine) -> TestEngine:
        await engine.client.execute(publishes(3), id="x")
        return engine

    found = with_engine(use, publishes).published
    assert [(one.topic, one.workflow_id, one.key, one.value) for one in found] == [
        ("checks.audit", "x", "a", {"number": 3}),
        ("checks.audit", "x", "a", None),
    ]


def test_a_failed_activity_is_listed() -> None:
    """An activity that failed for good is listed with its attempts and its error."""

    async def use(engine: TestEngine) -> None:
        with pytest.raises(Exception, match="too much"):
            await engine.client.execute(doubles([200]), id="x")
        (called,) = engine.activities
        assert (called.status, called.attempts, called.failure) == ("failed", 2, "ValueError: too much")

    with_engine(use, doubles, double)


def test_assertions() -> None:
    """Calls are asserted by activity or workflow, arguments and number."""

    async def use(engine: TestEngine) -> None:
        await engine.client.execute(parent(4), id="x")
        engine.assert_called(double)
        engine.assert_called(double, 4, times=1)
        engine.assert_called(double, number=4)
        engine.assert_called(counted, 4)
        engine.assert_not_called(doubles)

    with_engine(use, parent, counted, doubles, double)


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda engine: engine.assert_called(double, 5), "checks-double with 5 was called 0 times, not at least once"),
        (lambda engine: engine.assert_called(double, times=2), "checks-double was called 1 times, not 2 times"),
        (lambda engine: engine.assert_not_called(counted), "checks-counted was called 1 times, not 0 times"),
    ],
)
def test_a_failed_assertion_shows_the_histories(check: Callable[[TestEngine], None], message: str) -> None:
    """An assertion that fails names what it found, and shows the history of every run."""

    async def use(engine: TestEngine) -> None:
        await engine.client.execute(parent(4), id="x")
        with pytest.raises(AssertionError, match=message) as caught:
            check(engine)
        shown = str(caught.value)
        assert "x (checks-parent)" in shown
        assert "ActivityScheduled  #1 activity=checks-double input=4" in shown

    with_engine(use, parent, counted, double)


def test_an_error_that_leaves_the_block_has_the_histories() -> None:
    """An error of a test has the histories of the engine's runs as a note."""

    async def use(engine: TestEngine) -> None:
        await engine.client.execute(counted(4), id="x")
        assert engine.activities == [], "expected nothing"

    with pytest.raises(AssertionError, match="expected nothing") as caught:
        with_engine(use, counted, double)
    (note,) = caught.value.__notes__
    assert "Histories of the runs:\nx (checks-counted)" in note
    assert "WorkflowCompleted  result=8" in note


def test_histories_are_replayed_at_the_end() -> None:
    """A closed run whose code would not repeat its history is reported at the end of the block, line by line."""
    late.clear()

    async def use(engine: TestEngine) -> None:
        assert await engine.client.execute(depends_on_late_state(), id="x") == 0
        late.append(1)

    with pytest.raises(NonDeterminism) as caught:
        with_engine(use, depends_on_late_state, double)
    assert "x (checks-late) does not replay" in str(caught.value)
    assert "  - WorkflowCompleted" in str(caught.value)
    assert "  + ActivityScheduled checks-double as request 1 1  (" in str(caught.value)
    late.clear()


def test_the_replay_can_be_left_out() -> None:
    """With replay=False histories are not replayed."""
    late.clear()

    async def use(engine: TestEngine) -> int:
        result = await engine.client.execute(depends_on_late_state(), id="x")
        late.append(1)
        return result

    assert with_engine(use, depends_on_late_state, double, replay=False) == 0
    late.clear()


def test_interrupted_runs_go_on() -> None:
    """Runs that are evicted and restored after each event have the same results."""

    async def use(engine: TestEngine) -> int:
        engine.interrupt("every event")
        return await run_doubles(engine, [1, 2, 3])

    assert with_engine(use, doubles, double) == 13


@pytest.mark.parametrize("before", [True, False], ids=["before the block", "inside"])
def test_an_interrupted_run_keeps_nothing_in_memory(before: bool) -> None:
    """Code that depends on the memory of its process is BLOCKED when it is interrupted."""
    calls.clear()

    async def use() -> None:
        engine = TestEngine(remembers, double)
        if before:
            engine.interrupt("every event")
        async with engine:
            engine.interrupt("every event")
            with pytest.raises(WorkflowBlockedError, match="non_determinism"):
                await engine.client.execute(remembers(), id="x")

    asyncio.run(use())


def test_runs_stay_in_memory_otherwise() -> None:
    """Without interruptions, or after "never", a run stays in memory."""
    calls.clear()

    async def use(engine: TestEngine) -> int:
        engine.interrupt("every event")
        engine.interrupt("never")
        return await engine.client.execute(remembers(), id="x")

    assert with_engine(use, remembers, double, replay=False) == 1
    assert len(calls) == 1


def test_an_unknown_interruption() -> None:
    """interrupt names what it takes."""
    with pytest.raises(BadInput, match='takes "every event" or "never", not \'often\''):
        TestEngine(doubles).interrupt("often")
