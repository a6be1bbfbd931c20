"""Tests of group members on Kafka beyond the common contract."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator, Sequence

import pytest
from confluent_kafka import Consumer

from penstock.schemas.errors import Fenced, LogUnavailable, OffsetOutOfRange, TopicMismatch, UnknownTopic
from penstock.topics.kafka import KafkaLog, troubles
from penstock.topics.log import CommittedOffset, Record, TopicPartition
from tests.contract.log_tools import (
    WAIT_S,
    Seat,
    make_topic,
    publish,
    recovered,
    seated,
    settle,
    unique,
    values,
    wait_for,
)
from tests.kafka_broker import allow_reads, deny_reads

RECORDS = 2_000


@pytest.fixture
def kafka(kafka_bootstrap: str) -> Iterator[KafkaLog]:
    """The broker as a log."""
    log = KafkaLog(kafka_bootstrap)
    yield log
    log.close()


def test_no_stale_record_is_delivered_after_a_seek(kafka: KafkaLog) -> None:
    """After `start`, delivery begins at the offset set, whatever was fetched before, and continues in order."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    topic = make_topic(kafka, partitions=2)
    for partition in (0, 1):
        publish(kafka, topic, (b"%d" % number for number in range(RECORDS)), partition)
    seat = seated(kafka, topic, partitions=2)
    expected = {0: 0, 1: 0}
    seat.member.start({(topic, partition): offset for partition, offset in expected.items()})
    for _ in range(60):
        for record in seat.poll(chance.choice((1, 7, 500)), chance.choice((0.0, 0.01, 0.05))):
            assert (record.partition, record.offset) == (record.partition, expected[record.partition])
            expected[record.partition] = record.offset + 1
        partition = chance.choice((0, 1))
        what = chance.choice(("start", "pause", "resume", "nothing"))
        if what == "start":
            expected[partition] = chance.randrange(RECORDS)
            seat.member.start({(topic, partition): expected[partition]})
        elif what == "pause":
            seat.member.pause([(topic, partition)])
        elif what == "resume":
            seat.member.resume([(topic, partition)])
    seat.member.resume([(topic, 0), (topic, 1)])

    def step() -> None:
        for record in seat.poll(500):
            assert record.offset == expected[record.partition]
            expected[record.partition] = record.offset + 1

    wait_for("the ends", lambda: expected == {0: RECORDS, 1: RECORDS}, step)
    seat.member.close()


def test_a_paused_partition_stays_paused_when_another_starts(kafka: KafkaLog) -> None:
    """`start` of one partition neither resumes nor moves a paused one."""
    topic = make_topic(kafka, partitions=2)
    publish(kafka, topic, [b"a0", b"a1"], 0)
    publish(kafka, topic, [b"b0"], 1)
    seat = seated(kafka, topic, partitions=2)
    seat.member.start({(topic, 0): 1})
    seat.member.pause([(topic, 0)])
    seat.member.start({(topic, 1): 0})
    seat.until_received(1)
    seat.poll(timeout_s=0.5)
    assert values(seat.received) == [b"b0"]
    seat.member.resume([(topic, 0)])
    seat.until_received(2)
    assert values(seat.received) == [b"b0", b"a1"]
    seat.member.close()


def test_offsets_and_the_widest_metadata_come_back(kafka: KafkaLog) -> None:
    """4,095 characters of metadata, the most that Kafka takes by default, survive `commit` and `committed`."""
    topic = make_topic(kafka)
    seat = seated(kafka, topic)
    bitmap = "".join(chr(33 + number % 90) for number in range(4_095))
    seat.member.commit({(topic, 0): CommittedOffset(5, bitmap)})
    assert seat.member.committed([(topic, 0)], WAIT_S) == {(topic, 0): CommittedOffset(5, bitmap)}
    seat.member.close()


