"""Tests of a broker that stalls, dies and restarts, on a broker of their own.

These tests wait for real timeouts and are slow, so there are few of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from penstock.schemas.errors import Fenced, LogUnavailable, OutcomeUnknown, TransactionAborted
from penstock.topics.kafka import KafkaLog, admin, member
from penstock.topics.log import CommittedOffset, Record
from tests.contract.log_tools import (
    WAIT_S,
    Seat,
    begin_with,
    everything,
    make_topic,
    publish,
    recovered,
    unique,
    values,
    wait_for,
)
from tests.kafka_broker import Broker


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    """A broker for these tests only."""
    with Broker() as started:
        yield started


@pytest.fixture
def kafka(broker: Broker) -> Iterator[KafkaLog]:
    """The broker as a log."""
    log = KafkaLog(broker.bootstrap)
    yield log
    log.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timeouts that the caller does not choose, shortened to a second."""
    monkeypatch.setattr(admin, "ANSWER_TIMEOUT_S", 1.0)
    monkeypatch.setattr(member, "COMMIT_TIMEOUT_S", 1.0)
    monkeypatch.setattr(member, "CLOSE_TIMEOUT_S", 1.0)


class _Reader(Seat):
    """Reads its one partition, whenever it is granted, from the first record that it has not seen."""

    def granted(self, partitions) -> None:
        super().granted(partitions)
        self.member.start({partition: len(self.received) for partition in partitions})


@pytest.mark.usefixtures("impatient")
def test_nothing_waits_for_ever_while_the_broker_stalls(broker: Broker, kafka: KafkaLog) -> None:
    """With the broker frozen each wait ends as LogUnavailable or empty; after it thaws the same objects go on."""
    topic = make_topic(kafka)
    publish(kafka, topic, [b"before"])
    seat, leaving = _Reader(kafka, unique("group"), [topic]), Seat(kafka, unique("group"), [topic])
    seat.until_received(1)
    leaving.until_granted(1)
    waits: list[Callable[[], object]] = [
        lambda: kafka.describe([topic]),
        lambda: kafka.ends([(topic, 0)]),
        lambda: list(kafka.read_to_end(topic, 0, 0, 1.0)),
        lambda: seat.member.commit({(topic, 0): CommittedOffset(1)}),
        lambda: seat.member.committed([(topic, 0)], 1.0),
        lambda: leaving.member.commit({(topic, 0): CommittedOffset(1)}),
        lambda: kafka.transactor(unique("slot")).recover(1.0),
    ]
    broker.pause()
    try:
        for wait in waits:
            with pytest.raises(LogUnavailable):
                wait()
        assert seat.poll(timeout_s=0.2) == []
        seat.member.start({(topic, 0): 1})  # assigned once the commit has ended
        leaving.member.close()
        assert leaving.held == set()
    finally:
        broker.resume()
    publish(kafka, topic, [b"after"])
    seat.until_received(2)
    assert values(seat.received) == [b"before", b"after"]
    seat.member.close()


def test_a_commit_through_a_stall_is_whole(broker: Broker, kafka: KafkaLog) -> None:
    """A commit during which the broker stalls returns when it thaws, and so does the next, by a new producer."""
    topic = make_topic(kafka, partitions=2)
    transactor = recovered(kafka)
    begin_with(transactor, topic, b"stalled", partitions=2)
    broker.pause()
    thaw = threading.Timer(1.5, broker.resume)
    thaw.start()
    transactor.commit()
    thaw.join()
    begin_with(transactor, topic, b"next", partitions=2)
    transactor.commit()
    for partition in (0, 1):
        assert values(everything(kafka, topic, partition)) == [b"stalled", b"next"]
    transactor.close()


