"""Execution of tasks on the worker's event loop.

A task passes these steps; the first one belongs to the intake:

    decode    record → task                 intake/consumer.py
    find      task → definition             intake/unhosted.py, Executor.start
    bind      input → arguments             Executor._bind
    run       arguments → value, in time    Attempt.run
    encode    value → result record         Results.completed, Results.raised, Results.timed_out
    report    result record → outbox        Runner

Async activities run on the event loop, sync ones in threads. All methods are called in the loop's thread.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Mapping
from typing import Any

from structlog.typing import FilteringBoundLogger

from penstock.schemas.records.tasks import ActivityTask, Report, Result, TaskFailed, TaskStarted
from penstock.schemas.values.payload import PAYLOAD_BYTES_MAX
from penstock.workers.activity.decorator import AnyActivity
from penstock.workers.execution.attempt import Attempt, Environment
from penstock.workers.execution.cancelled import CancelledAttempts
from penstock.workers.execution.deadlines import Deadlines
from penstock.workers.execution.results import Results
from penstock.workers.execution.threads import Threads


class Executor:
    """Runs tasks. `send` receives what running attempts say of themselves, in any thread; the runner sets it."""

    def __init__(
        self,
        definitions: Mapping[str, AnyActivity],
        threads: Threads,
        logger: FilteringBoundLogger,
        *,
        worker: str = "",
        result_bytes_max: int = PAYLOAD_BYTES_MAX,
        token_key: bytes = b"",
    ) -> None:
        self.definitions = definitions
        self.threads = threads
        self.worker = worker
        self._attempts: set[Attempt] = set()
        self._results = Results(worker, logger, result_bytes_max)
        self.send: Callable[[ActivityTask, Report], None] = lambda task, report: None
        self._environment = Environment(
            threads,
            Deadlines(),
            self._results,
            contextvars.copy_context(),
            self._attempts,
            self._send,
            token_key,
        )

    @property
    def running(self) -> int:
        """Number of attempts that have started and not ended; without sync ones that go on after their timeout."""
        return len(self._attempts)

    def start(
        self, task: ActivityTask, report: Callable[[Result | TaskStarted], None], ended: Callable[[], None]
    ) -> None:
        """Run `task`. `report` receives its result once, unless it is abandoned; `ended` is called when it has ended.

        Both may be called before this returns. A sync activity's timeout is reported before the activity ends."""
        definition = self.definitions[task.activity]  # the intake hands over no others (unhosted.py)
        try:
            arguments = self._bind(definition, task)
        except _NotStartable as not_startable:
            report(not_startable.result)
            return ended()
        return Attempt(self._environment, task, definition, report, ended).run(arguments)

    def _send(self, task: ActivityTask, report: Report) -> None:
        self.send(task, report)

    def cancel(self, cancelled: CancelledAttempts) -> None:
        """Cancel the running attempts that are among these."""
        for attempt in tuple(self._attempts):
            if cancelled.find(attempt.task) is not None:
                attempt.cancel()

    def refused(self, task: ActivityTask) -> TaskFailed:
        """The result of a task that is not run, since it was cancelled."""
        return self._results.cancelled(task)

    def abandon(self) -> None:
        """Cancel the running attempts without reporting them; their tasks will be delivered again."""
        for attempt in tuple(self._attempts):
            attempt.abandon()

    def _bind(self, definition: AnyActivity, task: ActivityTask) -> tuple[Any, ...]:
        try:
            return definition.signature.decode(task.input)
        except Exception as error:  # BadInput, or whatever resolving a type hint raises
            raise _NotStartable(self._results.not_bound(task, error)) from error


class _NotStartable(Exception):
    """A task that fails before its activity is called."""

    def __init__(self, result: TaskFailed) -> None:
        super().__init__()
        self.result = result
