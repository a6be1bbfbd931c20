"""Started tasks of released partitions, retained in case their partition is granted again.

Kafka revokes all partitions at each rebalance and grants most of them to the same member again. A task that went on
running meanwhile need not be run a second time.
"""

from __future__ import annotations

from collections.abc import Mapping

from penstock.topics.log import TopicPartition
from penstock.workers.intake.partition import HeldTask, Partition


class RetainedTasks:
    """Retained tasks by partition and offset. Used by one thread."""

    def __init__(self) -> None:
        self._tasks: dict[TopicPartition, dict[int, HeldTask]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._tasks.values()))

    def retain(self, partition: Partition) -> None:
        """Add the started tasks of a partition that is being released."""
        started = {offset: held for offset, held in partition.held.items() if held.started}
        self._tasks.setdefault(partition.topic_partition, {}).update(started)

    def take(self, partition: TopicPartition, offset: int) -> HeldTask | None:
        """Remove and return the task at `offset`, None if it was not retained."""
        tasks = self._tasks.get(partition)
        return tasks.pop(offset, None) if tasks else None

    def prune(self, partitions: Mapping[TopicPartition, Partition]) -> None:
        """Remove tasks that will not be taken: those below the next offset of a partition that was granted again, and
        those of other partitions that are done."""
        for topic_partition, tasks in list(self._tasks.items()):
            partition = partitions.get(topic_partition)
            if partition is not None:
                next_offset = partition.progress.next_offset
                kept = {offset: held for offset, held in tasks.items() if offset >= next_offset}
            else:
                kept = {offset: held for offset, held in tasks.items() if not held.done}
            self._tasks[topic_partition] = kept
            if not kept:
                del self._tasks[topic_partition]