def test_a_member_may_commit_inside_of_its_listener(kafka: KafkaLog) -> None:
    """`commit` and `committed` work in `released` and `granted`, also when these are called from within a poll."""
    topic, group = make_topic(kafka, partitions=2), unique("group")
    seen: list[dict[int, int]] = []

    class Worker(Seat):
        def granted(self, partitions) -> None:
            super().granted(partitions)
            offsets = self.member.committed(partitions, WAIT_S)
            seen.append({number: committed.offset for (_, number), committed in offsets.items()})

        def released(self, partitions, *, lost) -> None:
            super().released(partitions, lost=lost)
            self.member.commit({partition: CommittedOffset(7 + partition[1]) for partition in partitions})

    first = Worker(kafka, group, [topic])
    first.until_granted(2)
    second = Worker(kafka, group, [topic])
    settle("one partition each", [first, second], lambda: len(first.held) == len(second.held) == 1)
    assert seen[0] == {}
    assert sorted(seen[-2:], key=str) == [{0: 7}, {1: 8}]
    first.member.close()
    second.member.close()


def test_a_member_that_did_not_poll_in_time_has_lost_everything(kafka_bootstrap: str) -> None:
    """After the poll timeout its partitions are released as lost, and its commits and transactions are fenced."""
    log = KafkaLog(kafka_bootstrap, {"session.timeout.ms": "6000", "max.poll.interval.ms": "6000"})
    topic, group = make_topic(log), unique("group")
    silent = seated(log, topic, group=group)
    transactor = recovered(log)
    heir = Seat(log, group, [topic])
    settle("the heir to have joined", [heir], lambda: len(heir.held) == 1)  # only the heir polls
    with pytest.raises(Fenced):
        silent.member.commit({(topic, 0): CommittedOffset(1)})
    transactor.begin()
    with pytest.raises(Fenced):
        transactor.offsets({(topic, 0): CommittedOffset(1)}, silent.member)
    transactor.abort()
    assert silent.lost == set()
    wait_for("the release of the silent member's partitions", lambda: bool(silent.lost), silent.poll)
    assert heir.member.committed([(topic, 0)], WAIT_S) == {}
    heir.member.close()
    silent.member.close()
    transactor.close()


class _Eager(Seat):
    """Reads its partition, whenever it is granted, from the first record that it has not seen."""

    def granted(self, partitions: Sequence[TopicPartition]) -> None:
        super().granted(partitions)
        self.member.start({partition: len(self.received) for partition in partitions})


def test_a_member_that_closed_is_not_in_its_group(kafka: KafkaLog) -> None:
    """A member leaves its group when it is closed, though librdkafka keeps a static member in it."""
    group, topic = unique("group"), make_topic(kafka)
    seat = seated(kafka, topic, group=group)
    assert kafka.members(group) == {seat.member.name}
    seat.member.close()
    assert kafka.members(group) == frozenset()


def test_a_commit_after_a_fatal_error_is_fenced(kafka: KafkaLog, kafka_bootstrap: str) -> None:
    """A member that commits before it polls, as a worker does, is told that it has lost its partitions, and goes on."""
    topic, group = make_topic(kafka), unique("group")
    publish(kafka, topic, [b"before"])
    seat = _Eager(kafka, group, [topic])
    seat.until_received(1)
    _take_the_place_of(seat, group, topic, kafka_bootstrap)
    seat.member._watch.fatal = None
    with pytest.raises(Fenced):
        for _ in range(200):
            seat.member.commit({(topic, 0): CommittedOffset(1)})
            time.sleep(0.05)
    publish(kafka, topic, [b"after"])
    seat.until_received(2)
    assert values(seat.received) == [b"before", b"after"]
    seat.member.close()


def test_a_member_goes_on_after_a_fatal_error(kafka: KafkaLog, kafka_bootstrap: str) -> None:
    """A member whose consumer was fenced for good goes on by another one; its partitions were released as lost."""
    topic, group = make_topic(kafka), unique("group")
    publish(kafka, topic, [b"before"])
    seat = _Eager(kafka, group, [topic])
    seat.until_received(1)
    _take_the_place_of(seat, group, topic, kafka_bootstrap)
    publish(kafka, topic, [b"after"])
    seat.until_received(2)
    assert values(seat.received) == [b"before", b"after"]
    wait_for("the fatal error", lambda: bool(seat.lost), seat.poll)  # one that is fenced may read for a while
    assert seat.lost == {(topic, 0)}
    seat.member.close()
    assert kafka.members(group) == frozenset()


