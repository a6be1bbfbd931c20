"""How is one task run? (workers/executor.py, failures.py, threads.py, info.py)"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from penstock.schemas.encoding.codec import decode, encode
from penstock.schemas.records.tasks import ActivityTask, Result, TaskCompleted, TaskFailed
from penstock.workers.activity.decorator import AnyActivity, activity
from penstock.workers.activity.info import ActivityInfo, activity_info
from penstock.workers.execution import executor as module
from penstock.workers.execution.executor import Executor
from penstock.workers.execution.failures import CAUSES_MAX, MESSAGE_CHARACTERS_MAX, TRACEBACK_CHARACTERS_MAX
from penstock.workers.execution.threads import Threads


def task_of(definition: AnyActivity, *args: Any, timeout_ms: int = 0, attempt: int = 1) -> ActivityTask:
    return ActivityTask(
        workflow_id="order-1",
        run_id="run-1",
        sequence=3,
        attempt=attempt,
        activity=definition.name,
        input=definition.signature.bind(args, {}),
        queue="default",
        shard=0,
        timeout_ms=timeout_ms,
    )


class Bench:
    """Runs tasks on a fresh executor, and keeps what it told."""

    def __init__(self, *definitions: AnyActivity, threads: int = 2, result_bytes_max: int = 1_000) -> None:
        self.definitions = {definition.name: definition for definition in definitions}
        self.threads = Threads(threads, "test")
        self.result_bytes_max = result_bytes_max
        self.results: list[Result] = []
        self.ended = 0
        self.executor: Executor

    def run(self, *tasks: ActivityTask, meanwhile: Callable[[], Any] | None = None) -> list[Result]:
        """The results of the tasks, once all have ended."""
        asyncio.run(asyncio.wait_for(self._run(tasks, meanwhile), 20))
        return self.results

    async def _run(self, tasks: tuple[ActivityTask, ...], meanwhile: Callable[[], Any] | None) -> None:
        self.executor = Executor(
            self.definitions,
            self.threads,
            structlog.get_logger().bind(),
            worker="w-1",
            result_bytes_max=self.result_bytes_max,
        )
        for task in tasks:
            self.executor.start(task, self.results.append, self._ended)
        if meanwhile is not None:
            await meanwhile()
        while self.ended < len(tasks):
            await asyncio.sleep(0.002)
        assert self.executor.running == 0
        self.threads.close()

    def _ended(self) -> None:
        self.ended += 1


def one(definition: AnyActivity, *args: Any, **options: Any) -> Result:
    bench = Bench(definition)
    (result,) = bench.run(task_of(definition, *args, **options))
    return result


def failure_of(result: Result) -> Any:
    assert isinstance(result, TaskFailed), result
    return result.failure


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
    """A sync activity runs in a thread of its own pool and its value is told like any other."""

    @activity
    def where() -> str:
        return threading.current_thread().name

    result = one(where)
    assert isinstance(result, TaskCompleted)
    assert result.result.startswith(b'"test-')


@pytest.mark.parametrize("sync", [True, False])
def test_an_exception_becomes_a_readable_failure(sync: bool) -> None:
    """Type, message, causes and the user's own traceback are told; the worker's own frames are not."""

    def work() -> None:
        try:
            int("x")
        except ValueError as error:
            raise LookupError("no such order") from error

    async def work_async() -> None:
        work()

    failure = failure_of(one(activity(name="work")(work if sync else work_async), attempt=4))
    assert (failure.type, failure.message, failure.kind) == ("LookupError", "no such order", "error")
    assert (failure.attempts, failure.non_retryable) == (4, False)
    assert [(cause.type, cause.message[:7]) for cause in failure.causes] == [("ValueError", "invalid")]
    assert "in work" in failure.traceback
    assert '/executor.py"' not in failure.traceback
    assert '/threads.py"' not in failure.traceback


@pytest.mark.parametrize("sync", [True, False])
def test_the_workers_own_frames_are_never_told(sync: bool) -> None:
    """Where no frame is user code, those of Penstock's code that the worker called are told, not the worker's own."""
    scope: dict[str, Any] = {"__name__": "penstock.made_up"}
    exec("def work(): raise LookupError('inside')\nasync def work_async(): work()", scope)
    definition: AnyActivity = activity(name="inside")(scope["work" if sync else "work_async"])
    told = failure_of(one(definition)).traceback
    assert "in work" in told
    assert '/executor.py"' not in told
    assert '/threads.py"' not in told


def test_members_of_a_group_are_causes() -> None:
    """What failed in an activity's TaskGroup is named in its failure."""

    async def decline() -> None:
        raise CardDeclined("no funds")

    @activity
    async def pay() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(decline())

    (cause,) = failure_of(one(pay)).causes
    assert (cause.type, cause.message) == (f"{__name__}.CardDeclined", "no funds")


