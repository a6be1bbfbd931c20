"""Which task starts next, and where does its result go? Everything here happens in the loop's thread."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from penstock.schemas.encoding.codec import encode
from penstock.schemas.errors import PayloadTooLarge
from penstock.schemas.records.tasks import Result
from penstock.topics.log import Record
from penstock.workers.execution.executor import Executor
from penstock.workers.execution.failures import failure_of
from penstock.workers.execution.outbox import Outbox
from penstock.workers.intake.delivery import Delivery

IDLE_CHECK_S = 0.01


class Runner:
    """Keeps at most `concurrency` attempts running, queue after queue in turn."""

    def __init__(self, executor: Executor, outbox: Outbox, results_topic: str, concurrency: int) -> None:
        self._executor = executor
        self._outbox = outbox
        self._results_topic = results_topic
        self._concurrency = concurrency
        self._lanes: deque[_Lane] = deque()
        self._lane_of: dict[tuple[str, bool], _Lane] = {}
        self._filling = False
        self._closed = False
        self._busy = False

    def accept(self, queue: str, deliveries: Sequence[Delivery]) -> None:
        """Take over these tasks, delivered from `queue`."""
        if self._closed:
            return
        definitions = self._executor.definitions
        for delivery in deliveries:
            definition = definitions.get(delivery.task.activity)
            self._lane(queue, is_async=definition is None or definition.is_async).waiting.append(delivery)
        self._fill()

    def drop_released(self) -> None:
        """Forget the waiting tasks of partitions that somebody else has now."""
        for lane in self._lanes:
            lane.waiting = deque(delivery for delivery in lane.waiting if not delivery.partition.released)
        self._note_busy()

    def close(self) -> None:
        """Start nothing any more; what waits stays unfinished."""
        self._closed = True
        for lane in self._lanes:
            lane.waiting.clear()
        self._note_busy()

    def when_idle(self, tell: Callable[[bool], None], timeout_s: float) -> None:
        """Tell True once nothing runs, False when the time is up before that."""
        if not self._executor.running or timeout_s <= 0:
            return tell(not self._executor.running)
        wait_s = min(IDLE_CHECK_S, timeout_s)
        asyncio.get_running_loop().call_later(wait_s, self.when_idle, tell, timeout_s - wait_s)
        return None

    def _lane(self, queue: str, *, is_async: bool) -> _Lane:
        lane = self._lane_of.get((queue, is_async))
        if lane is None:
            lane = self._lane_of[queue, is_async] = _Lane(is_async=is_async)
            self._lanes.append(lane)
        return lane

    def _fill(self) -> None:
        if self._filling or self._closed:
            return  # an attempt that ended at once, below: the loop there goes on
        self._filling = True
        try:
            while self._executor.running < self._concurrency and (delivery := self._next()) is not None:
                self._executor.start(delivery.task, partial(self._report, delivery), self._fill)
        finally:
            self._filling = False
        self._note_busy()

    def _note_busy(self) -> None:
        """While tasks wait, nobody gains by a result that leaves milliseconds earlier. Once none does, all leave."""
        before, self._busy = self._busy, any(lane.waiting for lane in self._lanes)
        if before and not self._busy:
            self._outbox.send_waiting()

    def _next(self) -> Delivery | None:
        """The next task of the next lane that has one and could run it."""
        for _ in range(len(self._lanes)):
            lane = self._lanes[0]
            self._lanes.rotate(-1)
            while lane.waiting and (lane.is_async or self._executor.threads.free > 0):
                delivery = lane.waiting.popleft()
                if delivery.partition.start(delivery):
                    return delivery
        return None

    def _report(self, delivery: Delivery, result: Result) -> None:
        task = delivery.task
        record = Record(self._results_topic, task.shard, task.workflow_id.encode(), encode(result))
        too_large = partial(self._report_too_large, delivery, len(record.value or b""))
        send = self._outbox.send_soon if self._busy else self._outbox.send
        send(record, partial(delivery.consumer.settled, delivery), too_large)

    def _report_too_large(self, delivery: Delivery, size_bytes: int) -> None:
        """The log takes less than the limit checked before: say that instead of the result."""
        task = delivery.task
        error = PayloadTooLarge(
            f"Activity {task.activity} returned a result of {size_bytes:,} bytes, more than topic "
            f"{self._results_topic} takes: store the value elsewhere and return where it is."
        )
        failure = failure_of(error, attempt=task.attempt, non_retryable=True)
        self._report(delivery, task.failed(failure, self._executor.worker))


class _Lane:
    """Tasks of one queue and one sort (sync ones also need a free thread), first in, first out."""

    __slots__ = ("is_async", "waiting")

    def __init__(self, *, is_async: bool) -> None:
        self.is_async = is_async
        self.waiting: deque[Delivery] = deque()
