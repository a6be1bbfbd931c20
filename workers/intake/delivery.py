"""What passes between the thread that polls and the loop that runs? Deliveries: tasks with where they lay."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from penstock.schemas.records.tasks import ActivityTask
from penstock.topics.log import TopicPartition
from penstock.workers.intake.claims import Mark
from penstock.workers.intake.progress import Progress


class Settled(Protocol):
    """Somebody who wants to know that a delivery is done."""

    def settled(self, delivery: Delivery) -> None:
        """The delivery's result is acknowledged by the log. Called from any thread."""
        ...


class Partition:
    """A partition while this worker has it: a new object each time it is granted.

    `progress`, `elsewhere` (what an earlier owner still runs, by offset), `open` (what is delivered and not done, by
    offset) and `dirty` (there is something to commit) belong to the polling thread.
    """

    __slots__ = ("_lock", "_released", "dirty", "elsewhere", "open", "progress", "topic_partition")

    def __init__(
        self, topic_partition: TopicPartition, progress: Progress, elsewhere: Mapping[int, Mark] = MappingProxyType({})
    ) -> None:
        self.topic_partition = topic_partition
        self.progress = progress
        self.elsewhere = dict(elsewhere)
        self.open: dict[int, Delivery] = {}
        self.dirty = False
        self._released = False
        self._lock = threading.Lock()

    @property
    def released(self) -> bool:
        """Whether its waiting tasks are somebody else's by now."""
        return self._released

    def release(self) -> None:
        """Nothing of it starts any more; `started` of its deliveries is final on return."""
        with self._lock:
            self._released = True

    def start(self, delivery: Delivery) -> bool:
        """Whether the delivery may be started here; from then on it counts as started."""
        with self._lock:
            delivery.started = not self._released
            return delivery.started


class Delivery:
    """One task as it was delivered. `size_bytes` counts towards what a worker holds at once.

    `started` is set under its partition's lock; `done` and changes of `partition` are the polling thread's."""

    __slots__ = ("consumer", "done", "offset", "partition", "size_bytes", "started", "task")

    def __init__(
        self, consumer: Settled, partition: Partition, offset: int, size_bytes: int, task: ActivityTask
    ) -> None:
        self.consumer = consumer
        self.partition = partition
        self.offset = offset
        self.size_bytes = size_bytes
        self.task = task
        self.started = self.done = False
