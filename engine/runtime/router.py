"""Choice of the partitions of task topics."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from penstock.topics.catalogue import task_partitions_of

TASKS_TOGETHER = 32

TopicPartitions = Callable[[str], int | None]
"""Number of partitions of a topic; None if it does not exist."""


class TaskRouter:
    """Partition of the next task of a queue: few in one transaction, all of them in turn.

    A process writes only partitions that are congruent to its shards, so that its open transaction delays no other
    process's tasks. About 32 tasks share a partition, so that a fan-out reaches many workers."""

    def __init__(self, shards: int, partitions: TopicPartitions) -> None:
        self._shards, self._partitions = shards, partitions
        self._own: list[int] = []
        self._turn = 0
        self._counts: dict[str, int] = {}
        self._choices: dict[str, list[int]] = {}

    def own(self, shards: Sequence[int]) -> None:
        """Set the shards of this process, after each change."""
        self._own = sorted(shards)
        self._choices.clear()

    def next_transaction(self) -> None:
        """Begin with the next partition in turn."""
        self._turn += 1
        self._counts.clear()

    def partition(self, topic: str) -> int:
        """Partition of the next task of this transaction. The topic exists."""
        choices = self._choices.get(topic)
        if choices is None:
            count = self._partitions(topic) or 1
            choices = [p for shard in self._own or [0] for p in task_partitions_of(shard, self._shards, count)]
            self._choices[topic] = choices = sorted(set(choices)) or [0]
        count = self._counts.get(topic, 0)
        self._counts[topic] = count + 1
        return choices[(self._turn + count // TASKS_TOGETHER) % len(choices)]