class CardDeclined(Exception):
    pass


class CardStolen(CardDeclined):
    pass


@pytest.mark.parametrize(
    ("error", "expected"), [(CardDeclined, True), (CardStolen, True), (TimeoutError, False), (OSError, False)]
)
def test_non_retryable_is_judged_by_class(error: type[Exception], expected: bool) -> None:
    """An instance of a listed class, or of a subclass, is not worth another attempt."""

    @activity(non_retryable=(CardDeclined,))
    async def pay() -> None:
        raise error("no")

    assert failure_of(one(pay)).non_retryable is expected


def test_wrong_input_is_not_retried() -> None:
    """Input that does not fit the declared types fails for good, in words, without running the activity."""
    ran = []

    @activity
    async def double(number: int) -> int:
        ran.append(number)
        return number * 2

    good = task_of(double, 1)
    bad = ActivityTask(
        workflow_id="w", run_id="r", sequence=1, attempt=1, activity="double", input=b'"two"', queue="default", shard=0
    )
    results = Bench(double).run(bad, good)
    failure = failure_of(results[0])
    assert failure.type == "penstock.schemas.errors.BadInput"
    assert failure.non_retryable
    assert ran == [1]


def test_an_unknown_activity_is_retried_elsewhere() -> None:
    """A worker without the activity says which it has; the failure is retryable, for another worker may know it."""

    @activity
    async def known() -> None: ...

    @activity
    async def unknown() -> None: ...

    (result,) = Bench(known).run(task_of(unknown))
    failure = failure_of(result)
    assert (failure.type, failure.non_retryable) == ("ActivityNotFound", False)
    assert "'unknown'" in failure.message
    assert "it has: known" in failure.message


def test_a_value_that_cannot_be_encoded_fails_for_good() -> None:
    """A result without a JSON form names the activity and is not retried."""

    @activity
    async def broken() -> Any:
        return object()

    failure = failure_of(one(broken))
    assert failure.non_retryable
    assert "broken" in failure.message
    assert "object" in failure.message


def test_a_value_that_is_too_large_fails_for_good() -> None:
    """A result over the limit names size and limit and is not retried; one at the limit passes."""

    @activity
    async def text(length: int) -> str:
        return "x" * length

    fits, over = Bench(text, result_bytes_max=102).run(task_of(text, 100), task_of(text, 101))
    assert isinstance(fits, TaskCompleted)
    failure = failure_of(over)
    assert failure.non_retryable
    assert failure.type == "penstock.schemas.errors.PayloadTooLarge"
    assert "103" in failure.message
    assert "102" in failure.message


def test_an_async_timeout_cancels_the_activity() -> None:
    """An async activity beyond its time sees CancelledError, may clean up, and is told as a timeout."""
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
    """An async activity that catches its cancellation and returns is a timeout all the same."""

    @activity
    async def stubborn() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "late"
        return "never"

    assert failure_of(one(stubborn, timeout_ms=20)).kind == "timeout"


