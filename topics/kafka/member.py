"""Member of a Kafka consumer group.

Rebalancing is eager: each change revokes all partitions and grants them anew. Granted partitions are assigned to the
consumer only when `start` sets their offsets, and every `start` assigns all started partitions again at their
positions. Hence no record is delivered from an offset that was not set, and librdkafka drops records fetched earlier.
"""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition

from penstock.schemas.errors import Fenced, LogError, LogUnavailable
from penstock.topics.kafka import faults, reading
from penstock.topics.kafka.bounded import Bounded
from penstock.topics.kafka.faults import Watch
from penstock.topics.kafka.troubles import Troubles
from penstock.topics.log import CommittedOffset, Listener, StoredRecord, TopicPartition

# Group metadata of librdkafka: a mark of 7 bytes, the generation in native byte order, then group id and member id,
# each terminated by NUL (rd_kafka_consumer_group_metadata_write).
_METADATA_HEAD = struct.Struct("=7si")
COMMIT_TIMEOUT_S = 15.0
CLOSE_TIMEOUT_S = 10.0
LEAVE_TIMEOUT_S = 3.0
LEAVE_POLL_S = 0.01


class KafkaMember:
    """Member of a consumer group. Used by one thread; `group_metadata` may be called from another."""

    def __init__(
        self,
        open_consumer: Callable[[Watch], Consumer],
        topics: Sequence[str],
        listener: Listener,
        bootstrap: str,
        session_timeout_s: float,
        poll_interval_s: float,
    ) -> None:
        self._bootstrap = bootstrap
        self._poll_interval_s, self._polled_s = poll_interval_s, time.monotonic()
        self._was_silent = False  # for longer than the group waits for a poll
        self._session_timeout_s = session_timeout_s
        self._listener = listener
        self._watch = Watch(bootstrap)
        self._held: set[TopicPartition] = set()
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        # Incremented when the assignment changes; messages fetched before are then invalid.
        self._assignments = 0
        self._failure: LogError | None = None
        self._troubles = Troubles()
        self._metadata = b""
        # The assignment was not passed to the consumer yet, because a commit is late.
        self._overdue = False
        self._in_listener = False
        self._closed = False
        self._open_consumer, self._topics = open_consumer, list(topics)
        self._begin()

    def _begin(self) -> None:
        self._bounded = Bounded("penstock-kafka-member")
        self._watch.fatal = None
        self._consumer = self._open_consumer(self._watch)
        self._consumer.subscribe(
            self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    @property
    def name(self) -> str:
        """The member id as of the last grant; empty before the first one."""
        return _member_id(self._metadata) if self._metadata else ""

    @property
    def session_timeout_s(self) -> float:
        """The consumer's session.timeout.ms."""
        return self._session_timeout_s

    def poll(self, records_max: int, timeout_s: float) -> list[StoredRecord]:
        """Up to `records_max` committed records. Calls the listener. If no broker can be reached, it returns none.

        Raises OffsetOutOfRange, LogUnavailable (something that librdkafka does not resolve; again each minute)."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        polled_s, self._polled_s = self._polled_s, time.monotonic()
        self._was_silent = self._was_silent or self._polled_s - polled_s > self._poll_interval_s
        if not self._bounded.is_free(timeout_s):
            return []
        if self._overdue or self._troubles.is_due():
            self._assign()
        records, others = reading.split(self._fetch(records_max, timeout_s))
        if self._watch.fatal is not None or any(map(reading.is_fatal, others)):
            self._replace()
            return []
        positions = self._positions
        for record in records:
            positions[record.topic, record.partition] = record.offset + 1
        if records:
            self._watch.note_answer()
        if others:
            # Records before the error are delivered first; the next poll raises the error.
            self._failure = self._troubles.to_raise(reading.first_failure(others, self._bootstrap))
        return records

    def start(self, positions: Mapping[TopicPartition, int]) -> None:
        """Deliver these granted partitions from these offsets on, also as a later seek. Raises Fenced."""
        self._require(positions)
        self._positions.update(positions)
        self._assign()

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Deliver nothing from these partitions until `resume`."""
        self._paused.update(self._held.intersection(partitions))
        if self._is_reachable():
            self._consumer.pause(_named(self._paused))

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Continue delivery where `pause` stopped it."""
        self._paused.difference_update(partitions)
        if self._is_reachable():
            self._consumer.resume(_named(self._held.intersection(partitions)))

    def committed(
        self, partitions: Sequence[TopicPartition], timeout_s: float
    ) -> Mapping[TopicPartition, CommittedOffset]:
        """The group's committed offsets; under read_committed the broker waits for open transactions (KIP-447).

        Raises LogUnavailable."""
        if not self._bounded.is_free(timeout_s):
            raise LogUnavailable(f"committed offsets cannot be read: {faults.no_broker(self._bootstrap)}")
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
        """Commit outside of transactions. Raises Fenced, LogUnavailable (after 15 s).

        Within the listener, the call is made in the poll's thread, since another thread would wait for the poll to end.
        It has no timeout there, but the coordinator has answered just before."""
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
                f"a commit took longer than {COMMIT_TIMEOUT_S:g} s: check that the Kafka broker answers"
            ) from None
        except KafkaException as error:
            self._require_alive(faults.error_of(error))
            raise self._plain(error, "offsets were not committed") from error
        for entry in done:
            if entry.error is not None:
                self._require_alive(entry.error)
                raise faults.plain_failure(entry.error, self._bootstrap, "offsets were not committed")
        self._watch.note_answer()

    def close(self) -> None:
        """Call `released`, then leave the group at once."""
        if self._closed:
            return
        self._release(lost=False, in_poll=False)
        self._closed = True
        try:
            self._bounded.end(self._leave, CLOSE_TIMEOUT_S)
        except TimeoutError:
            faults.logger.warning(
                "member could not leave its group within %g s; its partitions stay idle until the session times out",
                CLOSE_TIMEOUT_S,
            )

    def _leave(self) -> None:
        """Leave the group, then close the consumer: its close alone leaves a static member in the group."""
        consumer, deadline_s = self._consumer, time.monotonic() + LEAVE_TIMEOUT_S
        with contextlib.suppress(KafkaException):  # after a fatal error it is no member
            consumer.unsubscribe()
        while _is_membership(consumer.consumer_group_metadata()) and time.monotonic() < deadline_s:
            consumer.poll(LEAVE_POLL_S)  # serves the callback that confirms the release
        consumer.close()

    def group_metadata(self, partitions: Iterable[TopicPartition]) -> bytes:
        """The metadata that fences a transaction's offsets (KIP-447), as of the last grant. Raises Fenced.

        A new generation always comes with a new grant, so the metadata is current unless the member was expelled; then
        the broker refuses it. The consumer is not queried here, for two reasons: a call from another thread waits as
        long as polls follow each other closely (measured: for ever), and after librdkafka has lost its membership, it
        returns no member id and no generation, which the broker accepts as an old client's and does not fence."""
        self._require(partitions)
        return self._metadata

    def _replace(self) -> None:
        """Take this member's place in the group by another consumer, because librdkafka's has ended with a fatal error.

        After a session without contact it forgets its member id, and keeps sending heartbeats until the application has
        confirmed the loss of its partitions. A static member without an id is fenced by the broker then, for good."""
        faults.logger.warning("the consumer of a group has ended with a fatal error; another one takes its place")
        self._release(lost=True)
        bounded, ended = self._bounded, self._consumer
        self._begin()
        with contextlib.suppress(TimeoutError):
            bounded.end(ended.close, 0.0)

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
        # A rebalance occurred in between. Messages fetched before it may belong to another member now and cannot be
        # distinguished from later ones, so none is delivered; they are fetched again from the positions.
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
        """Whether a call on the consumer returns at once; if not, a later poll passes on the assignment."""
        self._overdue = self._overdue or not self._bounded.is_free(0.0)
        return not self._overdue

    def _on_assign(self, consumer: Consumer, partitions: list[KafkaPartition]) -> None:
        if consumer is not self._consumer:
            return  # it was replaced
        self._release(lost=True)  # still held only if librdkafka rejoined without revoking them
        self._was_silent = False
        self._assign()
        self._metadata = self._consumer.consumer_group_metadata()
        granted = [(entry.topic, entry.partition) for entry in partitions]
        if not _is_membership(self._metadata):
            return  # already lost again; the next join grants partitions anew
        self._held.update(granted)
        if granted:
            self._in_listener = True
            try:
                self._listener.granted(sorted(granted))
            finally:
                self._in_listener = False

    def _on_revoke(self, consumer: Consumer, _partitions: list[KafkaPartition]) -> None:
        # A call of assign() clears librdkafka's mark for lost partitions, but the missing member id still shows them. A
        # static member that did not poll in time keeps its id.
        try:
            if self._held and consumer is self._consumer:
                is_member = not self._was_silent and _is_membership(consumer.consumer_group_metadata())
                self._release(lost=not is_member)
        finally:
            consumer.unassign()

    def _on_lost(self, consumer: Consumer, _partitions: list[KafkaPartition]) -> None:
        try:
            if consumer is self._consumer:
                self._release(lost=True)
        finally:
            consumer.unassign()

    def _release(self, *, lost: bool, in_poll: bool = True) -> None:
        """Call the listener, which may still commit, then clear the state of all partitions."""
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
            raise Fenced(f"{topic}[{number}] is not granted to this member")

    def _require_alive(self, error: KafkaError) -> None:
        """Raise Fenced if the consumer has ended: a commit would fail for ever, and the next poll replaces it."""
        if reading.ends_consumer(error):
            self._watch.fatal = error
            raise Fenced(f"this member has lost its partitions: its consumer has ended ({error.str()})")

    def _plain(self, raised: KafkaException, problem: str) -> LogError:
        return faults.plain_failure(faults.error_of(raised), self._bootstrap, problem)


def _is_membership(metadata: bytes) -> bool:
    _, generation = _METADATA_HEAD.unpack_from(metadata)
    return bool(generation >= 0 and _member_id(metadata))


def _member_id(metadata: bytes) -> str:
    _, member_id, _ = metadata[_METADATA_HEAD.size :].split(b"\0", 2)
    return member_id.decode()


def _named(partitions: Iterable[TopicPartition]) -> list[KafkaPartition]:
    return [KafkaPartition(topic, number) for topic, number in partitions]