def _take_the_place_of(seat: Seat, group: str, topic: str, bootstrap: str) -> None:
    """Let another consumer join as the same static member, whose name its member id begins with."""
    instance = seat.member.name.partition("-")[0]
    other = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "group.instance.id": instance})
    other.subscribe([topic])
    wait_for("the other consumer to be granted", lambda: bool(other.assignment()), lambda: other.poll(0.1))
    other.close()


def test_a_position_outside_of_the_log_is_named(kafka: KafkaLog) -> None:
    """OffsetOutOfRange names topic, partition and offset, and is raised after earlier records were delivered."""
    topic = make_topic(kafka, partitions=2)
    publish(kafka, topic, [b"good"], 0)
    seat = seated(kafka, topic, partitions=2)
    seat.member.start({(topic, 0): 0, (topic, 1): 17})
    with pytest.raises(OffsetOutOfRange, match=rf"{topic}\[1\]@17"):
        wait_for("OffsetOutOfRange", lambda: False, seat.poll)
    seat.member.start({(topic, 1): 0})
    publish(kafka, topic, [b"valid"], 1)
    seat.until_received(2)
    assert sorted(value or b"" for value in values(seat.received)) == [b"good", b"valid"]
    seat.member.close()


def test_a_member_that_may_not_read_says_so_while_that_lasts(
    kafka: KafkaLog, kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll raises LogUnavailable with the partition and the remedy, again and again; then delivery goes on."""
    monkeypatch.setattr(troubles, "REPEAT_S", 0.5)
    topic = make_topic(kafka)
    publish(kafka, topic, [b"one"])
    seat = seated(kafka, topic)
    seat.member.start({(topic, 0): 0})
    seat.until_received(1)
    deny_reads(kafka_bootstrap, topic)
    try:
        for _ in range(2):
            with pytest.raises(LogUnavailable, match=rf"{topic}\[0\] cannot be read: .* right to read the topic"):
                wait_for("the refusal", lambda: False, seat.poll)
    finally:
        allow_reads(kafka_bootstrap, topic)
    publish(kafka, topic, [b"two"])

    def poll() -> None:
        with contextlib.suppress(LogUnavailable):  # the last refusal
            seat.poll()

    wait_for("the second record", lambda: len(seat.received) == 2, poll)
    assert values(seat.received) == [b"one", b"two"]
    seat.member.close()


def test_joining_wants_topics_that_exist_and_match(kafka: KafkaLog) -> None:
    """A missing topic is UnknownTopic and unequal partitions are TopicMismatch, before the group is joined."""
    small, large = make_topic(kafka, partitions=1), make_topic(kafka, partitions=2)
    with pytest.raises(UnknownTopic):
        Seat(kafka, unique("group"), [small, unique("absent")])
    with pytest.raises(TopicMismatch):
        Seat(kafka, unique("group"), [small, large])


def test_only_partitions_held_can_be_started_and_committed(kafka: KafkaLog) -> None:
    """Partitions that the member does not hold are refused as Fenced, without a request to the broker."""
    topic = make_topic(kafka)
    seat = Seat(kafka, unique("group"), [topic])
    with pytest.raises(Fenced):
        seat.member.start({(topic, 0): 0})
    with pytest.raises(Fenced):
        seat.member.commit({(topic, 0): CommittedOffset(0)})
    seat.member.close()
    seat.member.close()


def test_a_record_wakes_a_waiting_poll_though_more_were_asked_for(kafka: KafkaLog) -> None:
    """One record ends a poll for thousands before its timeout."""
    topic = make_topic(kafka)
    seat = seated(kafka, topic)
    seat.member.start({(topic, 0): 0})
    publisher = kafka.publisher()
    publisher.send(Record(topic, 0, None, b"one"))
    began = time.monotonic()
    assert values(seat.member.poll(10_000, WAIT_S)) == [b"one"]
    assert time.monotonic() - began < WAIT_S / 2
    publisher.close()
    seat.member.close()
