"""Simulated workers: they run each task at least once, some twice, late or out of order."""

from __future__ import annotations

import zlib
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
LOST_ONE_IN, BEATS_MAX = 6, 3


class Workers:
    """All workers of all queues together. A task in `waiting` was delivered and not finished yet."""

    def __init__(self, broker: Broker, topics: Topics, random: Random, story: Story) -> None:
        self._broker, self._topics, self._random, self._story = broker, topics, random, story
        self._positions: dict[tuple[str, int], int] = {}
        self._waiting: list[ActivityTask] = []
        self._late: list[Record] = []
        self._beats: dict[tuple[str, str, int, int], int] = {}  # reports of attempts that say that they go on
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
        if task.bounds is not None and self._goes_on(task):
            return True
        if chance.random() >= AGAIN_SHARE:  # otherwise it is delivered again, as after a worker's death
            del self._waiting[index]
        self._run(task)
        return True

    def _goes_on(self, task: ActivityTask) -> bool:
        """Report the start of an attempt, or a heartbeat; returns whether it goes on after that. Some are lost then.

        What an attempt does follows from its place, so that others meet the same chances as without it."""
        place = (task.workflow_id, task.run_id, task.sequence, task.attempt)
        fate = zlib.crc32(repr(place).encode())
        beats = self._beats.get(place, -1)
        self._beats[place] = beats + 1
        if beats >= fate % (BEATS_MAX + 1):
            return False
        report = task.started("w") if beats < 0 else task.heartbeat(b"%d" % (task.attempt * 10 + beats))
        self._broker.append(Record(self._topics.results, task.shard, task.workflow_id.encode(), encode(report)))
        self._story.tell("worker", f"{type(report).__name__} of {place}")
        if fate % LOST_ONE_IN == 0:
            self._waiting.remove(task)
            self._story.tell("worker", f"{place} is lost")
        return True

    def _run(self, task: ActivityTask) -> None:
        chance = self._random
        self.executions += 1
        outcome = perform(task, self.executions)
        worker = f"w{self.executions}"
        details = b'"left %d"' % task.attempt if task.bounds is not None else b""
        result = (
            task.failed(outcome, worker, details=details)
            if isinstance(outcome, Failure)
            else task.completed(outcome, worker)
        )
        record = Record(self._topics.results, task.shard, task.workflow_id.encode(), encode(result))
        words = f"{task.activity} of {task.workflow_id}, request {task.sequence}, attempt {task.attempt}"
        for _ in range(1 + (chance.random() < TWICE_SHARE)):
            if chance.random() < LATE_SHARE:
                self._late.append(record)
                self._story.tell("worker", f"ran {words}; its result is delayed")
            else:
                stored = self._broker.append(record)
                self._story.tell("worker", f"ran {words} → results[{task.shard}]@{stored.offset}")
