"""What passes between the thread that polls and the loop that runs? Deliveries: tasks with where they lay."""

from __future__ import annotations

from typing import Protocol

from penstock.schemas.tasks import ActivityTask
from penstock.topics.log import TopicPartition
from penstock.workers.progress import Progress


class Settled(Protocol):
    """Somebody who wants to know that a delivery is done."""

    def settled(self, delivery: Delivery) -> None:
        """The delivery's result is acknowledged by the log. Called from any thread."""
        ...


class Partition:
    """A partition while this worker has it: a new object each time it is granted.

    `progress`, `dirty` (there is something to commit) and `held_bytes` belong to the polling thread; `released` is set
    by it and read by the loop.
    """

    __slots__ = ("dirty", "held_bytes", "progress", "released", "topic_partition")

    def __init__(self, topic_partition: TopicPartition, progress: Progress) -> None:
        self.topic_partition = topic_partition
        self.progress = progress
        self.dirty = False
        self.held_bytes = 0
        self.released = False


class Delivery:
    """One task as it was delivered. `size_bytes` counts towards what a worker holds at once."""

    __slots__ = ("consumer", "offset", "partition", "size_bytes", "task")

    def __init__(
        self, consumer: Settled, partition: Partition, offset: int, size_bytes: int, task: ActivityTask
    ) -> None:
        self.consumer = consumer
        self.partition = partition
        self.offset = offset
        self.size_bytes = size_bytes
        self.task = task
