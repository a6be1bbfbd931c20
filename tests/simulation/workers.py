"""Simulated workers: they run each task at least once, some twice, late or out of order."""

from __future__ import annotations

from random import Random

from penstock.schemas.encoding.codec import decode, encode
from penstock.schemas.failure import Failure
from penstock.schemas.records.tasks import ActivityTask
from penstock.topics.catalogue import Topics
from penstock.topics.log import Record
from tests.simulation.broker import Broker, Partition
from tests.simulation.story import Story, Violation
from tests.simulation.workflows import perform

LATE_SHARE, TWICE_SHARE, AGAIN_SHARE = 0.15, 0.1, 0.1


class Workers:
    """All workers of all queues together. A task in `waiting` was delivered and not finished yet."""

    def __init__(self, broker: Broker, topics: Topics, random: Random, story: Story) -> None:
        self._broker, self._topics, self._random, self._story = broker, topics, random, story
        self._positions: dict[tuple[str, int], int] = {}
        self._waiting: list[ActivityTask] = []
        self._late: list[Record] = []
        self.executions = self._known = 0
        self._tasks: list[tuple[tuple[str, int], Partition]] = []

    def fetch(self) -> None:
        """Read the tasks that are visible."""
        if len(self._broker.partitions) != self._known:
            self._known = len(self._broker.partitions)
            self._tasks = [
                (where, partition)
                for where, partition in self._broker.partitions.items()
                if self._topics.queue_of(where[0]) is not None
            ]
        for where, partition in self._tasks:
            if self._positions.get(where, 0) == len(partition.entries):
                continue
            records, self._positions[where] = partition.committed(self._positions.get(where, 0), 1_000)
            for record in records:
                task = decode(record.value or b"")
                if not isinstance(task, ActivityTask):
                    raise Violation("T (transaction)", f"{record} is not a task")
                self._waiting.append(task)

    def work(self) -> bool:
        """Finish one task, or deliver one late result; returns whether there was one."""
        chance = self._random
        self.fetch()
        if self._late and (not self._waiting or chance.random() < LATE_SHARE):
            record = self._late.pop(chance.randrange(len(self._late)))
            self._broker.append(record)
            self._story.tell("worker", f"a late result reaches results[{record.partition}]")
            return True
        if not self._waiting:
            return False
        index = chance.randrange(min(len(self._waiting), 8))
        task = self._waiting[index]
        if chance.random() >= AGAIN_SHARE:  # otherwise it is delivered again, as after a worker's death
            del self._waiting[index]
        self._run(task)
        return True

    def _run(self, task: ActivityTask) -> None:
        chance = self._random
        self.executions += 1
        outcome = perform(task, self.executions)
        worker = f"w{self.executions}"
        result = task.failed(outcome, worker) if isinstance(outcome, Failure) else task.completed(outcome, worker)
        record = Record(self._topics.results, task.shard, task.workflow_id.encode(), encode(result))
        words = f"{task.activity} of {task.workflow_id}, request {task.sequence}, attempt {task.attempt}"
        for _ in range(1 + (chance.random() < TWICE_SHARE)):
            if chance.random() < LATE_SHARE:
                self._late.append(record)
                self._story.tell("worker", f"ran {words}; its result is delayed")
            else:
                stored = self._broker.append(record)
                self._story.tell("worker", f"ran {words} → results[{task.shard}]@{stored.offset}")