def test_an_async_activity_that_will_not_end_is_told_after_a_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timeout is told even though cleaning up takes for ever; the slot stays taken until it ends."""
    monkeypatch.setattr(module, "CANCEL_GRACE_S", 0.05)
    release = asyncio.Event()

    @activity
    async def endless() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await release.wait()

    bench = Bench(endless)
    told_before_end: list[tuple[int, int]] = []

    async def meanwhile() -> None:
        while not bench.results:
            await asyncio.sleep(0.005)
        told_before_end.append((bench.executor.running, bench.ended))
        release.set()

    (result,) = bench.run(task_of(endless, timeout_ms=10), meanwhile=meanwhile)
    assert failure_of(result).kind == "timeout"
    assert told_before_end == [(1, 0)]


def test_a_sync_timeout_is_told_at_once_and_its_late_result_dropped() -> None:
    """A thread cannot be stopped: its timeout is told, its slot stays taken, and what it returns late is dropped."""
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
        seen.append((bench.executor.running, bench.ended, bench.threads.free))
        release.set()

    results = bench.run(task_of(slow, timeout_ms=20), meanwhile=meanwhile)
    assert len(results) == 1
    assert failure_of(results[0]).kind == "timeout"
    assert seen == [(1, 0, 0)]
    assert bench.threads.free == 1


def test_a_timeout_can_be_declared_not_retryable() -> None:
    """Listing TimeoutError among the non-retryable errors ends the activity at its first timeout."""

    @activity(non_retryable=(TimeoutError,))
    async def slow() -> None:
        await asyncio.sleep(60)

    assert failure_of(one(slow, timeout_ms=10)).non_retryable


def test_an_activity_within_its_time_is_left_alone() -> None:
    """A timeout that was not reached changes nothing, for sync and for async ones."""

    @activity
    async def quick() -> int:
        return 1

    @activity
    def quick_sync() -> int:
        return 2

    results = Bench(quick, quick_sync).run(task_of(quick, timeout_ms=10_000), task_of(quick_sync, timeout_ms=10_000))
    assert sorted(result.result for result in results if isinstance(result, TaskCompleted)) == [b"1", b"2"]


def test_what_is_abandoned_is_not_a_failure() -> None:
    """A drained worker cancels what still runs and reports nothing: the tasks are delivered again."""
    release = threading.Event()

    @activity
    async def endless() -> None:
        await asyncio.sleep(60)

    @activity
    def stuck() -> None:
        release.wait(20)

    bench = Bench(endless, stuck)

    async def meanwhile() -> None:
        await asyncio.sleep(0.01)
        bench.executor.abandon()
        release.set()

    assert bench.run(task_of(endless), task_of(stuck), meanwhile=meanwhile) == []


def test_an_activity_that_cancels_itself_failed() -> None:
    """CancelledError that nobody asked for is an error like any other, and retryable."""

    @activity
    async def odd() -> None:
        raise asyncio.CancelledError

    failure = failure_of(one(odd))
    assert failure.type == "asyncio.exceptions.CancelledError"
    assert not failure.non_retryable


@pytest.mark.parametrize("sync", [True, False])
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, StopIteration, GeneratorExit])
def test_exceptions_that_end_programs_end_one_attempt(sync: bool, error: type[BaseException]) -> None:
    """`sys.exit()` and its like inside an activity fail that attempt, never the worker."""

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


@pytest.mark.parametrize("sync", [True, False])
def test_an_activity_knows_its_attempt(sync: bool) -> None:
    """`activity_info()` tells ids, attempt, queue, idempotency key and an aware deadline, in threads too."""
    infos: list[ActivityInfo] = []

    def work() -> None:
        infos.append(activity_info())

    async def work_async() -> None:
        await asyncio.sleep(0)
        infos.append(activity_info())

    definition = activity(name="work")(work if sync else work_async)
    before = datetime.now(UTC)
    Bench(definition).run(task_of(definition, attempt=2, timeout_ms=60_000))
    (info,) = infos
    assert (info.workflow_id, info.run_id, info.activity, info.attempt) == ("order-1", "run-1", "work", 2)
    assert (info.queue, info.idempotency_key) == ("default", "run-1/3")
    assert info.deadline is not None
    assert 59 < (info.deadline - before).total_seconds() < 75


def test_attempts_do_not_share_their_context() -> None:
    """What one activity sets in its context no other sees."""
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)

    @activity
    async def bump() -> int:
        variable.set(variable.get() + 1)
        await asyncio.sleep(0.001)
        return variable.get()

    results = Bench(bump).run(*[task_of(bump) for _ in range(5)])
    assert [result.result for result in results if isinstance(result, TaskCompleted)] == [b"1"] * 5


def test_threads_are_bounded_and_reused() -> None:
    """Never more threads than allowed work at once, and idle ones are used again."""
    names: set[str] = set()
    peak, now, lock = 0, 0, threading.Lock()

    @activity
    def work() -> None:
        nonlocal peak, now
        with lock:
            now += 1
            peak = max(peak, now)
            names.add(threading.current_thread().name)
        time.sleep(0.002)
        with lock:
            now -= 1

    results = Bench(work, threads=3).run(*[task_of(work) for _ in range(30)])
    assert len(results) == 30
    assert peak <= 3
    assert len(names) <= 3


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def _endless_causes() -> BaseException:
    error: BaseException = ValueError("first")
    for number in range(50):
        following = ValueError(f"number {number}")
        following.__cause__ = error
        error = following
    return error


@pytest.mark.parametrize(
    "error",
    [Unprintable(), ValueError("x" * 1_000_000), ValueError("\ud800"), _endless_causes()],
    ids=["unprintable", "long", "surrogate", "causes"],
)
def test_any_failure_fits_a_record(error: Exception) -> None:
    """However long, deep or unprintable an exception is, its failure is bounded and can be encoded."""

    @activity
    async def work() -> None:
        raise error

    result = one(work)
    failure = failure_of(result)
    assert len(failure.message) <= MESSAGE_CHARACTERS_MAX
    assert len(failure.traceback) <= TRACEBACK_CHARACTERS_MAX
    assert len(failure.causes) <= CAUSES_MAX
    assert decode(encode(result)) == result


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[Any]]:
    caplog.set_level(logging.DEBUG)  # another test may have routed structlog through logging, which then decides
    with capture_logs() as captured:
        yield captured


def test_failures_are_logged_with_their_ids(lines: list[Any]) -> None:
    """A failure is one warning with workflow id, run id, activity and attempt; a completion is a debug line."""

    @activity
    async def fine() -> None: ...

    @activity
    async def pay() -> None:
        raise CardDeclined("no")

    Bench(fine, pay).run(task_of(fine), task_of(pay, attempt=3))
    (warning,) = [line for line in lines if line["log_level"] == "warning"]
    assert (warning["workflow_id"], warning["run_id"], warning["activity"], warning["attempt"]) == (
        "order-1",
        "run-1",
        "pay",
        3,
    )
    completed = [line for line in lines if line["event"] == "activity completed"]
    assert [(line["log_level"], line["activity"]) for line in completed] == [("debug", "fine")]


def test_lines_of_an_activity_carry_its_ids() -> None:
    """structlog's context variables hold the ids while an activity runs, and not around it."""
    seen: list[dict[str, Any]] = []

    @activity
    async def work() -> None:
        seen.append(structlog.contextvars.get_contextvars())

    Bench(work).run(task_of(work))
    assert seen == [{"workflow_id": "order-1", "run_id": "run-1", "activity": "work", "attempt": 1}]
    assert structlog.contextvars.get_contextvars() == {}


def test_no_thread_keeps_a_program_from_ending() -> None:
    """A stuck sync activity does not hold up the end of the process."""
    import subprocess

    program = (
        "import asyncio, time\n"
        "from penstock.workers.execution.threads import Threads\n"
        "async def main():\n"
        "    Threads(1, 't').run(lambda: time.sleep(600))\n"
        "    await asyncio.sleep(0.05)\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], timeout=60, check=False, capture_output=True)
    assert ended.returncode == 0, ended.stderr
