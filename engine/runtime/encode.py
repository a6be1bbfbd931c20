"""Which records does a decision become? Encoded once, with topic, partition and key; those that cannot be, told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from penstock.engine.core.decision import Decision, Rejection
from penstock.engine.core.effects import Effects
from penstock.engine.core.working import WorkingRun
from penstock.schemas.encoding.codec import encode
from penstock.schemas.records import events as e
from penstock.schemas.records.dead_letters import DeadLetter
from penstock.schemas.records.decisions import DecisionRecorded, Trigger
from penstock.topics.catalogue import RECORD_BYTES_MAX, Topics, task_partitions_of, what_makes
from penstock.topics.log import Record, StoredRecord
from penstock.topics.partitioner import partition_of

DECISION_BYTES_MAX = 512_000
TASKS_TOGETHER = 32
FEW_EVENTS = 16
DEAD_VALUE_BYTES_MAX = RECORD_BYTES_MAX - 16_384

TopicPartitions = Callable[[str], int | None]
"""How many partitions a topic has; None: there is no such topic."""


class TaskRouter:
    """Which partition does the next task of a queue go to? Few in one transaction, all of them in turn.

    A process writes only partitions that are congruent to its shards, so that its open transaction keeps nobody
    else's tasks back; about 32 tasks share a partition, so that a fan-out reaches many workers."""

    def __init__(self, shards: int, partitions: TopicPartitions) -> None:
        self._shards, self._partitions = shards, partitions
        self._own: list[int] = []
        self._turn = 0
        self._counts: dict[str, int] = {}
        self._choices: dict[str, list[int]] = {}

    def own(self, shards: Sequence[int]) -> None:
        """The shards of this process, after each change."""
        self._own = sorted(shards)
        self._choices.clear()

    def next_transaction(self) -> None:
        """Begin again with the next partition in turn."""
        self._turn += 1
        self._counts.clear()

    def partition(self, topic: str) -> int:
        """Where the next task of this transaction goes; the topic exists."""
        choices = self._choices.get(topic)
        if choices is None:
            count = self._partitions(topic) or 1
            choices = [p for shard in self._own or [0] for p in task_partitions_of(shard, self._shards, count)]
            self._choices[topic] = choices = sorted(set(choices)) or [0]
        count = self._counts.get(topic, 0)
        self._counts[topic] = count + 1
        return choices[(self._turn + count // TASKS_TOGETHER) % len(choices)]


class Outputs:
    """Encodes what one shard says."""

    def __init__(
        self,
        shard: int,
        shards: int,
        topics: Topics,
        partitions: TopicPartitions,
        router: TaskRouter,
        *,
        alone: bool = False,
    ) -> None:
        """`alone`: no other program can reach the log, to make a topic or to host what is missing."""
        self.shard, self.shards, self.topics, self._alone = shard, shards, topics, alone
        self.partitions, self._router = partitions, router
        self._task_topics: dict[str, str] = {}

    def task_topic(self, queue: str) -> str:
        """The topic of a task queue, its name made once."""
        topic = self._task_topics.get(queue)
        if topic is None:
            topic = self._task_topics[queue] = self.topics.tasks(queue)
        return topic

    def problem(self, found: Effects) -> e.WorkflowBlocked | None:
        """Why these effects cannot be sent at all: a task queue that has no topic."""
        for task in found.tasks:
            topic = self.task_topic(task.queue)
            if self.partitions(topic) is None:
                return e.WorkflowBlocked(reason="missing_topic", message=self._what_is_missing(task.queue, topic))
        return None

    def _what_is_missing(self, queue: str, topic: str) -> str:
        if self._alone:
            return (
                f"This engine hosts no activity of the task queue {queue!r}, and nobody else can on a log in memory; "
                "hand it the activities that the workflow calls as well."
            )
        return f"The task queue {queue!r} has no topic {topic}; run {what_makes(topic)}, and the run goes on by itself."

    def records(
        self,
        run: WorkingRun,
        decision: Decision,
        found: Effects,
        first: int,
        number: int,
        trigger: Trigger,
        now_ms: int,
    ) -> list[Record]:
        """All records of a decision. History rows go into the run's savepoint: the same bytes."""
        key = run.workflow_id.encode()
        made: list[Record] = []
        sequence = 0 if decision.unnumbered else first
        for events in _portions([encode(event) for event in decision.events]):
            data = encode(
                DecisionRecorded(
                    workflow_id=run.workflow_id,
                    run_id=run.run_id,
                    shard=self.shard,
                    decision=number,
                    now_ms=now_ms,
                    trigger=trigger,
                    first_sequence=sequence,
                    events=events,
                )
            )
            made.append(Record(self.topics.events, self.shard, key, data))
            if not decision.unnumbered:
                run.writes[run.key(b"H", sequence)] = data
                sequence += len(events)
        for task in found.tasks:
            topic = self.task_topic(task.queue)
            made.append(Record(topic, self._router.partition(topic), key, encode(task)))
        made += [self.command(command) for command in found.commands]
        for reply_to, reply in found.replies:
            made.extend(self.reply(reply_to, reply))
        if found.completion is not None:
            made.append(Record(self.topics.completions, self.shard, key, encode(found.completion)))
        return made

    def unnumbered(
        self, workflow_id: str, run_id: str, events: list[Any], number: int, trigger: Trigger, now_ms: int
    ) -> Record:
        """A decision that stands on `events` alone."""
        data = encode(
            DecisionRecorded(
                workflow_id=workflow_id,
                run_id=run_id,
                shard=self.shard,
                decision=number,
                now_ms=now_ms,
                trigger=trigger,
                first_sequence=0,
                events=tuple(encode(event) for event in events),
            )
        )
        return Record(self.topics.events, self.shard, workflow_id.encode(), data)

    def too_large(self, made: Sequence[Record]) -> e.WorkflowBlocked | None:
        """Why these records cannot be sent: one is beyond what a record may hold."""
        for record in made:
            if record.value is not None and (size := len(record.value)) > RECORD_BYTES_MAX:
                return e.WorkflowBlocked(
                    reason="too_large",
                    message=f"A record for {record.topic} would take {size:,} bytes of {RECORD_BYTES_MAX:,} at most; "
                    "hand over a reference to large data instead, and run `penstock retry` when the code is mended.",
                )
        return None

    def command(self, command: Any) -> Record:
        """A command for the shard of its workflow id."""
        workflow_id = command.workflow_id
        return Record(
            self.topics.commands, partition_of(workflow_id, self.shards), workflow_id.encode(), encode(command)
        )

    def reply(self, reply_to: int, reply: Any) -> list[Record]:
        """An answer, if its partition exists: a wrong one must not keep a transaction from committing."""
        count = self.partitions(self.topics.replies) or 0
        if not 0 <= reply_to < count:
            return []
        return [Record(self.topics.replies, reply_to, reply.message_id.encode(), encode(reply))]

    def dead_letter(self, record: StoredRecord, rejection: Rejection, now_ms: int) -> Record:
        """A record that nobody can use, as it was found."""
        value, message = record.value or b"", rejection.message[:4_000]
        if len(value) > DEAD_VALUE_BYTES_MAX:
            message += f" (Only its first {DEAD_VALUE_BYTES_MAX:,} of {len(value):,} bytes are kept here.)"
            value = value[:DEAD_VALUE_BYTES_MAX]
        letter = DeadLetter(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            key=(record.key or b"")[:4096],
            value=value,
            reason=rejection.reason,
            message=message,
            at_ms=now_ms,
        )
        partitions = self.partitions(self.topics.dead_letters) or 1
        return Record(self.topics.dead_letters, self.shard % partitions, record.key, encode(letter))


def _portions(events: list[bytes]) -> list[tuple[bytes, ...]]:
    """A decision's events in records of a bounded size."""
    if len(events) < FEW_EVENTS and sum(map(len, events)) <= DECISION_BYTES_MAX:
        return [tuple(events)]
    portions: list[tuple[bytes, ...]] = []
    portion: list[bytes] = []
    size = 0
    for data in events:
        if portion and size + len(data) > DECISION_BYTES_MAX:
            portions.append(tuple(portion))
            portion, size = [], 0
        portion.append(data)
        size += len(data)
    return [*portions, tuple(portion)]