def test_a_broker_killed_in_mid_transaction_leaves_all_or_nothing(broker: Broker, kafka: KafkaLog) -> None:
    """Whatever `commit` raised at the broker's restart, after `recover` both partitions have the record or neither."""
    topic = make_topic(kafka, partitions=2)
    transactor = recovered(kafka)
    begin_with(transactor, topic, b"first", partitions=2)
    transactor.commit()
    begin_with(transactor, topic, b"second", partitions=2)
    outcomes: list[str] = []

    def commit() -> None:
        try:
            transactor.commit()
            outcomes.append("committed")
        except (TransactionAborted, Fenced, OutcomeUnknown) as error:
            outcomes.append(type(error).__name__)

    thread = threading.Thread(target=commit)
    broker.kill()
    thread.start()
    broker.start()
    thread.join(WAIT_S)
    assert not thread.is_alive(), f"waited {WAIT_S:g} s for the commit"
    transactor.recover(WAIT_S)
    begin_with(transactor, topic, b"third", partitions=2)
    transactor.commit()
    left, right = (values(everything(kafka, topic, partition)) for partition in (0, 1))
    assert left == right
    assert [value for value in left if value != b"second"] == [b"first", b"third"]
    assert (b"second" in left) or outcomes != ["committed"]
    transactor.close()


def test_a_publisher_outlives_its_broker_without_loss_or_repetition(broker: Broker, kafka: KafkaLog) -> None:
    """Records sent before, during and after a restart are each acknowledged and lie there once, in order."""
    topic = make_topic(kafka)
    publisher = kafka.publisher()
    answers: list[Exception | None] = []
    for number in range(100):
        publisher.send(Record(topic, 0, None, b"%d" % number), answers.append)
    broker.kill()
    for number in range(100, 200):
        publisher.send(Record(topic, 0, None, b"%d" % number), answers.append)
    broker.start()
    for number in range(200, 300):
        publisher.send(Record(topic, 0, None, b"%d" % number), answers.append)
    publisher.flush(WAIT_S)
    publisher.close()
    assert answers == [None] * 300
    assert values(everything(kafka, topic)) == [b"%d" % number for number in range(300)]


def test_a_member_outlives_its_broker(broker: Broker, kafka: KafkaLog) -> None:
    """After a restart a member holds its partitions again and continues from its start offsets."""
    topic = make_topic(kafka)

    seat = _Reader(kafka, unique("group"), [topic])
    seat.until_granted(1)
    publish(kafka, topic, [b"0", b"1"])
    seat.until_received(2)
    broker.kill()
    assert seat.poll(timeout_s=0.3) == []
    broker.start()
    publish(kafka, topic, [b"2"])
    seat.until_received(3)
    assert values(seat.received) == [b"0", b"1", b"2"]
    seat.member.close()


def test_a_member_takes_its_place_again_without_a_rebalance(broker: Broker) -> None:
    """A member that was out of contact for longer than a session holds its partitions again in the same generation.

    Otherwise the group would wait for the end of the session of the member that it was before."""
    impatient = KafkaLog(broker.bootstrap, {"session.timeout.ms": "6000"})
    seat = _Reader(impatient, unique("group"), [make_topic(impatient)])
    seat.until_granted(1)
    name, generation = seat.member.name, _generation(seat)
    broker.kill()
    wait_for("the session to end", lambda: not seat.held, seat.poll)
    broker.start()
    seat.until_granted(1)
    assert (seat.member.name != name, _generation(seat)) == (True, generation)
    seat.member.close()
    impatient.close()


def _generation(seat: Seat) -> int:
    metadata = seat.member.group_metadata(seat.held)
    return int(member._METADATA_HEAD.unpack_from(metadata)[1])


def test_topics_can_be_asked_and_trimmed_after_a_restart(broker: Broker, kafka: KafkaLog) -> None:
    """After a restart every partition's leader has a new epoch; clients with the previous one refresh it."""
    topic = make_topic(kafka)
    publish(kafka, topic, [b"0", b"1"])
    assert kafka.ends([(topic, 0)]) == {(topic, 0): (0, 2)}
    broker.kill()
    broker.start()
    assert kafka.ends([(topic, 0)]) == {(topic, 0): (0, 2)}
    assert values(everything(kafka, topic)) == [b"0", b"1"]
    kafka.trim({(topic, 0): 1})
    assert kafka.ends([(topic, 0)]) == {(topic, 0): (1, 2)}
