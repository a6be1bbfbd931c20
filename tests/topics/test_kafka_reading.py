"""Tests of what a consumer's errors become: raised with a sentence, or left to librdkafka."""

from __future__ import annotations

from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, Message

from penstock.schemas.errors import LogUnavailable, OffsetOutOfRange, UnknownTopic
from penstock.topics.kafka.reading import first_failure

BROKER = "127.0.0.1:9092"


class Report:
    """A message that reports an error."""

    def __init__(self, code: int, topic: str | None = "orders", *, fatal: bool = False) -> None:
        self._error = KafkaError(code, None, fatal)
        self._topic = topic

    def error(self) -> KafkaError:
        return self._error

    def topic(self) -> str | None:
        return self._topic

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return 7


def failure_of(*reports: Report) -> Any:
    return first_failure(cast("list[Message]", list(reports)), BROKER)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
            r"orders\[3\] cannot be read: .*; give .* right to read the topic",
        ),
        (
            KafkaError.KAFKA_STORAGE_ERROR,
            r"orders\[3\] cannot be read: .* \(KAFKA_STORAGE_ERROR\); the broker",
        ),
        (KafkaError._BAD_COMPRESSION, r"orders\[3\] cannot be read: "),
        (KafkaError.UNKNOWN, r"orders\[3\] cannot be read: "),
    ],
)
def test_an_unknown_error_is_unavailable(code: int, expected: str) -> None:
    """An error that librdkafka does not resolve becomes LogUnavailable, which names the partition and what to do."""
    with pytest.raises(LogUnavailable, match=expected):
        raise failure_of(Report(code))


def test_an_error_of_the_group_names_the_group() -> None:
    """An error without a topic is one of the consumer group."""
    with pytest.raises(LogUnavailable, match="the consumer group cannot be read: .* right to read the group"):
        raise failure_of(Report(KafkaError.GROUP_AUTHORIZATION_FAILED, None))


@pytest.mark.parametrize(
    "code",
    [
        KafkaError._PARTITION_EOF,
        KafkaError._TRANSPORT,
        KafkaError._MAX_POLL_EXCEEDED,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.FETCH_SESSION_ID_NOT_FOUND,
    ],
)
def test_what_passes_is_left_to_librdkafka(code: int) -> None:
    """Ends of partitions, lost connections, moving leaders and rebalances are no failures."""
    assert failure_of(Report(code)) is None


def test_the_first_failure_counts() -> None:
    """What passes is skipped; a known failure keeps its name."""
    assert type(failure_of(Report(KafkaError._TRANSPORT), Report(KafkaError._AUTO_OFFSET_RESET))) is OffsetOutOfRange
    assert type(failure_of(Report(KafkaError._UNKNOWN_TOPIC), Report(KafkaError.UNKNOWN))) is UnknownTopic
