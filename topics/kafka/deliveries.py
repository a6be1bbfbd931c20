"""Delivery reports of one transaction: which partition, or which record, kept it from committing.

librdkafka says that a transaction has to be aborted, but not because of which record. Callbacks on all records would
cost a twentieth of a processor's time, so they are set only in the transaction that follows a failed one."""

# ruff: noqa: SLF001 (an underscore marks librdkafka's own error codes, not private ones)
from __future__ import annotations

from collections.abc import Callable, Collection

from confluent_kafka import KafkaError, Message

from penstock.schemas.errors import LogError, RecordRefused, TopicRefused
from penstock.topics.log import TopicPartition

_PURGED = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})
_OF_THE_RECORD = frozenset(
    {
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
    }
)
OF_THE_TOPIC = frozenset(
    {
        KafkaError.INVALID_REQUIRED_ACKS,
        KafkaError.POLICY_VIOLATION,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._UNKNOWN_TOPIC,
    }
)


class Deliveries:
    """What became of a transaction's records: `on_delivery` is their delivery callback."""

    def __init__(self) -> None:
        self._delivered: set[TopicPartition] = set()
        self._failed: dict[TopicPartition, KafkaError] = {}

    def on_delivery(self, error: KafkaError | None, message: Message) -> None:
        """Note one report."""
        place = (message.topic() or "", message.partition() or 0)
        if error is None:
            self._delivered.add(place)
        elif error.code() not in _PURGED:
            self._failed.setdefault(place, error)

    def refusal(self) -> LogError | None:
        """The partition or the record that was refused; None if none can be named.

        A partition that gives no answer counts as refused only if another one did accept records: otherwise the broker
        is away."""
        for (topic, partition), error in self._failed.items():
            where = f"{topic}[{partition}] refused a record: {error.str()} ({error.name()})"
            if error.code() in _OF_THE_RECORD:
                return RecordRefused(where)
            if error.code() in OF_THE_TOPIC or (self._delivered and (topic, partition) not in self._delivered):
                return TopicRefused(where, topic=topic, partition=partition)
        return None


Unwritable = Callable[[Collection[str]], Collection[str]]
"""Those of the topics that this program may not write."""


def unauthorised(topics: Collection[str], unwritable: Unwritable) -> TopicRefused | None:
    """The refusal for a topic that this program may not write, which the broker does not name; None without one."""
    for topic in unwritable(topics):
        return TopicRefused(f"this program may not write {topic}: grant its principal Write there", topic=topic)
    return None
