"""Granted partitions and the tasks held from them, shared by the polling thread and the event loop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType

from penstock.schemas.records.tasks import ActivityTask
from penstock.topics.log import TopicPartition
from penstock.workers.intake.claims import Claim
from penstock.workers.intake.progress import Progress


class Partition:
    """One grant of a partition; each grant is a new object.

    The polling thread owns `progress`, `claimed` (claims of earlier owners, by offset), `held` (tasks delivered and
    not done, by offset) and `dirty` (whether there is something to commit).
    """

    __slots__ = ("_lock", "_released", "claimed", "dirty", "held", "progress", "topic_partition")

    def __init__(
        self, topic_partition: TopicPartition, progress: Progress, claimed: Mapping[int, Claim] = MappingProxyType({})
    ) -> None:
        self.topic_partition = topic_partition
        self.progress = progress
        self.claimed = dict(claimed)
        self.held: dict[int, HeldTask] = {}
        self.dirty = False
        self._released = False
        self._lock = threading.Lock()

    @property
    def released(self) -> bool:
        """Whether the partition was released."""
        return self._released

    def release(self) -> None:
        """Refuse further starts. On return, `started` of each held task is final."""
        with self._lock:
            self._released = True

    def start(self, held: HeldTask) -> bool:
        """Mark the task as started. Returns False if the partition was released."""
        with self._lock:
            held.started = not self._released
            return held.started


class HeldTask:
    """A task from its delivery until its result is acknowledged. `size_bytes`: the size of its record.

    `started` is set under the partition's lock. The polling thread owns `done` and changes of `partition`.
    """

    __slots__ = ("_on_acknowledged", "done", "offset", "partition", "size_bytes", "started", "task")

    def __init__(
        self,
        partition: Partition,
        offset: int,
        size_bytes: int,
        task: ActivityTask,
        on_acknowledged: Callable[[HeldTask], None],
    ) -> None:
        self.partition = partition
        self.offset = offset
        self.size_bytes = size_bytes
        self.task = task
        self.started = self.done = False
        self._on_acknowledged = on_acknowledged

    @property
    def released(self) -> bool:
        """Whether another worker owns the task's partition by now."""
        return self.partition.released

    def start(self) -> bool:
        """Mark the task as started. Returns False if its partition was released."""
        return self.partition.start(self)

    def acknowledged(self) -> None:
        """Record that the log has acknowledged the task's result. Called from any thread."""
        self._on_acknowledged(self)
