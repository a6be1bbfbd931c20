"""How are records and offsets committed together, and what may be believed when that fails?

librdkafka's producer has no KIP-890 (v2): its epoch stays the same from one transaction to the next, so that a delayed
end of one could hit a later one. Whenever a commit or abort was slow or a connection failed around it, the producer is
replaced before the next transaction: `init_transactions` bumps the epoch, and stragglers are fenced.

librdkafka can wait for ever for a coordinator: it forgets where one was when no broker answers, and nothing wakes it up
when one does (librdkafka #5456, #5511; seen with 2.16.0 when a broker was restarted). So the steps without a time limit
run on a thread of their own (`Bounded`); one that takes too long is left behind with its producer, and that is
OutcomeUnknown.

Errors follow KIP-691 as far as librdkafka knows it: `retriable` → the same call again; `txn_requires_abort` →
TransactionAborted; a fencing code → Fenced; everything else → OutcomeUnknown, and only `recover` helps.
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
    TransactionAborted,
    UnknownTopic,
)
from penstock.topics.kafka import faults
from penstock.topics.kafka.bounded import Bounded
from penstock.topics.kafka.faults import Watch
from penstock.topics.kafka.member import KafkaMember
from penstock.topics.log import Member, Record, TopicPartition

SLOW_S = 1.0
RETRY_PAUSE_S = 0.005
QUEUE_FULL_POLL_S = 0.05
REPLACE_TIMEOUT_S = 30.0
CLOSE_TIMEOUT_S = 10.0
# Longer than a transaction may take at all (settings.TRANSACTION_TIMEOUT_MS): the broker has aborted it by then, unless
# it was told to commit.
STEP_TIMEOUT_S = 20.0
STEP_THREAD = "penstock-kafka-step"
FOREVER_S = -1.0


class KafkaTransactor:
    """Transactions under one transactional id. One thread at a time."""

    def __init__(
        self,
        open_producer: Callable[[Watch], Producer],
        check: Callable[[Iterable[Record]], None],
        transactional_id: str,
        bootstrap: str,
    ) -> None:
        self._open_producer = open_producer
        self._check = check
        self._name = transactional_id
        self._bootstrap = bootstrap
        self._watch = Watch(bootstrap)
        self._producer: Producer | None = None
        self._steps = Bounded(STEP_THREAD)
        self._in_transaction = False
        self._doubtful = False
        self._landed: dict[TopicPartition, int] = {}

    def recover(self, timeout_s: float) -> None:
        """Take the transactional id over: the broker aborts what is open under it and fences elder holders.

        Raises LogUnavailable, Fenced (somebody took it over meanwhile)."""
        elder, self._producer = self._producer, None
        self._in_transaction = False
        watch = Watch(self._bootstrap)
        producer = self._open_producer(watch)
        deadline = time.monotonic() + timeout_s
        try:
            # Without a connection, librdkafka looks for the coordinator in vain and again only half a second later;
            # listing waits for the connection (measured: 30 ms altogether instead of 30 or 505).
            producer.list_topics(timeout=timeout_s)
            _repeat(lambda: producer.init_transactions(max(0.1, deadline - time.monotonic())), deadline)
        except KafkaException as raised:
            _let_go(producer)
            raise self._recovery_failure(faults.error_of(raised), timeout_s) from raised
        finally:
            # Only now: its last words, if any, meet a newer epoch.
            if elder is not None:
                _let_go(elder)
        self._producer, self._watch, self._doubtful = producer, watch, False

    def begin(self) -> None:
        """Begin a transaction; the broker hears of it with the first record. Raises OutcomeUnknown."""
        if self._doubtful:
            try:
                self.recover(REPLACE_TIMEOUT_S)
            except LogUnavailable as error:
                raise OutcomeUnknown(f"transactor {self._name} could not be replaced: {error}") from error
        producer = self._working()
        self._landed = {}
        self._watch.troubles = 0
        try:
            producer.begin_transaction()
        except KafkaException as raised:
            raise self._failure(raised, "begin") from raised
        self._in_transaction = True

    def produce(self, records: Sequence[Record], track: frozenset[TopicPartition] = frozenset()) -> None:
        """Append. Every record is looked at before the first is sent.

        Raises UnknownTopic, RecordTooLarge, TransactionAborted (call `abort`), Fenced, OutcomeUnknown."""
        producer = self._working()
        self._check(records)
        callbacks = self._callbacks(records, track) if track else {}
        produce = producer.produce
        index = 0
        while index < len(records):
            try:
                # The loop is entered again after each full queue; a try inside of it would cost nothing but a level.
                for index in range(index, len(records)):  # noqa: B020
                    record = records[index]
                    if index in callbacks:
                        produce(record.topic, record.value, record.key, record.partition, callbacks[index])
                    else:
                        produce(record.topic, record.value, record.key, record.partition)
                return
            except BufferError:
                self._hear(producer, QUEUE_FULL_POLL_S)
            except KafkaException as raised:
                raise self._produce_failure(raised) from raised

    def offsets(self, offsets: Mapping[TopicPartition, int], member: Member) -> None:
        """Add the member's next offsets, fenced by its present generation (KIP-447).

        Raises Fenced, TransactionAborted (call `abort` after both), OutcomeUnknown."""
        assert isinstance(member, KafkaMember), "a Kafka transaction commits the offsets of a Kafka member"
        # An empty list would send no request at all, and so fence nothing.
        assert offsets, "a transaction without offsets is not fenced"
        producer = self._working()
        metadata = member.group_metadata(offsets)
        entries = [KafkaPartition(topic, number, offset) for (topic, number), offset in offsets.items()]
        try:
            self._patiently(lambda: producer.send_offsets_to_transaction(entries, metadata, FOREVER_S), "offsets")
        except (KafkaException, SystemError) as raised:
            raise self._failure(raised, "offsets") from raised

    def commit(self) -> Mapping[TopicPartition, int]:
        """Commit, without a time limit: giving up early would leave librdkafka out of step with the broker.

        Raises TransactionAborted, Fenced, OutcomeUnknown."""
        producer = self._working()
        self._settle(producer, producer.commit_transaction, "commit")
        landed, self._landed = self._landed, {}
        return landed

    def abort(self) -> None:
        """Abort, without a time limit. Does nothing outside of a transaction. Raises OutcomeUnknown, Fenced."""
        if self._in_transaction:
            producer = self._working()
            # Aborting while the first records are in flight can break the producer (librdkafka #4849): that comes
            # out as OutcomeUnknown, and `recover` mends it.
            self._settle(producer, producer.abort_transaction, "abort")

    def close(self) -> None:
        """Let go within a bound; an open transaction is aborted."""
        producer, self._producer = self._producer, None
        self._in_transaction = False
        self._abandon_steps()
        if producer is not None:
            _let_go(producer).join(CLOSE_TIMEOUT_S)

    def _settle(self, producer: Producer, step: Callable[[float], None], doing: str) -> None:
        began = time.monotonic()
        try:
            self._patiently(lambda: step(FOREVER_S), doing)
        except (KafkaException, SystemError) as raised:
            raise self._failure(raised, doing) from raised
        self._in_transaction = False
        self._hear(producer)  # of connections that failed meanwhile
        self._doubtful = self._watch.troubles > 0 or time.monotonic() - began > SLOW_S
        if not self._doubtful:
            self._watch.note_answer()

    def _patiently(self, step: Callable[[], None], doing: str) -> None:
        """Take a step of librdkafka's that knows no time limit. Raises KafkaException, OutcomeUnknown."""
        try:
            self._steps.call(lambda: _repeat(step), STEP_TIMEOUT_S)
        except TimeoutError:
            # Whatever it may still do, `recover` fences. It cannot be closed: that would wait for the same thing.
            self._producer, self._in_transaction = None, False
            self._abandon_steps()
            raise OutcomeUnknown(
                f"{doing} of transactor {self._name} took longer than {STEP_TIMEOUT_S:g} s; recover before going on"
            ) from None

    def _abandon_steps(self) -> None:
        self._steps.abandon()
        self._steps = Bounded(STEP_THREAD)

    def _working(self) -> Producer:
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
                callbacks[index] = partial(_note_landing, self._landed, place)
        return callbacks

    def _produce_failure(self, raised: KafkaException) -> LogError:
        error = faults.error_of(raised)
        if error.code() in faults.UNKNOWN_TOPIC:
            return UnknownTopic(f"produce: {error.str()}")
        if error.code() in faults.TOO_LARGE:
            return RecordTooLarge(f"produce: {error.str()}")
        if error.code() == faults.NOT_IN_THIS_STATE:
            # A record before this one failed; nothing was committed, so that it can only be aborted.
            return TransactionAborted(f"produce: {error.str()}")
        return self._failure(raised, "produce")

    def _failure(self, raised: KafkaException | SystemError, doing: str) -> LogError:
        where = f"{doing} of transactor {self._name}"
        error = _error_behind(raised)
        if (error is None or error.code() == faults.FATAL) and self._producer is not None:
            self._hear(self._producer)  # the reason comes as an event
            error = self._watch.fatal or error
        if error is None:
            return OutcomeUnknown(f"{where}: {raised}; recover before going on")
        return faults.transaction_failure(error, where)

    def _hear(self, producer: Producer, timeout_s: float = 0.0) -> None:
        """Let events and delivery reports come in. What is fatal is kept by the Watch, and the next step fails of it;
        here it comes as an exception, or as the SystemError that a callback makes of one (confluent-kafka 2.16)."""
        try:
            producer.poll(timeout_s)
        except (KafkaException, SystemError) as raised:
            self._watch.troubles += 1
            faults.logger.debug("heard of a producer: %s", raised)

    def _recovery_failure(self, error: KafkaError, timeout_s: float) -> LogError:
        if error.code() in faults.FENCED:
            return Fenced(f"transactor {self._name} was taken over while it recovered ({error.str()})")
        return LogUnavailable(
            f"transactor {self._name} did not recover within {timeout_s:g} s ({error.str()}): "
            f"{faults.nobody_answers(self._bootstrap)}"
        )


