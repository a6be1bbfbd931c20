"""One attempt of an activity: run within its timeout, encode its outcome, report the result."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from structlog.contextvars import bind_contextvars

from penstock.schemas.records.tasks import ActivityTask, Result
from penstock.workers.activity import info
from penstock.workers.activity.decorator import AnyActivity
from penstock.workers.execution.deadlines import Deadlines
from penstock.workers.execution.results import Results
from penstock.workers.execution.threads import Threads

CANCEL_GRACE_S = 5.0
"""How long an async activity may clean up after its timeout before the timeout is reported."""


class Environment(NamedTuple):
    """What all attempts of a worker share. `running`: the attempts that have started and not ended."""

    threads: Threads
    deadlines: Deadlines
    results: Results
    context: contextvars.Context
    running: set[Attempt]


class Attempt:
    """One task while it runs. Used in the event loop's thread.

    `report` receives the result once, unless the attempt is abandoned. `ended` is called when the function has
    returned, which may be after a timeout was reported; for a sync activity it is called when it has timed out, since
    another thread replaces the one that hangs.
    """

    __slots__ = ("_definition", "_ended", "_environment", "_future", "_report", "_task", "_timed_out")

    def __init__(
        self,
        environment: Environment,
        task: ActivityTask,
        definition: AnyActivity,
        report: Callable[[Result], None],
        ended: Callable[[], None],
    ) -> None:
        self._environment, self._task, self._definition = environment, task, definition
        self._report: Callable[[Result], None] | None = report
        self._ended = ended
        self._future: asyncio.Future[Any] | None = None
        self._timed_out = False

    def run(self, arguments: tuple[Any, ...]) -> None:
        """Start the function, and the clock of its timeout."""
        environment, task = self._environment, self._task
        environment.running.add(self)
        environment.results.log_started(task)
        self._future = self._call(arguments)
        self._future.add_done_callback(self._end)
        if task.timeout_ms:
            environment.deadlines.add(task.timeout_ms, self._time_out)

    def abandon(self) -> None:
        """Report nothing. An async activity is cancelled; a thread cannot be stopped."""
        self._report = None
        if self._definition.is_async and self._future is not None:
            self._future.cancel()

    def _call(self, arguments: tuple[Any, ...]) -> asyncio.Future[Any]:
        """Call the function in a context of its own: an async one on the loop, a sync one in a thread."""
        definition = self._definition
        context = self._environment.context.copy()
        context.run(_enter, self._task)
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
            self._environment.threads.give_up(self._future, self._task.activity)
            self._stop_counting()

    def _report_timeout(self) -> None:
        report, self._report = self._report, None
        if report is not None:
            report(self._environment.results.timed_out(self._task, self._definition))

    def _end(self, future: asyncio.Future[Any]) -> None:
        """Report the outcome, unless it was reported before or the attempt was abandoned."""
        if self._task.timeout_ms:
            self._environment.deadlines.remove(self._task.timeout_ms, self._time_out)
        if self._timed_out:
            self._report_timeout()
        report, self._report = self._report, None
        if report is not None:
            report(self._result(future))
        elif not future.cancelled():
            future.exception()  # marks it as retrieved, so that asyncio does not warn
        self._stop_counting()

    def _stop_counting(self) -> None:
        """Let another attempt begin instead, once."""
        if self in self._environment.running:
            self._environment.running.discard(self)
            self._ended()

    def _result(self, future: asyncio.Future[Any]) -> Result:
        results, task, definition = self._environment.results, self._task, self._definition
        if future.cancelled():
            return results.raised(task, definition, asyncio.CancelledError("the activity cancelled itself"))
        error = future.exception()
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


def _enter(task: ActivityTask) -> None:
    """Prepare the attempt's context: `activity_info`, and the ids that each log line of the activity carries."""
    info.enter(task, time.time())
    bind_contextvars(workflow_id=task.workflow_id, run_id=task.run_id, activity=task.activity, attempt=task.attempt)
