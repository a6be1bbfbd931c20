"""Reading of assigned partitions, and conversion of Kafka's messages into records."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, Message
from confluent_kafka import TopicPartition as KafkaPartition

from penstock.schemas.errors import LogError, LogUnavailable, OffsetOutOfRange
from penstock.topics.kafka import faults
from penstock.topics.kafka.troubles import Troubles
from penstock.topics.log import StoredRecord, TopicPartition

BATCH_RECORDS = 5_000
POLL_S = 0.1


class KafkaReader:
    """`Reader` on Kafka. Used by one thread."""

    def __init__(self, consumer: Consumer, positions: Mapping[TopicPartition, int], bootstrap: str) -> None:
        self._consumer = consumer
        self._bootstrap = bootstrap
        self._failure: LogError | None = None
        self._troubles = Troubles()
        self._positions = dict(positions)
        consumer.assign(kafka_partitions(positions))

    def read(self, records_max: int, timeout_s: float) -> list[StoredRecord]:
        """Up to `records_max` committed records, waiting at most `timeout_s` for the first.

        Raises OffsetOutOfRange, LogUnavailable (something that librdkafka does not resolve; again each minute)."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        if self._troubles.is_due():
            self._consumer.assign(kafka_partitions(self._positions))
        deadline = time.monotonic() + timeout_s
        while True:
            # An end of partition is a message as well, but does not end the wait.
            records, others = split(fetch(self._consumer, records_max, max(0.0, deadline - time.monotonic())))
            for record in records:
                self._positions[record.topic, record.partition] = record.offset + 1
            failure = self._troubles.to_raise(first_failure(others, self._bootstrap)) if others else None
            if failure is not None and not records:
                raise failure
            self._failure = failure
            if records or time.monotonic() >= deadline:
                return records

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()


def read_to_end(
    consumer: Consumer, partition: TopicPartition, start: int, end: int, timeout_s: float, bootstrap: str
) -> Iterator[list[StoredRecord]]:
    """Batches of records from `start` up to `end`. Raises LogUnavailable after `timeout_s` without progress.

    `Consumer.position` stops before trailing control records, so the end is detected by the partition's EOF event. It
    occurs at the last stable offset, which reaches `end` only when every transaction below is settled (KIP-98)."""
    consumer.assign(kafka_partitions({partition: start}))
    reached, progress = start, time.monotonic()
    while reached < end:
        records, others = split(fetch(consumer, BATCH_RECORDS, POLL_S))
        failure = first_failure(others, bootstrap)
        if failure is not None:
            raise failure
        eofs = [message.offset() or 0 for message in others if _is_eof(message)]
        before, reached = reached, max([reached, *eofs, *(record.offset + 1 for record in records[-1:])])
        if reached > before:
            progress = time.monotonic()
        elif time.monotonic() - progress > timeout_s:
            topic, number = partition
            raise LogUnavailable(
                f"{topic}[{number}] was read to {reached} of {end}, then no record arrived for {timeout_s:g} s: "
                "the broker does not answer, or a transaction stays open"
            )
        wanted = records if not records or records[-1].offset < end else [r for r in records if r.offset < end]
        if wanted:
            yield wanted
            progress = time.monotonic()


def fetch(consumer: Consumer, records_max: int, timeout_s: float) -> list[Message]:
    """Up to `records_max` messages, waiting for the first only; `consume` alone would wait for all of them."""
    first = consumer.poll(timeout_s)
    if first is None:
        return []
    return [first, *consumer.consume(records_max - 1, 0)] if records_max > 1 else [first]


def split(messages: Sequence[Message]) -> tuple[list[StoredRecord], list[Message]]:
    """The records, and the messages that are errors or events."""
    records: list[StoredRecord] = []
    others: list[Message] = []
    append = records.append
    for message in messages:
        if message.error() is None:
            append(
                StoredRecord(
                    message.topic(),  # type: ignore[arg-type]  # None only for errors
                    message.partition(),  # type: ignore[arg-type]
                    message.offset(),  # type: ignore[arg-type]
                    message.key(),
                    message.value(),
                    message.timestamp()[1],
                )
            )
        else:
            others.append(message)
    return records, others


def first_failure(others: Sequence[Message], bootstrap: str) -> LogError | None:
    """The first error that the caller must handle; librdkafka resolves the others itself (`faults.PASSING`)."""
    for message in others:
        error = message.error()
        assert error is not None
        where = f"{message.topic()}[{message.partition()}]@{message.offset()}"
        if error.code() in faults.OUT_OF_RANGE:
            return OffsetOutOfRange(f"{where} is not in the log: it was trimmed, or the log was truncated")
        if error.fatal() or error.code() in faults.UNKNOWN_TOPIC:
            return faults.plain_failure(error, bootstrap, where)
        if error.code() not in faults.PASSING:
            topic = message.topic()
            return faults.reading_failure(error, f"{topic}[{message.partition()}]" if topic else "the consumer group")
    return None


def is_fatal(message: Message) -> bool:
    """Whether the message says that its consumer can do no more."""
    error = message.error()
    return error is not None and ends_consumer(error)


def ends_consumer(error: KafkaError) -> bool:
    """Whether a consumer with this error does nothing more: another one has to take its place."""
    return bool(error.fatal() or error.code() in {faults.FATAL, KafkaError.FENCED_INSTANCE_ID})


def kafka_partitions(positions: Mapping[TopicPartition, int]) -> list[KafkaPartition]:
    """Positions in the client library's type."""
    return [KafkaPartition(topic, number, offset) for (topic, number), offset in positions.items()]


def _is_eof(message: Message) -> bool:
    error = message.error()
    return error is not None and error.code() == faults.END_OF_PARTITION