def _error_behind(raised: KafkaException | SystemError) -> KafkaError | None:
    """What went wrong. A fatal error that comes while delivery reports do is told as a SystemError caused by it."""
    cause = raised if isinstance(raised, KafkaException) else raised.__cause__
    return faults.error_of(cause) if isinstance(cause, KafkaException) else None


def _note_landing(
    landed: dict[TopicPartition, int], partition: TopicPartition, error: KafkaError | None, message: Message
) -> None:
    offset = message.offset()
    if error is None and offset is not None:
        landed[partition] = offset + 1


def _repeat(step: Callable[[], None], deadline: float = float("inf")) -> None:
    """Call again, with the same arguments, as long as the error says that this helps."""
    while True:
        try:
            return step()
        except KafkaException as raised:
            if not faults.error_of(raised).retriable() or time.monotonic() > deadline:
                raise
            time.sleep(RETRY_PAUSE_S)


def _let_go(producer: Producer) -> threading.Thread:
    """Close in a thread of its own: it may wait for a broker that is away."""
    thread = threading.Thread(target=_close, args=(producer,), name="penstock-kafka-close", daemon=True)
    thread.start()
    return thread


def _close(producer: Producer) -> None:
    try:
        producer.close()
    except KafkaException as raised:
        # Its transaction could not be aborted by itself: it was fenced, or the broker will time it out.
        faults.logger.debug("a producer closed with %s", raised)
