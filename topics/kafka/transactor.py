"""Transactions of records and offsets on Kafka, and their state after an error.

librdkafka's producer does not implement KIP-890 (v2): its epoch stays the same from one transaction to the next, so a
delayed end of one transaction could affect a later one. After a slow commit or abort, or a failure of a connection, the
producer is replaced before the next transaction: `init_transactions` increments the epoch, which fences delayed
requests.

librdkafka can wait for ever for a coordinator: it loses the coordinator's address when no broker answers, and does not
wake up when one does (librdkafka #5456, #5511; observed with 2.16.0 after a broker's restart). Steps without a timeout
therefore run on a thread of their own (`Bounded`). A step that takes too long, or goes on after an outage has passed,
is abandoned together with its producer and reported as OutcomeUnknown.

Errors follow KIP-691 as far as librdkafka supports it: `retriable`: repeat the call; `txn_requires_abort`:
TransactionAborted; a fencing code: Fenced; any other: OutcomeUnknown, which requires `recover`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as KafkaPartition

from penstock.schemas.errors import (
    Fenced,
    LogError,
    LogUnavailable,
    OutcomeUnknown,
    RecordTooLarge,
    TopicRefused,
    TransactionAborted,
    UnknownTopic,
)
from penstock.topics.kafka import faults
from penstock.topics.kafka.bounded import Bounded
from penstock.topics.kafka.deliveries import OF_THE_TOPIC, Deliveries, Unwritable, unauthorised
from penstock.topics.kafka.faults import Watch
from penstock.topics.kafka.member import KafkaMember
from penstock.topics.log import CommittedOffset, Member, Record, TopicPartition

SLOW_S = 1.0
RETRY_PAUSE_S = 0.005
QUEUE_FULL_POLL_S = 0.05
REPLACE_TIMEOUT_S = 30.0
CLOSE_TIMEOUT_S = 10.0
# Longer than a transaction may take (settings.TRANSACTION_TIMEOUT_MS): by then the broker has aborted it, unless it has
# received the commit.
STEP_TIMEOUT_S = 20.0
LOOK_S = 0.5
# How long a step may go on after a broker answers again: it ends sooner, or librdkafka has lost the coordinator.
ANSWERED_S = 1.0
STEP_THREAD = "penstock-kafka-step"
FOREVER_S = -1.0


class KafkaTransactor:
    """`Transactor` on Kafka. Used by one thread at a time."""

    def __init__(
        self,
        open_producer: Callable[[Watch], Producer],
        check: Callable[[Iterable[Record]], None],
        unwritable: Unwritable,
        transactional_id: str,
        bootstrap: str,
    ) -> None:
        self._open_producer = open_producer
        self._check, self._unwritable = check, unwritable
        self._name = transactional_id
        self._bootstrap = bootstrap
        self._watch = Watch(bootstrap)
        self._producer: Producer | None = None
        self._steps = Bounded(STEP_THREAD)
        self._in_transaction = False
        self._doubtful = False
        self._end_offsets: dict[TopicPartition, int] = {}
        self._has_failed = False
        self._deliveries: Deliveries | None = None
        self._topics: set[str] = set()

    def recover(self, timeout_s: float) -> None:
        """Take over the transactional id: the broker aborts its open transaction and fences earlier holders.

        Raises LogUnavailable, Fenced if another holder has taken over meanwhile."""
        previous, self._producer = self._producer, None
        self._in_transaction = False
        watch = Watch(self._bootstrap)
        producer = self._open_producer(watch)
        deadline = time.monotonic() + timeout_s
        try:
            # Without a connection, librdkafka fails to find the coordinator and retries only after half a second;
            # listing topics waits for the connection (measured: 30 ms altogether instead of 30 or 505).
            producer.list_topics(timeout=timeout_s)
            _repeat(lambda: producer.init_transactions(max(0.1, deadline - time.monotonic())), deadline)
        except KafkaException as raised:
            _close_in_thread(producer)
            raise self._recovery_failure(faults.error_of(raised), timeout_s) from raised
        finally:
            # Closed only now, so that its last requests are fenced by the newer epoch.
            if previous is not None:
                _close_in_thread(previous)
        self._producer, self._watch, self._doubtful = producer, watch, False

    def begin(self) -> None:
        """Begin a transaction; the first record starts it on the broker. Raises OutcomeUnknown."""
        if self._producer is not None:
            self._poll(self._producer)
        # Connections that failed since the last transaction. One that did not end may have been fenced, and stays so.
        if self._doubtful or (self._watch.troubles and not self._in_transaction):
            try:
                self.recover(REPLACE_TIMEOUT_S)
            except LogUnavailable as error:
                raise OutcomeUnknown(f"transactor {self._name} could not be replaced: {error}") from error
        producer = self._require_producer()
        self._end_offsets, self._topics = {}, set()
        self._deliveries = Deliveries() if self._has_failed else None
        self._watch.troubles = 0
        try:
            producer.begin_transaction()
        except KafkaException as raised:
            raise self._failure(raised, "begin") from raised
        self._in_transaction = True

    def produce(self, records: Sequence[Record], track: frozenset[TopicPartition] = frozenset()) -> None:
        """Append records, after checking all of them.

        Raises TopicRefused, RecordRefused, TransactionAborted (call `abort`), Fenced, OutcomeUnknown."""
        producer = self._require_producer()
        self._check(records)
        self._topics.update([record.topic for record in records])
        callbacks = self._callbacks(records, track) if track else {}
        produce = producer.produce
        if self._deliveries is not None:
            produce = partial(producer.produce, on_delivery=self._deliveries.on_delivery)
        index = 0
        while index < len(records):
            try:
                # The loop is entered again at `index` after a full queue.
                for index in range(index, len(records)):  # noqa: B020
                    record = records[index]
                    if index in callbacks:
                        producer.produce(record.topic, record.value, record.key, record.partition, callbacks[index])
                    else:
                        produce(record.topic, record.value, record.key, record.partition)
                return
            except BufferError:
                self._poll(producer, QUEUE_FULL_POLL_S)
            except KafkaException as raised:
                raise self._produce_failure(raised, records[index]) from raised

    def offsets(self, offsets: Mapping[TopicPartition, CommittedOffset], member: Member) -> None:
        """Add the member's next offsets, fenced by its current generation (KIP-447).

        Raises Fenced, TransactionAborted (call `abort` after both), OutcomeUnknown."""
        assert isinstance(member, KafkaMember), "a Kafka transaction commits the offsets of a Kafka member"
        # An empty list would send no request, and so fence nothing.
        assert offsets, "a transaction without offsets is not fenced"
        producer = self._require_producer()
        metadata = member.group_metadata(offsets)
        entries = [
            KafkaPartition(topic, number, found.offset, found.metadata) for (topic, number), found in offsets.items()
        ]
        try:
            self._run_step(lambda: producer.send_offsets_to_transaction(entries, metadata, FOREVER_S), "offsets")
        except (KafkaException, SystemError) as raised:
            raise self._failure(raised, "offsets") from raised

    def commit(self) -> Mapping[TopicPartition, int]:
        """Commit, for at most STEP_TIMEOUT_S; a shorter limit could leave librdkafka out of step with the broker.

        Raises TransactionAborted (or TopicRefused, RecordRefused if that can be said), Fenced, OutcomeUnknown."""
        producer = self._require_producer()
        self._settle(producer, producer.commit_transaction, "commit")
        self._has_failed = False
        end_offsets, self._end_offsets = self._end_offsets, {}
        return end_offsets

    def abort(self) -> None:
        """Abort; does nothing outside of a transaction. Raises OutcomeUnknown, Fenced."""
        if self._in_transaction:
            producer = self._require_producer()
            # Aborting while the first records are in flight can break the producer (librdkafka #4849). This is reported
            # as OutcomeUnknown, and `recover` replaces the producer.
            self._settle(producer, producer.abort_transaction, "abort")

    def close(self) -> None:
        """Close within a bounded time; an open transaction is aborted."""
        producer, self._producer = self._producer, None
        self._in_transaction = False
        self._abandon_steps()
        if producer is not None:
            _close_in_thread(producer).join(CLOSE_TIMEOUT_S)

    def _settle(self, producer: Producer, step: Callable[[float], None], name: str) -> None:
        began = time.monotonic()
        try:
            self._run_step(lambda: step(FOREVER_S), name)
        except (KafkaException, SystemError) as raised:
            raise self._failure(raised, name) from raised
        self._in_transaction = False
        self._poll(producer)  # connections that failed meanwhile
        self._doubtful = self._watch.troubles > 0 or time.monotonic() - began > SLOW_S
        if not self._doubtful:
            self._watch.note_answer()

    def _run_step(self, step: Callable[[], None], name: str) -> None:
        """Run a step of librdkafka that has no timeout. Raises KafkaException, OutcomeUnknown."""
        outage = Outage(self._require_producer())
        try:
            self._steps.call(lambda: _repeat(step), STEP_TIMEOUT_S, outage.has_passed, LOOK_S)
        except TimeoutError:
            # `recover` fences any later effect. The producer cannot be closed, since that would wait as well.
            self._producer, self._in_transaction = None, False
            self._abandon_steps()
            reason = "did not end with an outage" if outage.has_passed() else f"took longer than {STEP_TIMEOUT_S:g} s"
            raise OutcomeUnknown(f"{name} of transactor {self._name} {reason}; recover before continuing") from None

    def _abandon_steps(self) -> None:
        self._steps.abandon()
        self._steps = Bounded(STEP_THREAD)

    def _require_producer(self) -> Producer:
        if self._producer is None:
            raise OutcomeUnknown(f"transactor {self._name} has no producer: recover first")
        return self._producer

    def _callbacks(self, records: Sequence[Record], track: frozenset[TopicPartition]) -> dict[int, Any]:
        """A delivery callback for the last record of each tracked partition, by index."""
        callbacks: dict[int, Any] = {}
        wanted = set(track)
        for index in range(len(records) - 1, -1, -1):
            if not wanted:
                break
            place = (records[index].topic, records[index].partition)
            if place in wanted:
                wanted.discard(place)
                callbacks[index] = partial(_note_end_offset, self._end_offsets, place)
        return callbacks

    def _produce_failure(self, raised: KafkaException, record: Record) -> LogError:
        error = faults.error_of(raised)
        if error.code() in faults.UNKNOWN_TOPIC:
            return UnknownTopic(f"produce: {error.str()}", topic=record.topic, partition=record.partition)
        if error.code() in OF_THE_TOPIC:
            self._has_failed = True
            return TopicRefused(f"produce: {error.str()}", topic=record.topic, partition=record.partition)
        if error.code() in faults.TOO_LARGE:
            return RecordTooLarge(f"produce: {error.str()}")
        if error.code() == faults.NOT_IN_THIS_STATE:
            # An earlier record failed; the transaction can only be aborted.
            return self._refusal(error) or TransactionAborted(f"produce: {error.str()}")
        return self._failure(raised, "produce")

    def _failure(self, raised: KafkaException | SystemError, step: str) -> LogError:
        where = f"{step} of transactor {self._name}"
        error = _kafka_error(raised)
        if (error is None or error.code() == faults.FATAL) and self._producer is not None:
            self._poll(self._producer)  # the reason is delivered as an event
            error = self._watch.fatal or error
        if error is None:
            return OutcomeUnknown(f"{where}: {raised}; recover before continuing")
        failure = faults.transaction_failure(error, where)
        return (self._refusal(error) or failure) if isinstance(failure, TransactionAborted) else failure

    def _refusal(self, error: KafkaError) -> LogError | None:
        """The topic or record that made a transaction fail. Most can be named by the next one alone (Deliveries)."""
        self._has_failed = True
        if self._producer is not None:
            self._poll(self._producer)
        found = self._deliveries.refusal() if self._deliveries is not None else None
        if found is None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            found = unauthorised(sorted(self._topics), self._unwritable)
        return found

    def _poll(self, producer: Producer, timeout_s: float = 0.0) -> None:
        """Process events and delivery reports.

        The Watch keeps a fatal error, and the next step fails with it. Here it is raised as a KafkaException, or as a
        SystemError if it was raised within a callback (confluent-kafka 2.16)."""
        try:
            producer.poll(timeout_s)
        except (KafkaException, SystemError) as raised:
            self._watch.troubles += 1
            faults.logger.debug("poll of a producer failed: %s", raised)

    def _recovery_failure(self, error: KafkaError, timeout_s: float) -> LogError:
        if error.code() in faults.FENCED:
            return Fenced(f"transactor {self._name} was taken over during its recovery ({error.str()})")
        return LogUnavailable(
            f"transactor {self._name} did not recover within {timeout_s:g} s ({error.str()}): "
            f"{faults.no_broker(self._bootstrap)}"
        )


class Outage:
    """Whether brokers were away during a step of a transaction, and have answered again for a while."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._was_away = False
        self._answered_s = 0.0

    def has_passed(self) -> bool:
        """Ask for metadata, if it is not known yet that brokers answer again; waits at most LOOK_S."""
        if not self._answered_s:
            try:
                self._producer.list_topics(timeout=LOOK_S)
            except KafkaException:
                self._was_away = True
            else:
                self._answered_s = time.monotonic() if self._was_away else 0.0
        return self._was_away and self._answered_s > 0 and time.monotonic() - self._answered_s >= ANSWERED_S


