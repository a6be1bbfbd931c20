"""What do the tests of workers share? A log with its topics, tasks in it, and a look at results and commits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from penstock.schemas.codec import decode, encode
from penstock.schemas.tasks import ActivityTask, Result, TaskCompleted
from penstock.topics.catalogue import Topics
from penstock.topics.log import CommittedOffset, Log, Record, StoredRecord, TopicPartition, TopicSpec
from penstock.workers.activity import AnyActivity
from penstock.workers.worker import Worker

SHARDS = 2
TASK_PARTITIONS = 2


def until(condition: Callable[[], Any], what: str, timeout_s: float = 20.0) -> Any:
    """The condition's first true value; fails, saying what was waited for, after `timeout_s`."""
    deadline_s = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline_s, f"waited {timeout_s:g} s in vain for {what}"
        time.sleep(0.01)
    return value


class Bench:
    """A log with the topics that workers need, in a namespace of its own."""

    def __init__(self, log: Log, namespace: str = "default", queues: Sequence[str] = ("default",)) -> None:
        self.log = log
        self.topics = Topics(namespace)
        self.workers: list[Worker] = []
        log.create(
            [
                TopicSpec(self.topics.results, SHARDS, {}),
                TopicSpec(self.topics.dead_letters, 1, {}),
                *(TopicSpec(self.topics.tasks(queue), TASK_PARTITIONS, {}) for queue in queues),
            ]
        )
        self._publisher = log.publisher()
        self._sequence = 0
        self._readers: dict[str, Any] = {}
        self._read: dict[str, list[StoredRecord]] = {}

    def worker(self, *definitions: AnyActivity, **options: Any) -> Worker:
        """A started worker; `close` stops it."""
        worker = Worker(self.log, self.topics, {definition.name: definition for definition in definitions}, **options)
        worker.start()
        self.workers.append(worker)
        return worker

    def task(self, definition: AnyActivity, *args: Any, **fields: Any) -> ActivityTask:
        """A task for the activity, with a sequence of its own."""
        self._sequence += 1
        given = {
            "workflow_id": f"order-{self._sequence}",
            "run_id": f"run-{self._sequence}",
            "sequence": self._sequence,
            "attempt": 1,
            "activity": definition.name,
            "input": definition.signature.bind(args, {}),
            "queue": "default",
            "shard": self._sequence % SHARDS,
        }
        return ActivityTask(**{**given, **fields})

    def put(self, *tasks: ActivityTask | bytes, partition: int = 0, queue: str = "default") -> None:
        """Write tasks (or raw bytes) to a partition of the queue."""
        topic = self.topics.tasks(queue)
        for task in tasks:
            value = task if isinstance(task, bytes) else encode(task)
            self._publisher.send(Record(topic, partition, b"key", value))
        self._publisher.flush(20)

    def read(self, topic: str, partitions: int = 1) -> list[StoredRecord]:
        """Everything on the topic so far."""
        if topic not in self._readers:
            self._readers[topic] = self.log.reader({(topic, partition): 0 for partition in range(partitions)})
            self._read[topic] = []
        while records := self._readers[topic].read(1_000, 0):
            self._read[topic].extend(records)
        return self._read[topic]

    def results(self) -> list[Result]:
        """Every result published so far."""
        return [decode(record.value or b"") for record in self.read(self.topics.results, SHARDS)]

    def values(self) -> list[bytes]:
        """The values of the results that are completions."""
        return [result.result for result in self.results() if isinstance(result, TaskCompleted)]

    def await_results(self, count: int) -> list[Result]:
        """The results, once there are `count`."""
        until(lambda: len(self.results()) >= count, f"{count} results")
        return self.results()

    def committed(self, group: str, partition: int = 0, queue: str = "default") -> CommittedOffset | None:
        """What the group's members committed for a partition of the queue."""
        at: TopicPartition = (self.topics.tasks(queue), partition)
        member = self.log.join(f"{group}.observer", [at[0]], _Nobody())
        try:
            member.group = group  # type: ignore[attr-defined]
            return member.committed([at], 5).get(at)
        finally:
            member.group = f"{group}.observer"  # type: ignore[attr-defined]
            member.close()

    def close(self) -> None:
        """Stop what is still running."""
        for worker in self.workers:
            worker.stop()
        self._publisher.close()
        self.log.close()


class _Nobody:
    def granted(self, partitions: Sequence[TopicPartition]) -> None: ...

    def released(self, partitions: Sequence[TopicPartition], *, lost: bool) -> None: ...
