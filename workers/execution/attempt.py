"""One attempt of an activity: run within its timeout, encode its outcome, report the result."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from structlog.contextvars import bind_contextvars

from penstock.schemas.errors import ActivityCancelledError, CompleteLater
from penstock.schemas.records.tasks import ActivityTask, Report, Result, TaskFailed, TaskStarted
from penstock.schemas.values.tokens import AttemptToken, write_token
from penstock.workers.activity import info
from penstock.workers.activity.decorator import AnyActivity
from penstock.workers.activity.heartbeats import encoded_details
from penstock.workers.execution.deadlines import Deadlines
from penstock.workers.execution.pulse import Pulse
from penstock.workers.execution.results import Results
from penstock.workers.execution.threads import Threads

CANCEL_GRACE_S = 5.0
"""How long an async activity may clean up after its timeout before the timeout is reported."""

_FIRST = threading.Lock()  # two threads of an attempt may send its first heartbeat


class Environment(NamedTuple):
    """What all attempts of a worker share. `running`: the attempts that have started and not ended.

    `send`: receives what a running attempt says of itself, in any thread. `token_key` signs their tokens."""

    threads: Threads
    deadlines: Deadlines
    results: Results
    context: contextvars.Context
    running: set[Attempt]
    send: Callable[[ActivityTask, Report], None]
    token_key: bytes = b""


class Attempt:
    """One task while it runs. Used in the event loop's thread, but for `beat`.

    `started_s`: epoch. `cancelled`: no run waits for it any more.

    `report` receives the result once, unless the attempt is abandoned. `ended` is called when the function has
    returned, which may be after a timeout was reported; for a sync activity it is called when it has timed out, since
    another thread replaces the one that hangs.
    """

    __slots__ = (
        "_definition",
        "_ended",
        "_environment",
        "_future",
        "_loop",
        "_pulse",
        "_report",
        "_timed_out",
        "cancelled",
        "started_s",
        "task",
    )

    def __init__(
        self,
        environment: Environment,
        task: ActivityTask,
        definition: AnyActivity,
        report: Callable[[Result | TaskStarted], None],
        ended: Callable[[], None],
    ) -> None:
        self._environment, self.task, self._definition = environment, task, definition
        self._report: Callable[[Result | TaskStarted], None] | None = report
        self._ended = ended
        self._future: asyncio.Future[Any] | None = None
        self._pulse: Pulse | None = None
        self._timed_out = self.cancelled = False
        self.started_s = 0.0
        self._loop = asyncio.get_running_loop()

    def run(self, arguments: tuple[Any, ...]) -> None:
        """Start the function, and the clock of its timeout."""
        environment, task = self._environment, self.task
        environment.running.add(self)
        self.started_s = time.time()
        environment.results.log_started(task)
        self._future = self._call(arguments)
        self._future.add_done_callback(self._end)
        if task.timeout_ms:
            environment.deadlines.add(task.timeout_ms, self._time_out)

    @property
    def token(self) -> str:
        """The attempt's token."""
        task = self.task
        named = AttemptToken(task.workflow_id, task.run_id, task.sequence, task.attempt, task.shard)
        return write_token(named, self._environment.token_key)

    def beat(self, details: Any) -> None:
        """Send a heartbeat, now or soon. Called in the activity's thread.

        Raises BadInput, PayloadTooLarge; ActivityCancelledError in a sync activity that was cancelled."""
        if self.cancelled and not self._definition.is_async:
            raise ActivityCancelledError(
                f"No run waits for attempt {self.task.attempt} of activity {self.task.activity} any more."
            )
        data = encoded_details(details, self.task.activity)
        with _FIRST:
            if self._pulse is None:
                task, send = self.task, self._environment.send
                heartbeat_ms = task.bounds.heartbeat_ms if task.bounds is not None else 0
                self._pulse = Pulse(heartbeat_ms, self._loop, lambda data: send(task, task.heartbeat(data)))
            pulse = self._pulse
        pulse.beat(data)

    def cancel(self) -> None:
        """Let the function end: no run waits for it. An async one is cancelled; a sync one asks, or sends heartbeats.

        How it ends is reported: another worker may wait for that."""
        if not self.cancelled:
            self.cancelled = True
            if self._definition.is_async and self._future is not None:
                self._future.cancel()

    def abandon(self) -> None:
        """Report nothing, but for a task that was done at its start: no worker gets it again.

        An async activity is cancelled; a thread cannot be stopped."""
        report, self._report = self._report, None
        bounds = self.task.bounds
        if report is not None and bounds is not None and bounds.heartbeat_ms:
            report(self._with_details(self._environment.results.left(self.task)))
        if self._definition.is_async and self._future is not None:
            self._future.cancel()

    def _call(self, arguments: tuple[Any, ...]) -> asyncio.Future[Any]:
        """Call the function in a context of its own: an async one on the loop, a sync one in a thread."""
        definition = self._definition
        context = self._environment.context.copy()
        context.run(_enter, self)
        if definition.is_async:
            return asyncio.get_running_loop().create_task(_awaited(definition, arguments), context=context)
        by_place, by_name = definition.signature.handed(arguments)
        return self._environment.threads.run(functools.partial(context.run, definition.fn, *by_place, **by_name))

    def _time_out(self) -> None:
        """Cancel an async activity and report once it has cleaned up; report a sync one at once."""
        if self._future is None or self._future.done():
            return
        self._timed_out = True
        if self._definition.is_async:
            self._future.cancel()
            asyncio.get_running_loop().call_later(CANCEL_GRACE_S, self._report_timeout)
        else:
            self._report_timeout()
            self._environment.threads.give_up(self._future, self.task.activity)
            self._stop_counting()

    def _report_timeout(self) -> None:
        report, self._report = self._report, None
        if report is not None:
            report(self._with_details(self._environment.results.timed_out(self.task, self._definition)))

    def _end(self, future: asyncio.Future[Any]) -> None:
        """Report the outcome, unless it was reported before or the attempt was abandoned."""
        if self.task.timeout_ms:
            self._environment.deadlines.remove(self.task.timeout_ms, self._time_out)
        if self._timed_out:
            self._report_timeout()
        report, self._report = self._report, None
        if report is not None:
            report(self._with_details(self._result(future)))
        elif not future.cancelled():
            future.exception()  # marks it as retrieved, so that asyncio does not warn
        self._stop_counting()

    def _with_details(self, result: Result | TaskStarted) -> Result | TaskStarted:
        """The result, with what was not sent of the last heartbeat if it is a failure: the next attempt gets it."""
        if self._pulse is None:
            return result
        details = self._pulse.end()
        if details and isinstance(result, TaskFailed):
            return msgspec.structs.replace(result, details=details)
        return result

    def _stop_counting(self) -> None:
        """Let another attempt begin instead, once."""
        if self in self._environment.running:
            self._environment.running.discard(self)
            self._ended()

    def _result(self, future: asyncio.Future[Any]) -> Result | TaskStarted:
        results, task, definition = self._environment.results, self.task, self._definition
        if self.cancelled and (future.cancelled() or isinstance(future.exception(), ActivityCancelledError)):
            return results.cancelled(task)
        if future.cancelled():
            return results.raised(task, definition, asyncio.CancelledError("the activity cancelled itself"))
        error = future.exception()
        if isinstance(error, CompleteLater):
            return results.outside(task)
        if error is not None:
            return results.raised(task, definition, error)
        value = future.result()
        if isinstance(value, _Raised):
            return results.raised(task, definition, value.error)
        return results.completed(task, definition, value)


class _Raised:
    """An exception that would stop the event loop if a task raised it."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


async def _awaited(definition: AnyActivity, arguments: tuple[Any, ...]) -> Any:
    by_place, by_name = definition.signature.handed(arguments)
    try:
        return await definition.fn(*by_place, **by_name)
    except (SystemExit, KeyboardInterrupt) as error:
        return _Raised(error)


CALLED = _awaited.__code__
"""Code that calls an async activity, by which watch.py finds it."""


def _enter(attempt: Attempt) -> None:
    """Prepare the attempt's context: `activity_info`, and the ids that each log line of the activity carries."""
    info.enter(attempt)
    task = attempt.task
    bind_contextvars(workflow_id=task.workflow_id, run_id=task.run_id, activity=task.activity, attempt=task.attempt)
