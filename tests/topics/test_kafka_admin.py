"""Tests of topic administration on Kafka, with and without a reachable broker."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError, Producer

from penstock.schemas.errors import LogUnavailable, OffsetOutOfRange, PenstockError, RecordTooLarge, UnknownTopic
from penstock.topics.catalogue import Topics, specs
from penstock.topics.kafka import KafkaLog, admin
from penstock.topics.kafka.faults import LibrdkafkaLog, Watch, plain_failure
from penstock.topics.log import Record, TopicSpec
from tests.contract.log_tools import WAIT_S, everything, make_topic, publish, unique, values, wait_for

NO_BROKER = "127.0.0.1:1"


@pytest.fixture
def kafka(kafka_bootstrap: str) -> Iterator[KafkaLog]:
    """The broker as a log."""
    log = KafkaLog(kafka_bootstrap)
    yield log
    log.close()


@pytest.mark.parametrize(
    "ask",
    [
        lambda log: log.describe(),
        lambda log: log.create([TopicSpec("topic", 1, {})]),
        lambda log: log.configure("topic", {"retention.ms": "1"}),
        lambda log: log.ends([("topic", 0)]),
        lambda log: log.trim({("topic", 0): 1}),
        lambda log: list(log.read_to_end("topic", 0, 0, 1.0)),
        lambda log: log.join("group", ["topic"], None),
        lambda log: log.publisher().send(Record("topic", 0, None, b"x")),
    ],
    ids=["describe", "create", "configure", "ends", "trim", "read_to_end", "join", "send"],
)
def test_without_a_broker_every_request_is_unavailable(ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request raises LogUnavailable, which names the address and what to do."""
    monkeypatch.setattr(admin, "ANSWER_TIMEOUT_S", 0.3)
    expected = rf"no Kafka broker answers at {NO_BROKER}; start one \(docker compose up -d\) or set PENSTOCK_LOG"
    with pytest.raises(LogUnavailable, match=expected):
        ask(KafkaLog(NO_BROKER))


def test_kafkas_own_topics_are_not_described(kafka: KafkaLog) -> None:
    """`describe` of everything leaves out the broker's internal topics."""
    make_topic(kafka)
    assert not [name for name in kafka.describe() if name.startswith("__")]


def test_a_created_topic_can_be_used_at_once(kafka: KafkaLog) -> None:
    """Right after `create` returns, its partitions can be asked for their ends and written, many topics at a time."""
    topics = [unique("many") for _ in range(8)]
    kafka.create([TopicSpec(topic, 3, {}) for topic in topics])
    partitions = [(topic, number) for topic in topics for number in range(3)]
    assert kafka.ends(partitions) == dict.fromkeys(partitions, (0, 0))
    for topic in topics:
        publish(kafka, topic, [b"x"], 2)


def test_copies_are_made_as_asked(kafka: KafkaLog) -> None:
    """A topic gets the replicas of its spec, and `describe` counts them; too few brokers are an error at once."""
    kafka.create([TopicSpec(one := unique("copies"), 2, {}, replication=1)])
    assert kafka.describe([one])[one].replication == 1
    with pytest.raises(PenstockError, match="replica"):
        kafka.create([TopicSpec(unique("copies"), 1, {}, replication=9)])


def test_a_raised_limit_is_noticed_despite_the_cache(kafka: KafkaLog, kafka_bootstrap: str) -> None:
    """A record that was too large is accepted once another client has raised the topic's limit."""
    topic = make_topic(kafka, max_message_bytes="20000")
    other = KafkaLog(kafka_bootstrap)
    publish(other, topic, [b"small"])
    publisher = other.publisher()
    with pytest.raises(RecordTooLarge, match="30,000 bytes exceeds the limit"):
        publisher.send(Record(topic, 0, None, b"x" * 30_000))
    kafka.configure(topic, {"max.message.bytes": "40000"})

    def accepted() -> bool:
        try:
            publisher.send(Record(topic, 0, None, b"x" * 30_000))
        except RecordTooLarge:
            return False
        return True

    wait_for("the new limit", accepted, lambda: time.sleep(0.05))
    publisher.flush(WAIT_S)
    publisher.close()
    assert [len(value or b"") for value in values(everything(other, topic))] == [5, 30_000]


def test_a_record_of_just_the_limit_is_taken(kafka: KafkaLog) -> None:
    """A record that `send` accepts is accepted by the broker as well, up to the last byte of the limit."""
    topic = make_topic(kafka, max_message_bytes="20000")
    publisher = kafka.publisher()
    size = 19_910
    while True:
        try:
            publisher.send(Record(topic, 0, b"key", b"x" * size))
            break
        except RecordTooLarge:
            size -= 1
    publisher.flush(WAIT_S)
    publisher.close()
    assert size > 19_000
    assert len(everything(kafka, topic)) == 1


