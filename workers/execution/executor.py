"""How is one task run? Found, decoded, run within its time, encoded, told.

    start       find definition → decode input → run
    _ended      encode result → result record → report

Async activities run on the worker's event loop, sync ones in threads. Everything here happens in the loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from structlog.contextvars import bind_contextvars
from structlog.typing import FilteringBoundLogger

from penstock.schemas.errors import BadInput, PayloadTooLarge
from penstock.schemas.records.tasks import ActivityTask, Result, TaskFailed
from penstock.schemas.values.failure import Failure
from penstock.schemas.values.payload import PAYLOAD_BYTES_MAX, check_size
from penstock.workers.activity import info
from penstock.workers.activity.decorator import AnyActivity
from penstock.workers.execution.deadlines import Deadlines
from penstock.workers.execution.failures import failure_of, message_of
from penstock.workers.execution.threads import Threads

CANCEL_GRACE_S = 5.0
"""How long a timed-out async activity may take to clean up before its timeout is told all the same."""


class Executor:
    """Runs tasks. `running` counts attempts until they have really ended, told or not."""

    def __init__(
        self,
        definitions: Mapping[str, AnyActivity],
        threads: Threads,
        logger: FilteringBoundLogger,
        *,
        worker: str = "",
        result_bytes_max: int = PAYLOAD_BYTES_MAX,
    ) -> None:
        self.definitions = definitions
        self.threads = threads
        self.logger = logger
        self.worker = worker
        self.result_bytes_max = result_bytes_max
        self.context = contextvars.copy_context()
        self.deadlines = Deadlines()
        self._attempts: set[_Attempt] = set()
        # Asked once: saying nothing, twice a task, took a sixth of a worker's time (measured).
        is_enabled = getattr(logger.bind(), "isEnabledFor", None)
        self._tells_all = is_enabled is None or bool(is_enabled(logging.DEBUG))

    @property
    def running(self) -> int:
        """How many attempts have started and not ended."""
        return len(self._attempts)

    def start(self, task: ActivityTask, report: Callable[[Result], None], ended: Callable[[], None]) -> None:
        """Run `task`. `report` gets its result once, unless it is abandoned; `ended` is called when it has ended.

        Both may be called before this returns. A sync activity that timed out is reported before it ends."""
        definition = self.definitions.get(task.activity)
        if definition is None:
            report(self._failed(task, self._not_found(task)))
            return ended()
        try:
            arguments = definition.signature.decode(task.input)
        except Exception as error:  # BadInput, or a type that cannot be resolved on this worker
            report(self._failed(task, _unreadable(task, error)))
            return ended()
        attempt = _Attempt(self, task, definition, report, ended)
        self._attempts.add(attempt)
        attempt.run(arguments)
        return None

    def abandon(self) -> None:
        """Cancel what runs and report nothing of it: the tasks stay unfinished and will be delivered again."""
        for attempt in tuple(self._attempts):
            attempt.abandon()

    def forget(self, attempt: _Attempt) -> None:
        """The attempt has ended."""
        self._attempts.discard(attempt)

    def outcome(self, task: ActivityTask, definition: AnyActivity, future: asyncio.Future[Any]) -> Result:
        """The result record of an attempt that ended by itself."""
        if future.cancelled():
            error: BaseException | None = asyncio.CancelledError("the activity cancelled itself")
        else:
            error = future.exception()
        if error is None:
            value = future.result()
            if not isinstance(value, _Raised):
                return self._completed(task, definition, value)
            error = value.error
        fatal = isinstance(error, definition.non_retryable)
        return self._failed(task, failure_of(error, attempt=task.attempt, non_retryable=fatal))

    def timed_out(self, task: ActivityTask, definition: AnyActivity) -> Result:
        """The result record of an attempt that exceeded its time; listing TimeoutError as non-retryable counts."""
        message = f"Activity {task.activity} did not end within its timeout of {task.timeout_ms / 1_000:g} s."
        fatal = isinstance(TimeoutError(), definition.non_retryable)
        failure = Failure(
            type="TimeoutError", message=message, kind="timeout", non_retryable=fatal, attempts=task.attempt
        )
        return self._failed(task, failure)

    def tell_started(self, task: ActivityTask) -> None:
        """One line for people who watch."""
        if self._tells_all:
            self._tell(self.logger.debug, "activity started", task)

    def _completed(self, task: ActivityTask, definition: AnyActivity, value: Any) -> Result:
        try:
            result = definition.returns.encode(value)
            check_size(result, limit=self.result_bytes_max, what=f"Activity {task.activity} returned too much")
        except PayloadTooLarge as error:
            return self._failed(task, failure_of(error, attempt=task.attempt, non_retryable=True))
        except Exception as error:  # whatever the value's own encoding raises
            bad = BadInput(
                f"Activity {task.activity} returned a {type(value).__qualname__} that does not fit what it declares: "
                f"{message_of(error)}"
            )
            return self._failed(task, failure_of(bad, attempt=task.attempt, non_retryable=True))
        if self._tells_all:
            self._tell(self.logger.debug, "activity completed", task)
        return task.completed(result, worker=self.worker)

    def _failed(self, task: ActivityTask, failure: Failure) -> TaskFailed:
        self._tell(
            self.logger.warning,
            "activity failed",
            task,
            error=failure.type,
            message=failure.message,
            non_retryable=failure.non_retryable,
        )
        return task.failed(failure, worker=self.worker)

    def _tell(self, write: Callable[..., Any], what: str, task: ActivityTask, **facts: Any) -> None:
        """Write a line about the task. A log that cannot be written must not cost a result."""
        with contextlib.suppress(Exception):
            write(
                what,
                workflow_id=task.workflow_id,
                run_id=task.run_id,
                activity=task.activity,
                attempt=task.attempt,
                **facts,
            )

    def _not_found(self, task: ActivityTask) -> Failure:
        """Retryable: another worker of the queue, or this one after its next deployment, may know the activity."""
        known = ", ".join(sorted(self.definitions)) or "none"
        message = (
            f"Worker {self.worker} of queue {task.queue} has no activity {task.activity!r}; it has: {known}. "
            "Start it with the module that declares the activity."
        )
        return Failure(type="ActivityNotFound", message=message, attempts=task.attempt)


class _Attempt:
    """One task under way."""

    __slots__ = ("_definition", "_ended_with", "_executor", "_future", "_report", "_task", "_timed_out")

    def __init__(
        self,
        executor: Executor,
        task: ActivityTask,
        definition: AnyActivity,
        report: Callable[[Result], None],
        ended: Callable[[], None],
    ) -> None:
        self._executor, self._task, self._definition = executor, task, definition
        self._report: Callable[[Result], None] | None = report
        self._ended_with = ended
        self._future: asyncio.Future[Any] | None = None
        self._timed_out = False

    def run(self, arguments: tuple[Any, ...]) -> None:
        executor, task, definition = self._executor, self._task, self._definition
        executor.tell_started(task)
        context = executor.context.copy()
        context.run(_enter, task)
        loop = asyncio.get_running_loop()
        if definition.is_async:
            self._future = loop.create_task(_guarded(definition, arguments), context=context)
        else:
            self._future = executor.threads.run(functools.partial(context.run, definition.fn, *arguments))
        self._future.add_done_callback(self._ended)
        if task.timeout_ms:
            executor.deadlines.add(task.timeout_ms, self._time_is_up)

    def abandon(self) -> None:
        """Report nothing; an async activity is cancelled, a thread left to itself."""
        self._report = None
        if self._definition.is_async and self._future is not None:
            self._future.cancel()

    def _time_is_up(self) -> None:
        """Cancel an async activity and tell when it has cleaned up; a thread cannot be stopped, so tell now."""
        if self._future is None or self._future.done():
            return
        self._timed_out = True
        if self._definition.is_async:
            self._future.cancel()
            asyncio.get_running_loop().call_later(CANCEL_GRACE_S, self._tell_timeout)
        else:
            self._tell_timeout()

    def _tell_timeout(self) -> None:
        report, self._report = self._report, None
        if report is not None:
            report(self._executor.timed_out(self._task, self._definition))

    def _ended(self, future: asyncio.Future[Any]) -> None:
        if self._task.timeout_ms:
            self._executor.deadlines.remove(self._task.timeout_ms, self._time_is_up)
        self._executor.forget(self)
        if self._timed_out:
            self._tell_timeout()
        report, self._report = self._report, None
        if report is not None:
            report(self._executor.outcome(self._task, self._definition, future))
        elif not future.cancelled():
            future.exception()  # looked at, so that asyncio does not complain about it
        self._ended_with()


class _Raised:
    """Carries an exception that asyncio would let stop the loop."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


async def _guarded(definition: AnyActivity, arguments: tuple[Any, ...]) -> Any:
    try:
        return await definition.fn(*arguments)
    except (SystemExit, KeyboardInterrupt) as error:
        return _Raised(error)


def _enter(task: ActivityTask) -> None:
    """Prepare an attempt's context: what `activity_info` tells, and what every log line of the activity carries."""
    info.enter(task, time.time())
    bind_contextvars(workflow_id=task.workflow_id, run_id=task.run_id, activity=task.activity, attempt=task.attempt)


def _unreadable(task: ActivityTask, error: Exception) -> Failure:
    """A wrong input stays wrong; a type hint that cannot be resolved may be mended by the next deployment."""
    return failure_of(error, attempt=task.attempt, non_retryable=isinstance(error, BadInput))
