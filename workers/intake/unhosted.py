"""Tasks of activities that this worker does not have: they go back to their queue after a growing delay.

During a rolling deploy only some workers of a queue have a new activity. A task that reaches another worker waits a
little there and is then appended to another partition, which may belong to a worker that has the activity. This counts
as no attempt. If no worker has the activity, the task circulates with ever longer delays.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Container

import msgspec
from structlog.typing import FilteringBoundLogger

from penstock.schemas.encoding.codec import encode
from penstock.topics.log import Record
from penstock.workers.intake.partition import HeldTask, Partition

DELAY_S_FIRST, DELAY_S_MAX = 1.0, 60.0
PARKED_MAX = 2_000
PARKED_BYTES_MAX = 32_000_000
REMIND_S = 60.0


class Unhosted:
    """Tasks that wait for their return. Used by one thread.

    `hosted`: the activities of this worker. `give_back` receives a task that is due and the record to append.
    `shards`, `partitions`: numbers of partitions of the results and of the task queue.
    """

    def __init__(
        self,
        hosted: Container[str],
        give_back: Callable[[HeldTask, Record], None],
        logger: FilteringBoundLogger,
        *,
        shards: int,
        partitions: int,
    ) -> None:
        self._hosted, self._give_back, self._logger = hosted, give_back, logger
        self._shards, self._partitions = shards, partitions
        self._waiting: list[tuple[float, int, float, HeldTask]] = []
        self._order = itertools.count()
        self._size_bytes = 0
        self._reminded_s: dict[str, float] = {}

    @property
    def full(self) -> bool:
        """Whether no more tasks can wait here."""
        return len(self._waiting) >= PARKED_MAX or self._size_bytes >= PARKED_BYTES_MAX

    def park(self, held: HeldTask) -> bool:
        """Let the task wait if its activity is unknown here. Returns whether it is."""
        task = held.task
        if task.activity in self._hosted:
            return False
        now_s = time.monotonic()
        delay_s = min(DELAY_S_FIRST * 2 ** min(task.returned, 16), DELAY_S_MAX)
        heapq.heappush(self._waiting, (now_s + delay_s, next(self._order), now_s, held))
        self._size_bytes += held.size_bytes
        self._remind(held, delay_s, now_s)
        return True

    def drop(self, partition: Partition) -> None:
        """Forget the tasks of a released partition; its next owner gets them."""
        self._waiting = [one for one in self._waiting if one[3].partition is not partition]
        heapq.heapify(self._waiting)
        self._size_bytes = sum(one[3].size_bytes for one in self._waiting)

    def return_due(self) -> None:
        """Give back the tasks whose delay is over. If there is no room for more, the first ones wait DELAY_S_FIRST."""
        now_s = time.monotonic()
        while self._waiting:
            due_s, _, since_s, held = self._waiting[0]
            if now_s < (since_s + DELAY_S_FIRST if self.full else due_s):
                return
            heapq.heappop(self._waiting)
            self._size_bytes -= held.size_bytes
            self._give_back(held, self._record(held))

    def _record(self, held: HeldTask) -> Record:
        """The task for the next partition of its shard, where an open transaction blocks tasks of its own shard only.

        After one round of these it goes to any next partition: the worker that has the activity may own others."""
        topic, number = held.partition.topic_partition
        task = msgspec.structs.replace(held.task, returned=held.task.returned + 1)
        step = self._shards if task.returned < self._partitions // self._shards else 1
        target = (number + step) % self._partitions
        return Record(topic, target, task.workflow_id.encode(), encode(task))

    def _remind(self, held: HeldTask, delay_s: float, now_s: float) -> None:
        """Log that the activity is missing, once a minute for each activity."""
        activity = held.task.activity
        if now_s < self._reminded_s.get(activity, 0.0):
            return
        if len(self._reminded_s) >= PARKED_MAX:
            self._reminded_s.clear()
        self._reminded_s[activity] = now_s + REMIND_S
        self._logger.warning(
            "this worker does not have the activity: its tasks go back to their queue, uncounted, until one has it",
            activity=activity,
            queue=held.task.queue,
            workflow_id=held.task.workflow_id,
            returned=held.task.returned,
            next_in_s=delay_s,
            waiting=len(self._waiting),
        )
