"""Tasks of released partitions, retained in case their partition is granted again: started ones, and finished ones.

Kafka revokes all partitions at each rebalance and grants most of them to the same member again. A task that went on
running meanwhile need not be run a second time. If a partition was lost, or its last commit failed, the log does not
know the tasks that finished since the commit before: only this worker does.
"""

from __future__ import annotations

from collections.abc import Mapping

from penstock.topics.log import TopicPartition
from penstock.workers.intake.partition import HeldTask, Partition
from penstock.workers.intake.progress import Range


class RetainedTasks:
    """Retained tasks by partition and offset. Used by one thread."""

    def __init__(self) -> None:
        self._tasks: dict[TopicPartition, dict[int, HeldTask]] = {}
        self._finished: dict[TopicPartition, tuple[int, list[Range]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._tasks.values()))

    def retain(self, partition: Partition) -> None:
        """Add the started tasks of a partition that is being released, and the finished ones that no commit names."""
        if partition.dirty:
            progress = partition.progress
            ranges = [(0, progress.watermark), *progress.done()]
            self._finished[partition.topic_partition] = (progress.watermark, ranges)
        started = {offset: held for offset, held in partition.held.items() if held.started}
        self._tasks.setdefault(partition.topic_partition, {}).update(started)

    def take(self, partition: TopicPartition, offset: int) -> HeldTask | None:
        """Remove and return the task at `offset`, None if it was not retained."""
        tasks = self._tasks.get(partition)
        return tasks.pop(offset, None) if tasks else None

    def restore(self, partition: Partition, end: int) -> None:
        """Count the finished tasks of a partition that was granted again as finished. `end`: its next offset; one below
        what this worker has read belongs to another topic of the same name."""
        watermark, ranges = self._finished.get(partition.topic_partition, (0, []))
        if ranges and watermark <= end:
            partition.progress.skip(ranges)
            partition.dirty = True

    def prune(self, partitions: Mapping[TopicPartition, Partition]) -> None:
        """Remove tasks that will not be taken: those below the next offset of a partition that was granted again, and
        those of other partitions that are done."""
        self._finished = {at: finished for at, finished in self._finished.items() if at not in partitions}
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