def test_trimming_beyond_the_end_is_refused(kafka: KafkaLog) -> None:
    """`trim` above the next offset raises OffsetOutOfRange and deletes nothing."""
    topic = make_topic(kafka)
    publish(kafka, topic, [b"0"])
    with pytest.raises(OffsetOutOfRange):
        kafka.trim({(topic, 0): 9})
    assert kafka.ends([(topic, 0)]) == {(topic, 0): (0, 1)}


def test_a_failing_callback_does_not_silence_the_publisher(kafka: KafkaLog) -> None:
    """If one `on_done` raises, the others are still called."""
    topic = make_topic(kafka)
    publisher = kafka.publisher()
    done = threading.Event()

    def fail(error: Exception | None) -> None:
        raise RuntimeError("on purpose")

    publisher.send(Record(topic, 0, None, b"0"), fail)
    wait_for("the record", lambda: kafka.ends([(topic, 0)])[topic, 0][1] == 1, lambda: time.sleep(0.02))
    publisher.send(Record(topic, 0, None, b"1"), lambda error: done.set())
    assert done.wait(WAIT_S), f"waited {WAIT_S:g} s for the second callback"
    publisher.close()


def test_an_outage_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Many reports of an absent broker make one warning, and its return makes one more."""
    watch = Watch("127.0.0.1:9092")
    away = KafkaError(KafkaError._ALL_BROKERS_DOWN)
    with caplog.at_level(logging.INFO, "penstock.kafka"):
        for _ in range(5):
            watch.on_error(away)
        watch.note_answer()
        watch.note_answer()
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "no Kafka broker answers" in caplog.text
    assert "answers again" in caplog.text
    assert watch.troubles == 5


def test_a_refusal_of_the_broker_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """That a broker refuses a client's credentials is a warning, once until it answers; what passes is none."""
    watch = Watch("127.0.0.1:9092")
    with caplog.at_level(logging.INFO, "penstock.kafka"):
        for code in (KafkaError._AUTHENTICATION, KafkaError._AUTHENTICATION, KafkaError._TRANSPORT):
            watch.on_error(KafkaError(code))
        watch.note_answer()
        watch.on_error(KafkaError(KafkaError._AUTHENTICATION))
    assert len(caplog.records) == 2
    assert "the Kafka broker at 127.0.0.1:9092 refuses this client" in caplog.text


def test_librdkafkas_lines_are_debug_where_penstock_reports(caplog: pytest.LogCaptureFixture) -> None:
    """Connection failures come at DEBUG, other lines at the level they have."""
    with caplog.at_level(logging.DEBUG, "penstock.kafka"):
        LibrdkafkaLog().log(logging.ERROR, "%s [%s] %s", "FAIL", "client", "connection refused")
        LibrdkafkaLog().log(logging.WARNING, "%s [%s] %s", "SOMETHING", "client", "else")
    assert [record.levelname for record in caplog.records] == ["DEBUG", "WARNING"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (KafkaError._MSG_TIMED_OUT, LogUnavailable),
        (KafkaError.MSG_SIZE_TOO_LARGE, RecordTooLarge),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, UnknownTopic),
        (KafkaError.OFFSET_OUT_OF_RANGE, OffsetOutOfRange),
    ],
)
def test_kafkas_codes_have_our_names(code: int, expected: type[Exception]) -> None:
    """An error outside of transactions becomes the corresponding LogError."""
    assert type(plain_failure(KafkaError(code), NO_BROKER, "problem")) is expected


@pytest.mark.parametrize("off_ms", [2 * 3_600_000, -8 * 86_400_000], ids=["two hours ahead", "eight days back"])
def test_a_producers_clock_neither_refuses_nor_expires_a_task(
    kafka: KafkaLog, kafka_bootstrap: str, off_ms: int
) -> None:
    """A task topic takes a record whatever its producer's clock says, and stamps it with the broker's time."""
    topics = Topics(unique("clock"))
    spec = specs(topics, 1, ["default"])[-1]
    kafka.create([spec])
    began_ms = time.time_ns() // 1_000_000
    refusals: list[KafkaError | None] = []
    producer = Producer({"bootstrap.servers": kafka_bootstrap})
    producer.produce(
        spec.name,
        b"task",
        timestamp=began_ms + off_ms,
        on_delivery=lambda error, _: refusals.append(error),
        partition=0,
    )
    producer.flush(WAIT_S)
    assert refusals == [None]
    (record,) = everything(kafka, spec.name)
    assert abs(record.timestamp_ms - began_ms) < 60_000
