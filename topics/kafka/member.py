"""How does a process take part in a consumer group?

Eager rebalancing: each change takes everything away and hands out anew. What is granted is not assigned to the
consumer before `start` names an offset, and every `start` assigns all started partitions again at their positions.
So nothing is ever delivered from an offset that nobody named, and librdkafka drops what it fetched before.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition

from penstock.schemas.errors import Fenced, LogError, LogUnavailable
from penstock.topics.kafka import faults, reading
from penstock.topics.kafka.bounded import Bounded
from penstock.topics.kafka.faults import Watch
from penstock.topics.log import CommittedOffset, Listener, StoredRecord, TopicPartition

_GENERATION = struct.Struct("=i")
# librdkafka hands out group metadata as bytes: "CGMDv2:", the generation in native order, then the names.
_GENERATION_AT = len(b"CGMDv2:")
COMMIT_TIMEOUT_S = 15.0
CLOSE_TIMEOUT_S = 10.0


class KafkaMember:
    """One member of a group. Used by one thread; `group_metadata` may be called from another."""

    def __init__(
        self, open_consumer: Callable[[Watch], Consumer], topics: Sequence[str], listener: Listener, bootstrap: str
    ) -> None:
        self._bootstrap = bootstrap
        self._listener = listener
        self._watch = Watch(bootstrap)
        self._held: set[TopicPartition] = set()
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        # Grows whenever the assignment changes; what was taken from the queue before is then void.
        self._assignments = 0
        self._failure: LogError | None = None
        self._metadata: Any = None
        self._closed = False
        self._bounded = Bounded("penstock-kafka-member")
        self._consumer = open_consumer(self._watch)
        self._consumer.subscribe(
            list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def poll(self, records_max: int, timeout_s: float) -> list[StoredRecord]:
        """Up to so many committed records. Calls the listener. Raises OffsetOutOfRange.

        A broker that is away is no error here: it is waited for, and nothing comes meanwhile."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        records, others = reading.split(self._fetch(records_max, timeout_s))
        self._metadata = self._consumer.consumer_group_metadata()
        positions = self._positions
        for record in records:
            positions[record.topic, record.partition] = record.offset + 1
        if records:
            self._watch.note_answer()
        if others:
            # What came before the error is delivered first; the error is raised by the next poll.
            self._failure = reading.first_failure(others, self._bootstrap)
        return records

    def start(self, positions: Mapping[TopicPartition, int]) -> None:
        """Deliver these granted partitions from these offsets on, the first time or again. Raises Fenced."""
        self._require(positions)
        self._positions.update(positions)
        self._assign()

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Deliver nothing from these for now."""
        self._paused.update(self._held.intersection(partitions))
        self._consumer.pause(_named(self._paused))

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Go on where `pause` stopped."""
        self._paused.difference_update(partitions)
        self._consumer.resume(_named(self._held.intersection(partitions)))

    def committed(
        self, partitions: Sequence[TopicPartition], timeout_s: float
    ) -> Mapping[TopicPartition, CommittedOffset]:
        """The group's offsets; under read_committed the broker waits for those of open transactions (KIP-447)."""
        try:
            found = self._consumer.committed(_named(partitions), timeout=timeout_s)
        except KafkaException as error:
            raise self._plain(error, "committed offsets cannot be read") from error
        for entry in found:
            if entry.error is not None:
                raise faults.plain_failure(entry.error, self._bootstrap, f"{entry.topic}[{entry.partition}]")
        return {
            (entry.topic, entry.partition): CommittedOffset(entry.offset, entry.metadata or "")
            for entry in found
            if entry.offset >= 0
        }

    def commit(self, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
        """Commit outside of any transaction. Raises Fenced, LogUnavailable (after 15 s)."""
        self._require(offsets)
        entries = [
            KafkaPartition(topic, number, committed.offset, committed.metadata)
            for (topic, number), committed in offsets.items()
        ]
        try:
            done = self._bounded.call(
                lambda: self._consumer.commit(offsets=entries, asynchronous=False), COMMIT_TIMEOUT_S, "a commit"
            )
        except KafkaException as error:
            raise self._plain(error, "offsets were not committed") from error
        for entry in done:
            if entry.error is not None:
                raise faults.plain_failure(entry.error, self._bootstrap, "offsets were not committed")
        self._watch.note_answer()

    def close(self) -> None:
        """Leave the group at once, calling `released` first."""
        if self._closed:
            return
        self._release(lost=False)
        self._closed = True
        try:
            self._bounded.call(self._consumer.close, CLOSE_TIMEOUT_S, "leaving the group")
        except LogUnavailable as error:
            faults.logger.warning("a member was left behind: %s", error)
        self._bounded.end()

    def group_metadata(self, partitions: Iterable[TopicPartition]) -> Any:
        """What fences a transaction's offsets (KIP-447), as of the last poll. Raises Fenced.

        Only a poll lets a rebalance through, so that nothing fresher is to be had; a generation that has become old
        meanwhile is refused by the broker. It is not asked for here, since the client library makes a call from
        another thread wait for as long as polls follow each other closely (measured: for ever).
        The broker does not fence metadata without a generation (it takes them for an old client's), and librdkafka
        forgets its generation before the listener hears of the loss: so both are looked at here."""
        self._require(partitions)
        metadata = self._metadata
        if metadata is None or _generation(metadata) < 0:
            raise Fenced("the member has lost its place in the group")
        return metadata

    def _fetch(self, records_max: int, timeout_s: float) -> list[Message]:
        first = self._consumer.poll(timeout_s)
        if first is None:
            return []
        if records_max <= 1:
            return [first]
        assignments = self._assignments
        rest = self._consumer.consume(records_max - 1, 0)
        if self._assignments == assignments:
            return [first, *rest]
        # A rebalance came in between: what was taken before it may belong to somebody else now, and what was taken
        # after it cannot be told apart. None of it is delivered; the positions say where to fetch again.
        self._assign()
        return []

    def _assign(self) -> None:
        self._assignments += 1
        self._consumer.assign(reading.kafka_partitions(self._positions))
        paused = self._paused & self._positions.keys()
        if paused:
            self._consumer.pause(_named(paused))
        # librdkafka may remember a pause from an earlier assignment of the same partition.
        if self._positions.keys() - paused:
            self._consumer.resume(_named(self._positions.keys() - paused))

    def _on_assign(self, _consumer: Consumer, partitions: list[KafkaPartition]) -> None:
        self._release(lost=True)  # only if librdkafka joined anew without asking for them back
        self._assign()
        granted = [(entry.topic, entry.partition) for entry in partitions]
        self._held.update(granted)
        if granted:
            self._listener.granted(sorted(granted))

    def _on_revoke(self, consumer: Consumer, _partitions: list[KafkaPartition]) -> None:
        # A call to assign() clears librdkafka's mark for lost partitions; a missing generation still shows it.
        try:
            self._release(lost=not self._closed and _generation(consumer.consumer_group_metadata()) < 0)
        finally:
            consumer.unassign()

    def _on_lost(self, consumer: Consumer, _partitions: list[KafkaPartition]) -> None:
        try:
            self._release(lost=True)
        finally:
            consumer.unassign()

    def _release(self, *, lost: bool) -> None:
        """Tell the listener, which may still commit in that call, and forget what was held."""
        self._assignments += 1
        released = sorted(self._held)
        try:
            if released:
                self._listener.released(released, lost=lost)
        finally:
            self._held.clear()
            self._positions.clear()
            self._paused.clear()

    def _require(self, partitions: Iterable[TopicPartition]) -> None:
        missing = sorted(set(partitions) - self._held)
        if missing:
            topic, number = missing[0]
            raise Fenced(f"{topic}[{number}] is not this member's")

    def _plain(self, raised: KafkaException, doing: str) -> LogError:
        return faults.plain_failure(faults.error_of(raised), self._bootstrap, doing)


def _generation(metadata: Any) -> int:
    (generation,) = _GENERATION.unpack_from(metadata, _GENERATION_AT)
    return int(generation)


def _named(partitions: Iterable[TopicPartition]) -> list[KafkaPartition]:
    return [KafkaPartition(topic, number) for topic, number in partitions]
