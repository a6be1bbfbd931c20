"""Bench for the tests of workers: a log with its topics, tasks to run, and access to results and commits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from penstock.schemas.encoding.codec import decode, encode
from penstock.schemas.records.tasks import ActivityTask, AttemptsCancelled, Result, TaskCompleted
from penstock.topics.catalogue import Topics
from penstock.topics.log import CommittedOffset, Log, Record, StoredRecord, TopicPartition, TopicSpec
from penstock.workers.activity.decorator import AnyActivity
from penstock.workers.intake.progress import Progress
from penstock.workers.worker import Worker

SHARDS = 2
TASK_PARTITIONS = 2


def until(condition: Callable[[], Any], what: str, timeout_s: float = 20.0) -> Any:
    """Return the condition's first true value; fail after `timeout_s`, naming `what`."""
    deadline_s = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline_s, f"waited {timeout_s:g} s for {what}"
        time.sleep(0.01)
    return value


class Bench:
    """A log with the topics that workers need, in its own namespace."""

    def __init__(self, log: SpyLog, namespace: str = "default", queues: Sequence[str] = ("default",)) -> None:
        self.log = log
        self.topics = Topics(namespace)
        self.workers: list[Worker] = []
        log.create(
            [
                TopicSpec(self.topics.results, SHARDS, {}),
                TopicSpec(self.topics.dead_letters, 1, {}),
                TopicSpec(self.topics.cancellations, SHARDS, {}),
                *(TopicSpec(self.topics.tasks(queue), TASK_PARTITIONS, {}) for queue in queues),
            ]
        )
        self._publisher = log.publisher()
        self._sequence = 0
        self._readers: dict[str, Any] = {}
        self._read: dict[str, list[StoredRecord]] = {}

    def worker(self, *definitions: AnyActivity, **options: Any) -> Worker:
        """Start a worker; `close` stops it."""
        worker = Worker(self.log, self.topics, {definition.name: definition for definition in definitions}, **options)
        worker.start()
        self.workers.append(worker)
        return worker

    def task(self, definition: AnyActivity, *args: Any, **fields: Any) -> ActivityTask:
        """Make a task for the activity, with its own sequence."""
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

    def cancel(self, task: ActivityTask, **fields: Any) -> None:
        """Say that no run waits for an attempt any more."""
        given = {"sequence": task.sequence, "attempt": task.attempt, **fields}
        cancelled = AttemptsCancelled(workflow_id=task.workflow_id, run_id=task.run_id, **given)
        self._publisher.send(Record(self.topics.cancellations, task.shard, b"key", encode(cancelled)))
        self._publisher.flush(20)

    def read(self, topic: str, partitions: int = 1) -> list[StoredRecord]:
        """Return all records on the topic so far."""
        if topic not in self._readers:
            self._readers[topic] = self.log.reader({(topic, partition): 0 for partition in range(partitions)})
            self._read[topic] = []
        while records := self._readers[topic].read(1_000, 0):
            self._read[topic].extend(records)
        return self._read[topic]

    def results(self) -> list[Result]:
        """Return every result published so far."""
        return [decode(record.value or b"") for record in self.read(self.topics.results, SHARDS)]

    def values(self) -> list[bytes]:
        """Return the values of the results that are completions."""
        return [result.result for result in self.results() if isinstance(result, TaskCompleted)]

    def await_results(self, count: int) -> list[Result]:
        """Wait for `count` results and return all."""
        until(lambda: len(self.results()) >= count, f"{count} results")
        return self.results()

    def committed(self, partition: int = 0, queue: str = "default") -> Progress:
        """Return the progress that a new owner of the partition would read from the last commit."""
        commits = self.log.commits.get((self.topics.tasks(queue), partition))
        return Progress(commits[-1].offset, commits[-1].metadata) if commits else Progress(0)

    def close(self) -> None:
        """Stop the workers and close the log."""
        for worker in self.workers:
            worker.stop()
        self._publisher.close()
        self.log.close()


class SpyLog:
    """A log that records its members' commits, and whose commits and sends can be made to fail."""

    def __init__(self, log: Log, on_commit: Callable[[TopicPartition, CommittedOffset], None] | None = None) -> None:
        self._log = log
        self.on_commit = on_commit
        self.commits: dict[TopicPartition, list[CommittedOffset]] = {}
        self.commit_errors: list[Exception] = []
        self.send_errors: list[Exception] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def join(self, group: str, topics: Sequence[str], listener: Any) -> Any:
        return _SpyMember(self, self._log.join(group, topics, listener))

    def publisher(self) -> Any:
        return _SpyPublisher(self, self._log.publisher())


class _SpyMember:
    def __init__(self, spy: SpyLog, member: Any) -> None:
        self._spy, self._member = spy, member

    def __getattr__(self, name: str) -> Any:
        return getattr(self._member, name)

    def commit(self, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
        if self._spy.commit_errors:
            raise self._spy.commit_errors.pop()
        self._member.commit(offsets)
        for at, offset in offsets.items():
            self._spy.commits.setdefault(at, []).append(offset)
            if self._spy.on_commit is not None:
                self._spy.on_commit(at, offset)


class _SpyPublisher:
    def __init__(self, spy: SpyLog, publisher: Any) -> None:
        self._spy, self._publisher = spy, publisher

    def __getattr__(self, name: str) -> Any:
        return getattr(self._publisher, name)

    def send(self, record: Record, on_done: Callable[[Exception | None], None] | None = None) -> None:
        if self._spy.send_errors and on_done is not None:
            on_done(self._spy.send_errors.pop())
        else:
            self._publisher.send(record, on_done)