def _kafka_error(raised: KafkaException | SystemError) -> KafkaError | None:
    """The error of the exception. A fatal error during delivery reports is the cause of a SystemError."""
    cause = raised if isinstance(raised, KafkaException) else raised.__cause__
    return faults.error_of(cause) if isinstance(cause, KafkaException) else None


def _note_end_offset(
    end_offsets: dict[TopicPartition, int], partition: TopicPartition, error: KafkaError | None, message: Message
) -> None:
    offset = message.offset()
    if error is None and offset is not None:
        end_offsets[partition] = offset + 1


def _repeat(step: Callable[[], None], deadline: float = float("inf")) -> None:
    """Call the step, again while its error is retriable, until `deadline`."""
    while True:
        try:
            return step()
        except KafkaException as raised:
            if not faults.error_of(raised).retriable() or time.monotonic() > deadline:
                raise
            time.sleep(RETRY_PAUSE_S)


def _close_in_thread(producer: Producer) -> threading.Thread:
    """Close a producer in a thread of its own, since it may wait for a broker."""
    thread = threading.Thread(target=_close, args=(producer,), name="penstock-kafka-close", daemon=True)
    thread.start()
    return thread


def _close(producer: Producer) -> None:
    try:
        producer.close()
    except KafkaException as raised:
        # Its transaction could not be aborted: it was fenced, or will time out on the broker.
        faults.logger.debug("closing of a producer failed: %s", raised)
