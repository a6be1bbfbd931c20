"""How does a process take part in a consumer group?

Eager rebalancing: each change takes everything away and hands out anew. What is granted is not assigned to the
consumer before `start` names an offset, and every `start` assigns all started partitions again at their positions.
So nothing is ever delivered from an offset that nobody named, and librdkafka drops what it fetched before.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence

from confluent_kafka import Consumer, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition

from penstock.schemas.errors import Fenced, LogError, LogUnavailable
from penstock.topics.kafka import faults, reading
from penstock.topics.kafka.bounded import Bounded
from penstock.topics.kafka.faults import Watch
from penstock.topics.log import CommittedOffset, Listener, StoredRecord, TopicPartition

# librdkafka hands out group metadata as bytes: this, the generation in native order, then group and member id, each
# ended by NUL (rd_kafka_consumer_group_metadata_write).
_METADATA_HEAD = struct.Struct("=7si")
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
        self._metadata = b""
        # The assignment could not be told to the consumer because a commit was late.
        self._overdue = False
        self._in_listener = False
        self._closed = False
        self._bounded = Bounded("penstock-kafka-member")
        self._consumer = open_consumer(self._watch)
        self._consumer.subscribe(
            list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    @property
    def name(self) -> str:
        """Its member id, as of the last grant."""
        return _member_id(self._metadata) if self._metadata else ""

    def poll(self, records_max: int, timeout_s: float) -> list[StoredRecord]:
        """Up to so many committed records. Calls the listener. Raises OffsetOutOfRange.

        A broker that is away is no error here: it is waited for, and nothing comes meanwhile."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        if not self._bounded.is_free(timeout_s):
            return []
        if self._overdue:
            self._assign()
        records, others = reading.split(self._fetch(records_max, timeout_s))
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
        if self._is_reachable():
            self._consumer.pause(_named(self._paused))

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Go on where `pause` stopped."""
        self._paused.difference_update(partitions)
        if self._is_reachable():
            self._consumer.resume(_named(self._held.intersection(partitions)))

    def committed(
        self, partitions: Sequence[TopicPartition], timeout_s: float
    ) -> Mapping[TopicPartition, CommittedOffset]:
        """The group's offsets; under read_committed the broker waits for those of open transactions (KIP-447).

        Raises LogUnavailable."""
        if not self._bounded.is_free(timeout_s):
            raise LogUnavailable(f"committed offsets cannot be read: {faults.nobody_answers(self._bootstrap)}")
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
        """Commit outside of any transaction. Raises Fenced, LogUnavailable (after 15 s).

        Inside of the listener the call is made in the poll's own thread (another one would wait for the poll to end);
        there librdkafka alone decides how long it takes, but its coordinator has answered a moment ago."""
        self._require(offsets)
        entries = [
            KafkaPartition(topic, number, committed.offset, committed.metadata)
            for (topic, number), committed in offsets.items()
        ]

        def step() -> list[KafkaPartition]:
            return self._consumer.commit(offsets=entries, asynchronous=False)

        try:
            done = step() if self._in_listener else self._bounded.call(step, COMMIT_TIMEOUT_S)
        except TimeoutError:
            raise LogUnavailable(
                f"a commit took longer than {COMMIT_TIMEOUT_S:g} s: does the Kafka broker answer?"
            ) from None
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
        self._release(lost=False, in_poll=False)
        self._closed = True
        try:
            self._bounded.end(self._consumer.close, CLOSE_TIMEOUT_S)
        except TimeoutError:
            faults.logger.warning(
                "a member could not leave its group within %g s: its partitions stay idle for the session timeout",
                CLOSE_TIMEOUT_S,
            )

    def group_metadata(self, partitions: Iterable[TopicPartition]) -> bytes:
        """What fences a transaction's offsets (KIP-447), as of the last grant. Raises Fenced.

        A new generation always comes with a new grant, so that nothing fresher is to be had; one that has become old
        meanwhile is refused by the broker. The consumer is not asked here: the client library makes a call from
        another thread wait for as long as polls follow each other closely (measured: for ever), and once librdkafka
        has lost its membership, what it names are neither member nor generation, which the broker does not fence (it
        takes them for an old client's)."""
        self._require(partitions)
        return self._metadata

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
        self._overdue = not self._bounded.is_free(0.0)
        if self._overdue:
            return
        self._consumer.assign(reading.kafka_partitions(self._positions))
        paused = self._paused & self._positions.keys()
        if paused:
            self._consumer.pause(_named(paused))
        # librdkafka may remember a pause from an earlier assignment of the same partition.
        if self._positions.keys() - paused:
            self._consumer.resume(_named(self._positions.keys() - paused))

    def _is_reachable(self) -> bool:
        """Whether a call on the consumer returns at once; if not, the next poll that can tells it the assignment."""
        self._overdue = self._overdue or not self._bounded.is_free(0.0)
        return not self._overdue

    def _on_assign(self, _consumer: Consumer, partitions: list[KafkaPartition]) -> None:
        self._release(lost=True)  # only if librdkafka joined anew without asking for them back
        self._assign()
        self._metadata = self._consumer.consumer_group_metadata()
        granted = [(entry.topic, entry.partition) for entry in partitions]
        if not _is_membership(self._metadata):
            return  # already lost again; the next join grants anew
        self._held.update(granted)
        if granted:
            self._in_listener = True
            try:
                self._listener.granted(sorted(granted))
            finally:
                self._in_listener = False

    def _on_revoke(self, consumer: Consumer, _partitions: list[KafkaPartition]) -> None:
        # A call to assign() clears librdkafka's mark for lost partitions; its forgotten member id still shows it.
        try:
            if self._held:
                self._release(lost=not _is_membership(consumer.consumer_group_metadata()))
        finally:
            consumer.unassign()

    def _on_lost(self, consumer: Consumer, _partitions: list[KafkaPartition]) -> None:
        try:
            self._release(lost=True)
        finally:
            consumer.unassign()

    def _release(self, *, lost: bool, in_poll: bool = True) -> None:
        """Tell the listener, which may still commit in that call, and forget what was held."""
        self._assignments += 1
        released = sorted(self._held)
        self._in_listener = in_poll
        try:
            if released:
                self._listener.released(released, lost=lost)
        finally:
            self._in_listener = False
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


def _is_membership(metadata: bytes) -> bool:
    _, generation = _METADATA_HEAD.unpack_from(metadata)
    return bool(generation >= 0 and _member_id(metadata))


def _member_id(metadata: bytes) -> str:
    _, member_id, _ = metadata[_METADATA_HEAD.size :].split(b"\0", 2)
    return member_id.decode()


def _named(partitions: Iterable[TopicPartition]) -> list[KafkaPartition]:
    return [KafkaPartition(topic, number) for topic, number in partitions]
