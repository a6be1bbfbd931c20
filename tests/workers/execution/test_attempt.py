"""One attempt of an activity (workers/execution/attempt.py)."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

import pytest
import structlog

from penstock.schemas.records.tasks import TaskCompleted, TaskFailed
from penstock.workers.activity.decorator import activity
from penstock.workers.execution import attempt as module
from tests.workers.execution.executor_bench import Bench, failure_of, one, task_of


def test_an_async_activity_completes() -> None:
    """An async activity's value becomes a TaskCompleted with the task's token, the JSON and the worker's name."""

    @activity
    async def add(a: int, b: int) -> int:
        await asyncio.sleep(0)
        return a + b

    assert one(add, 1, 2) == TaskCompleted(
        workflow_id="order-1", run_id="run-1", sequence=3, attempt=1, result=b"3", worker="w-1"
    )


def test_a_sync_activity_completes_in_a_thread() -> None:
    """A sync activity runs in a thread of the pool, and its value becomes a TaskCompleted."""

    @activity
    def where() -> str:
        return threading.current_thread().name

    result = one(where)
    assert isinstance(result, TaskCompleted)
    assert result.result.startswith(b'"test-')


def test_an_async_timeout_cancels_the_activity() -> None:
    """An async activity that exceeds its timeout is cancelled, may clean up, and is reported as a timeout."""
    seen: list[str] = []

    @activity
    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    failure = failure_of(one(slow, timeout_ms=20))
    assert (failure.kind, failure.type, failure.non_retryable) == ("timeout", "TimeoutError", False)
    assert "0.02 s" in failure.message
    assert seen == ["cancelled"]


def test_swallowing_the_cancellation_does_not_undo_a_timeout() -> None:
    """An async activity that catches its cancellation and returns is still reported as a timeout."""

    @activity
    async def stubborn() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "late"
        return "never"

    assert failure_of(one(stubborn, timeout_ms=20)).kind == "timeout"


def test_a_timeout_is_reported_after_a_grace_period(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timeout is reported although cleaning up does not end; the attempt counts as running until it does."""
    monkeypatch.setattr(module, "CANCEL_GRACE_S", 0.05)
    release = asyncio.Event()

    @activity
    async def endless() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await release.wait()

    bench = Bench(endless)
    seen_before_end: list[tuple[int, int]] = []

    async def meanwhile() -> None:
        while not bench.results:
            await asyncio.sleep(0.005)
        seen_before_end.append((bench.executor.running, bench.ended))
        release.set()

    (result,) = bench.run(task_of(endless, timeout_ms=10), meanwhile=meanwhile)
    assert failure_of(result).kind == "timeout"
    assert seen_before_end == [(1, 0)]


def test_a_sync_timeout_is_reported_at_once_and_its_late_result_dropped() -> None:
    """A sync timeout is reported while its thread goes on, another thread may start, and the late value is dropped."""
    release = threading.Event()

    @activity
    def slow() -> str:
        release.wait(20)
        return "late"

    bench = Bench(slow, threads=1)
    seen: list[tuple[int, int, int]] = []

    async def meanwhile() -> None:
        while not bench.results:
            await asyncio.sleep(0.005)
        seen.append((bench.executor.running, bench.threads.free, bench.threads.hanging))
        release.set()

    results = bench.run(task_of(slow, timeout_ms=20), meanwhile=meanwhile)
    assert len(results) == 1
    assert failure_of(results[0]).kind == "timeout"
    assert seen == [(0, 1, 1)]
    assert (bench.ended, bench.threads.free) == (1, 1)


def test_an_activity_within_its_timeout_completes() -> None:
    """Sync and async activities that end within their timeout complete."""

    @activity
    async def quick() -> int:
        return 1

    @activity
    def quick_sync() -> int:
        return 2

    results = Bench(quick, quick_sync).run(task_of(quick, timeout_ms=10_000), task_of(quick_sync, timeout_ms=10_000))
    assert sorted(result.result for result in results if isinstance(result, TaskCompleted)) == [b"1", b"2"]


def test_an_activity_that_cancels_itself_failed() -> None:
    """A CancelledError raised by the activity itself is a retryable failure."""

    @activity
    async def odd() -> None:
        raise asyncio.CancelledError

    failure = failure_of(one(odd))
    assert failure.type == "asyncio.exceptions.CancelledError"
    assert not failure.non_retryable


@pytest.mark.parametrize("sync", [True, False])
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, StopIteration, GeneratorExit])
def test_exceptions_that_end_programs_end_one_attempt(sync: bool, error: type[BaseException]) -> None:
    """`sys.exit()` and the like inside an activity fail that attempt and not the worker."""

    def work() -> None:
        raise error

    async def work_async() -> None:
        raise error

    @activity
    async def neighbour() -> int:
        await asyncio.sleep(0.02)
        return 1

    definition = activity(name="work")(work if sync else work_async)
    results = Bench(definition, neighbour).run(task_of(definition), task_of(neighbour))
    failed = [failure_of(result) for result in results if isinstance(result, TaskFailed)]
    assert len(failed) == 1
    assert error.__name__ in failed[0].type + failed[0].message + failed[0].traceback
    assert len(results) == 2


def test_attempts_do_not_share_their_context() -> None:
    """Context variables set by one attempt are not visible to another."""
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)

    @activity
    async def bump() -> int:
        variable.set(variable.get() + 1)
        await asyncio.sleep(0.001)
        return variable.get()

    results = Bench(bump).run(*[task_of(bump) for _ in range(5)])
    assert [result.result for result in results if isinstance(result, TaskCompleted)] == [b"1"] * 5


def test_lines_of_an_activity_carry_its_ids() -> None:
    """structlog's context variables hold the ids while an activity runs, and not before or after."""
    seen: list[dict[str, Any]] = []

    @activity
    async def work() -> None:
        seen.append(structlog.contextvars.get_contextvars())

    Bench(work).run(task_of(work))
    assert seen == [{"workflow_id": "order-1", "run_id": "run-1", "activity": "work", "attempt": 1}]
    assert structlog.contextvars.get_contextvars() == {}
