"""Heartbeats of the running activity (workers/activity/heartbeats.py)."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from penstock.schemas.errors import BadInput, FatalError, NotInActivity, RetryableError
from penstock.schemas.records.tasks import TaskCompleted, TaskFailed, TaskHeartbeat
from penstock.workers.activity.decorator import activity
from penstock.workers.activity.heartbeats import heartbeat, heartbeat_details
from tests.workers.execution.executor_bench import Bench, one, task_of


def test_a_heartbeat_needs_an_activity() -> None:
    """`heartbeat()` and `heartbeat_details()` raise NotInActivity outside of an activity run by a worker."""
    with pytest.raises(NotInActivity, match=r"heartbeat\(\) was called outside"):
        heartbeat()
    with pytest.raises(NotInActivity):
        heartbeat_details(int, 0)


@pytest.mark.parametrize("sync", [True, False])
def test_a_heartbeat_is_sent(sync: bool) -> None:
    """The first heartbeat of an attempt is sent with its details, from a thread and from the loop."""

    def work() -> None:
        heartbeat({"page": 1})
        heartbeat({"page": 2})

    async def work_async() -> None:
        work()
        await asyncio.sleep(0)

    definition = activity(name="work", heartbeat="10s")(work if sync else work_async)
    bench = Bench(definition)
    (result,) = bench.run(task_of(definition))
    assert isinstance(result, TaskCompleted)
    assert bench.reports == [
        TaskHeartbeat(workflow_id="order-1", run_id="run-1", sequence=3, attempt=1, details=b'{"page":1}')
    ]


def test_the_last_details_go_with_the_failure() -> None:
    """An attempt that fails hands over the details that were not sent."""

    @activity(heartbeat="10s")
    def work() -> None:
        heartbeat(1)
        heartbeat(2)
        raise OSError("lost")

    result = one(work)
    assert isinstance(result, TaskFailed)
    assert result.details == b"2"


@pytest.mark.parametrize("sync", [True, False])
def test_the_last_details_go_with_a_timeout(sync: bool) -> None:
    """An attempt that is over its time hands over the details that were not sent."""
    release = threading.Event()

    def work() -> None:
        heartbeat(1)
        heartbeat(2)
        release.wait(20)

    async def work_async() -> None:
        heartbeat(1)
        heartbeat(2)
        await asyncio.Event().wait()

    definition = activity(name="work", heartbeat="10s")(work if sync else work_async)
    bench = Bench(definition)

    async def meanwhile() -> None:
        while not bench.results:
            await asyncio.sleep(0.005)
        release.set()

    (result,) = bench.run(task_of(definition, timeout_ms=50), meanwhile=meanwhile)
    assert isinstance(result, TaskFailed)
    assert (result.failure.kind, result.details) == ("timeout", b"2")


def test_details_of_earlier_attempts_are_typed() -> None:
    """`heartbeat_details` returns what an earlier attempt reported, as the type that is asked for."""
    seen: list[Any] = []

    @activity
    def work() -> None:
        seen.append(heartbeat_details(int, 0))
        seen.append(heartbeat_details())
        with pytest.raises(BadInput, match="The details of the last heartbeat"):
            heartbeat_details(list)

    Bench(work).run(task_of(work, details=b"7"))
    assert seen == [7, 7]


def test_no_details_are_the_default() -> None:
    """Without an earlier heartbeat the default is returned."""
    seen: list[Any] = []

    @activity
    def work() -> None:
        seen.append((heartbeat_details(int, 3), heartbeat_details(int)))

    one(work)
    assert seen == [(3, None)]


def test_too_large_details_are_an_error() -> None:
    """Details over the limit raise in the activity, naming size and limit."""

    @activity
    def work() -> None:
        heartbeat("x" * 70_000)

    result = one(work)
    assert isinstance(result, TaskFailed)
    assert "details of a heartbeat of activity work" in result.failure.message
    assert "65,536" in result.failure.message


@pytest.mark.parametrize(("after", "least_ms"), [("30s", 29_000), (0.5, 400), (None, 0)])
def test_a_failure_may_say_when_the_next_attempt_begins(after: Any, least_ms: int) -> None:
    """`RetryableError` carries the delay to the shard."""

    @activity
    def work() -> None:
        raise RetryableError("busy", retry_after=after)

    result = one(work)
    assert isinstance(result, TaskFailed)
    assert least_ms <= result.retry_after_ms <= 30_000
    assert not result.failure.non_retryable


def test_a_delay_that_makes_no_sense_is_the_failure() -> None:
    """A delay that cannot be read is named in the failure, caused by the error that has it."""

    @activity
    def work() -> None:
        raise RetryableError("busy", retry_after="soon")

    result = one(work)
    assert isinstance(result, TaskFailed)
    assert "'soon' cannot be parsed" in result.failure.message
    assert result.failure.causes[0].message == "busy"


def test_a_fatal_error_ends_the_activity() -> None:
    """`FatalError` is not retryable, whatever the activity's options say."""

    @activity
    def work() -> None:
        raise FatalError("no such order")

    result = one(work)
    assert isinstance(result, TaskFailed)
    assert result.failure.non_retryable
