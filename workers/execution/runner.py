"""Scheduling of waiting tasks within the worker's concurrency, and publication of their results."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol

from penstock.schemas.encoding.codec import encode
from penstock.schemas.errors import PayloadTooLarge
from penstock.schemas.records.tasks import ActivityTask, AttemptsCancelled, Report, Result, TaskStarted
from penstock.topics.log import Record
from penstock.workers.execution.cancelled import CancelledAttempts
from penstock.workers.execution.executor import Executor
from penstock.workers.execution.failures import failure_of
from penstock.workers.execution.outbox import Outbox

IDLE_CHECK_S = 0.01


class PendingTask(Protocol):
    """A task that waits for its start, as the intake hands it over."""

    @property
    def task(self) -> ActivityTask: ...

    @property
    def released(self) -> bool:
        """Whether another worker owns the task by now."""
        ...

    @property
    def is_ordinary(self) -> bool:
        """Whether it may run beside others, since no worker died of it."""
        ...

    def start(self) -> bool:
        """Mark the task as started. Returns False if it was released, and must not run here."""
        ...

    def drop(self) -> bool:
        """Mark the task as not to be run. Returns False if it was released or has started."""
        ...

    def acknowledged(self) -> None:
        """Record that the log has acknowledged what makes the task done. Called from any thread; once is enough."""
        ...


class Runner:
    """Runs at most `concurrency` attempts at once, taking from the queues in turn. Used in the event loop's thread."""

    def __init__(self, executor: Executor, outbox: Outbox, results_topic: str, concurrency: int) -> None:
        self._executor = executor
        executor.send = self._send_report
        self._outbox = outbox
        self._results_topic = results_topic
        self._concurrency = concurrency
        self._lanes: deque[_Lane] = deque()
        self._lane_of: dict[tuple[str, bool], _Lane] = {}
        self._filling = False
        self._closed = False
        self._busy = False
        self._cancelled = CancelledAttempts()

    def accept(self, queue: str, tasks: Sequence[PendingTask], *, first: bool = False) -> None:
        """Add tasks of `queue` whose activities the worker has, before those that wait if `first`, and start as many as
        fit."""
        if self._closed:
            return
        definitions = self._executor.definitions
        if self._cancelled:
            tasks = self._wanted(tasks)
        for pending in reversed(tasks) if first else tasks:
            waiting = self._lane(queue, is_async=definitions[pending.task.activity].is_async).waiting
            if first:
                waiting.appendleft(pending)
            else:
                waiting.append(pending)
        self._fill()

    def cancel(self, cancelled: Sequence[AttemptsCancelled]) -> None:
        """Cancel running attempts whose end no run awaits any more, and drop the tasks of those that wait."""
        self._cancelled.add(cancelled)
        self._executor.cancel(self._cancelled)
        for lane in self._lanes:
            if lane.waiting:
                lane.waiting = deque(self._wanted(lane.waiting))
        self._update_busy()

    def _wanted(self, tasks: Iterable[PendingTask]) -> list[PendingTask]:
        """The tasks that were not cancelled. The others are done; a run that awaits their end gets one."""
        wanted = []
        for pending in tasks:
            found = self._cancelled.find(pending.task)
            if found is None:
                wanted.append(pending)
            elif pending.drop():
                if found.awaited:
                    self._publish(pending, self._executor.refused(pending.task))
                else:
                    pending.acknowledged()
        return wanted

    def drop_released(self) -> None:
        """Remove the waiting tasks of released partitions."""
        for lane in self._lanes:
            lane.waiting = deque(pending for pending in lane.waiting if not pending.released)
        self._update_busy()

    def close(self) -> None:
        """Start no more tasks, and remove those that wait."""
        self._closed = True
        for lane in self._lanes:
            lane.waiting.clear()
        self._update_busy()

    def when_idle(self, callback: Callable[[bool], None], timeout_s: float) -> None:
        """Call `callback(True)` once no attempt runs, or `callback(False)` after `timeout_s`."""
        if not self._executor.running or timeout_s <= 0:
            return callback(not self._executor.running)
        wait_s = min(IDLE_CHECK_S, timeout_s)
        asyncio.get_running_loop().call_later(wait_s, self.when_idle, callback, timeout_s - wait_s)
        return None

    def _lane(self, queue: str, *, is_async: bool) -> _Lane:
        lane = self._lane_of.get((queue, is_async))
        if lane is None:
            lane = self._lane_of[queue, is_async] = _Lane(is_async=is_async)
            self._lanes.append(lane)
        return lane

    def _fill(self) -> None:
        """Start waiting tasks while there is room."""
        if self._filling or self._closed:
            return  # an attempt ended inside of the loop below, which continues
        self._filling = True
        try:
            while self._executor.running < self._concurrency and (pending := self._next()) is not None:
                if pending.task.bounds is not None:
                    self._report_start(pending)
                self._executor.start(pending.task, partial(self._publish, pending), self._fill)
        finally:
            self._filling = False
        self._update_busy()

    def _update_busy(self) -> None:
        """Batch results while tasks wait, since sending each at once would gain nothing; send the batch after that."""
        before, self._busy = self._busy, any(lane.waiting for lane in self._lanes)
        if before and not self._busy:
            self._outbox.send_batch()

    def _next(self) -> PendingTask | None:
        """Take the next startable task, from the lanes in turn."""
        for _ in range(len(self._lanes)):
            lane = self._lanes[0]
            self._lanes.rotate(-1)
            while lane.waiting and (lane.is_async or self._executor.threads.free > 0):
                pending = lane.waiting.popleft()
                if pending.start():
                    return pending
        return None

    def _report_start(self, pending: PendingTask) -> None:
        """Say that the attempt begins, where the shard wants to know.

        A task with a heartbeat is done once that is acknowledged: if the worker dies, the silence ends the attempt, and
        another worker must not run the same one."""
        task = pending.task
        if task.bounds is None or not task.bounds.reports_start:
            return
        is_done = task.bounds.heartbeat_ms and pending.is_ordinary
        record = self._record(task, task.started(self._executor.worker))
        self._outbox.send(record, pending.acknowledged if is_done else _nothing)

    def _send_report(self, task: ActivityTask, report: Report) -> None:
        """Send what a running attempt says of itself. Called from any thread."""
        self._outbox.send(self._record(task, report), _nothing)

    def _record(self, task: ActivityTask, value: Result | Report) -> Record:
        """A record for the shard of the task's run."""
        return Record(self._results_topic, task.shard, task.workflow_id.encode(), encode(value))

    def _publish(self, pending: PendingTask, result: Result | TaskStarted) -> None:
        """Send the result, or that it comes from outside, to the shard of the task's run."""
        record = self._record(pending.task, result)
        too_large = partial(self._publish_too_large, pending, len(record.value or b""))
        send = self._outbox.send_batched if self._busy else self._outbox.send
        send(record, pending.acknowledged, too_large)

    def _publish_too_large(self, pending: PendingTask, size_bytes: int) -> None:
        """Publish a failure instead of a result that the topic refuses, though it is within the worker's limit."""
        task = pending.task
        error = PayloadTooLarge(
            f"Activity {task.activity} returned a result of {size_bytes:,} bytes, more than topic "
            f"{self._results_topic} takes: store the value elsewhere and return where it is."
        )
        failure = failure_of(error, attempt=task.attempt, non_retryable=True)
        self._publish(pending, task.failed(failure, self._executor.worker))


def _nothing() -> None:
    """What follows the acknowledgement of a record after which nothing is done."""


class _Lane:
    """Waiting tasks of one queue, either async or sync (which also need a free thread), first in, first out."""

    __slots__ = ("is_async", "waiting")

    def __init__(self, *, is_async: bool) -> None:
        self.is_async = is_async
        self.waiting: deque[PendingTask] = deque()
