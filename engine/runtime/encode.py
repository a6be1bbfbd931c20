"""Encoding of what a shard decides: each record once, with its topic, partition and key."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from penstock.engine.core.limits import KEPT_MS
from penstock.engine.core.machine import Effects
from penstock.engine.core.rows import KeptRow
from penstock.engine.runtime.router import TaskRouter, TopicPartitions
from penstock.schemas.encoding.codec import encode
from penstock.schemas.records.decisions import DecisionRecorded, Listening, Trigger
from penstock.schemas.records.external import RecordPublished
from penstock.schemas.records.kinds import Command, Event
from penstock.schemas.records.run import WorkflowBlocked
from penstock.schemas.records.tasks import AttemptsCancelled
from penstock.topics.catalogue import RECORD_BYTES_MAX, Topics, creation_advice
from penstock.topics.dead_letters import dead_letter
from penstock.topics.log import Record, StoredRecord
from penstock.topics.partitioner import partition_of

DECISION_BYTES_MAX = 512_000
FEW_EVENTS = 16

MISSING_TOPIC, REFUSED_TOPIC = "missing_topic", "refused_topic"
"""Reasons of runs that are BLOCKED until a topic exists, or accepts records."""

RESERVED_TOPIC = "reserved_topic"
"""Reason of a run that is BLOCKED since its code publishes to a topic of the namespace."""


class Encoder:
    """Records of one shard's decisions.

    `private_log`: no other program can reach the log, to create a topic or to host an activity. `refused`: topics that
    accept no records for now. `published`: partitions of a topic that workflow code publishes to."""

    def __init__(
        self,
        shard: int,
        shards: int,
        topics: Topics,
        partitions: TopicPartitions,
        router: TaskRouter,
        *,
        private_log: bool = False,
        refused: Collection[str] = (),
        published: TopicPartitions | None = None,
    ) -> None:
        self.shard, self.shards, self.topics, self.private_log = shard, shards, topics, private_log
        self.partitions, self._router, self._refused = partitions, router, refused
        self._published = published or partitions
        self._task_topics: dict[str, str] = {}

    def decision(
        self,
        workflow_id: str,
        run_id: str,
        events: Sequence[Event],
        first_sequence: int,
        number: int,
        now_ms: int,
        trigger: Trigger,
        listening: Listening | None = None,
        appended_ms: int = 0,
    ) -> list[tuple[int, Record]]:
        """A decision's records for `events`, each with the number of its first event (0 for unnumbered ones)."""
        key = workflow_id.encode()
        records: list[tuple[int, Record]] = []
        sequence = first_sequence
        for portion in _portions([encode(event) for event in events]):
            recorded = DecisionRecorded(
                workflow_id=workflow_id,
                run_id=run_id,
                shard=self.shard,
                decision=number,
                now_ms=now_ms,
                trigger=trigger,
                first_sequence=sequence,
                events=portion,
                listening=listening,
                appended_ms=appended_ms,
            )
            records.append((sequence, Record(self.topics.events, self.shard, key, encode(recorded))))
            if sequence:
                sequence += len(portion)
        return records

    def event(self, event: Event) -> Record:
        """An event alone: what its decision's record takes at least."""
        return Record(self.topics.events, self.shard, b"", encode(event))

    def effects(self, records: list[Record], workflow_id: str, found: Effects) -> WorkflowBlocked | None:
        """Add the records of everything that leaves the shard besides the decision itself.

        Returns the event for the run instead, if a task's queue has no topic, or code publishes to one that does not
        exist or is the namespace's, or a topic is refused."""
        key = workflow_id.encode()
        if found.commands:
            records.extend(map(self.command, found.commands))
        for task in found.tasks:
            topic = self.task_topic(task.queue)
            if self.partitions(topic) is None:
                return WorkflowBlocked(reason=MISSING_TOPIC, message=self._missing(task.queue, topic))
            records.append(Record(topic, self._router.partition(topic), key, encode(task)))
        for event in found.published:
            problem = self._publish(records, key, event)
            if problem is not None:
                return problem
        if self._refused:
            refused = next((record.topic for record in records if record.topic in self._refused), None)
            if refused is not None:
                return WorkflowBlocked(reason=REFUSED_TOPIC, message=_refused(refused))
        for reply_to, reply in found.replies:
            records += self.reply(reply_to, reply)
        for completion in found.completions:
            records.append(Record(self.topics.completions, self.shard, key, encode(completion)))
        for row in found.given_up:
            records.append(self._given_up(workflow_id, row))
        if found.cancelled:
            records += self._cancellations(found.cancelled)
        return None

    def _cancellations(self, cancelled: Sequence[AttemptsCancelled]) -> list[Record]:
        """Records for the workers of attempts that no run waits for; none if their topic does not take them.

        Such an attempt runs to its end, as before the topic existed: no reason to keep a run waiting."""
        topic = self.topics.cancellations
        if self.partitions(topic) is None or topic in self._refused:
            return []
        return [Record(topic, self.shard, one.workflow_id.encode(), encode(one)) for one in cancelled]

    def _publish(self, records: list[Record], key: bytes, event: RecordPublished) -> WorkflowBlocked | None:
        """Add the record of a publication. `key`: chooses the partition of one without a key."""
        topic = event.topic
        if self.topics.has(topic):
            return WorkflowBlocked(reason=RESERVED_TOPIC, message=_reserved(topic))
        count = self._published(topic)
        if count is None:
            return WorkflowBlocked(reason=MISSING_TOPIC, message=_unknown(topic))
        own = None if event.key is None else event.key.encode()
        value = None if event.deletes else event.value
        records.append(Record(topic, partition_of(own or key, count), own, value))
        return None

    def _given_up(self, workflow_id: str, row: KeptRow) -> Record:
        """The dead letter of a command that came before its run and was kept."""
        record = StoredRecord(self.topics.commands, row.partition, row.offset, row.key or None, row.value)
        message = (
            f"No run with the id {workflow_id} was started in {KEPT_MS // 1000} s; start it, then replay this letter."
        )
        topic = self.topics.dead_letters
        partitions = self.partitions(topic) or 1
        return dead_letter(record, "not_found", message, row.until_ms, topic=topic, partitions=partitions)

    def command(self, command: Command) -> Record:
        """A command for the shard of its workflow id."""
        workflow_id = command.workflow_id
        return Record(
            self.topics.commands, partition_of(workflow_id, self.shards), workflow_id.encode(), encode(command)
        )

    def reply(self, reply_to: int, reply: Any) -> list[Record]:
        """A reply, if its topic takes it: one that is refused must not keep a transaction from committing."""
        count = self.partitions(self.topics.replies) or 0
        if not 0 <= reply_to < count or self.topics.replies in self._refused:
            return []
        return [Record(self.topics.replies, reply_to, reply.message_id.encode(), encode(reply))]

    def task_topic(self, queue: str) -> str:
        """Topic of a task queue, cached."""
        topic = self._task_topics.get(queue)
        if topic is None:
            topic = self._task_topics[queue] = self.topics.tasks(queue)
        return topic

    def _missing(self, queue: str, topic: str) -> str:
        if self.private_log:
            return (
                f"This engine hosts no activity of the task queue {queue!r}, and a log in memory has no other workers; "
                "pass the activities that the workflow calls as well."
            )
        return (
            f"The task queue {queue!r} has no topic {topic}; {creation_advice(topic)}, and the run goes on by itself."
        )

    def can_send(self, queue: str) -> bool:
        """Whether tasks of that queue have a topic that accepts them."""
        topic = self.task_topic(queue)
        return self.partitions(topic) is not None and topic not in self._refused

    def can_publish(self, topic: str) -> bool:
        """Whether workflow code may publish to the topic, and it accepts records."""
        return not self.topics.has(topic) and self._published(topic) is not None and topic not in self._refused

    def too_large(
        self, records: Sequence[Record], writes: Mapping[bytes, bytes | None] = MappingProxyType({})
    ) -> WorkflowBlocked | None:
        """The event for a run with a record, or a row, beyond the limit of the log; None if all fit.

        Rows become records of the changelog."""
        for record in records:
            if record.value is not None and len(record.value) > RECORD_BYTES_MAX:
                return _too_large(record.topic, len(record.value))
        largest = max(map(len, filter(None, writes.values())), default=0)
        return _too_large(self.topics.state_changelog, largest) if largest > RECORD_BYTES_MAX else None


def size_of(records: Sequence[Record], writes: Mapping[bytes, bytes | None]) -> int:
    """Bytes of the records and rows together."""
    size = sum(map(len, filter(None, writes.values())))
    for record in records:
        size += len(record.value or b"")
    return size


def _refused(topic: str) -> str:
    return (
        f"The topic {topic} accepts no records: see the processor's log for the broker's reason. "
        "The run goes on by itself as soon as it does."
    )


def _reserved(topic: str) -> str:
    return f"The topic {topic} belongs to the namespace; publish to a topic of your own, and run `penstock unblock`."


def _unknown(topic: str) -> str:
    return f"The topic {topic}, to which the code publishes, does not exist; create it, and the run goes on by itself."


def _too_large(topic: str, size: int) -> WorkflowBlocked:
    return WorkflowBlocked(
        reason="too_large",
        message=f"A record for {topic} would take {size:,} bytes, the limit is {RECORD_BYTES_MAX:,}; hand over a "
        "reference to large data instead, and run `penstock unblock` when the code is mended.",
    )


def _portions(events: list[bytes]) -> list[tuple[bytes, ...]]:
    """A decision's events in portions of a bounded size."""
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
