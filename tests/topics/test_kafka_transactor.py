"""Tests of Kafka's transactions beyond the common contract: fencing, timeouts, replaced producers."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from penstock.schemas.errors import (
    Fenced,
    LogError,
    LogUnavailable,
    OutcomeUnknown,
    RecordRefused,
    TopicRefused,
    TransactionAborted,
    UnknownTopic,
)
from penstock.topics.kafka import KafkaLog, settings
from penstock.topics.kafka import transactor as transactor_module
from penstock.topics.kafka.admin import Admin
from penstock.topics.kafka.faults import Watch
from penstock.topics.kafka.transactor import KafkaTransactor
from penstock.topics.log import CommittedOffset, Record
from tests.contract.log_tools import (
    WAIT_S,
    begin_with,
    everything,
    make_topic,
    publish,
    recovered,
    seated,
    unique,
    values,
    wait_for,
)
from tests.kafka_broker import deny_writes


@pytest.fixture
def kafka(kafka_bootstrap: str) -> Iterator[KafkaLog]:
    """The broker as a log."""
    log = KafkaLog(kafka_bootstrap)
    yield log
    log.close()


def test_a_zombie_stays_fenced(kafka: KafkaLog) -> None:
    """After another recovered its id, a transactor can neither commit nor abort nor begin again, until it recovers."""
    topic, slot = make_topic(kafka), unique("slot")
    zombie = recovered(kafka, slot)
    begin_with(zombie, topic, b"zombie")
    successor = recovered(kafka, slot)
    for step in (zombie.commit, zombie.abort, zombie.begin):
        with pytest.raises((Fenced, OutcomeUnknown)):
            step()
    begin_with(successor, topic, b"successor")
    successor.commit()
    assert values(everything(kafka, topic)) == [b"successor"]
    zombie.recover(WAIT_S)
    begin_with(zombie, topic, b"recovered")
    zombie.commit()
    assert values(everything(kafka, topic)) == [b"successor", b"recovered"]
    zombie.close()
    successor.close()


@pytest.mark.parametrize("count", [1, 50, 2_000])
def test_a_transactor_fenced_before_it_begins_says_so(kafka: KafkaLog, count: int) -> None:
    """Steps of a fenced transactor raise errors of the log, whatever reports arrive in between, and it recovers."""
    topic, slot = make_topic(kafka), unique("slot")
    seat = seated(kafka, topic)
    for _ in range(3):
        zombie = recovered(kafka, slot)
        recovered(kafka, slot).close()
        with pytest.raises((Fenced, OutcomeUnknown, TransactionAborted)):
            zombie.begin()
            zombie.produce([Record(topic, 0, b"key", b"zombie" * 30)] * count, frozenset({(topic, 0)}))
            zombie.offsets({(topic, 0): CommittedOffset(1)}, seat.member)
            zombie.commit()
        with suppress(LogError):
            zombie.abort()
        zombie.recover(WAIT_S)
        zombie.close()
    seat.member.close()
    assert everything(kafka, topic) == []


def test_recovery_settles_at_once_what_a_killed_process_left_open(kafka: KafkaLog, kafka_bootstrap: str) -> None:
    """Readers get past a killed process's transaction once its id is recovered, long before it would time out."""
    topic, slot = make_topic(kafka), unique("slot")
    command = [sys.executable, "-m", "tests.topics.kafka_holder", kafka_bootstrap, topic, slot]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        holder.kill()
    publish(kafka, topic, [b"behind it"])
    with pytest.raises(LogUnavailable, match="transaction stays open"):
        list(kafka.read_to_end(topic, 0, 0, 0.5))
    recovered(kafka, slot).close()
    half_of_the_time_out_s = settings.TRANSACTION_TIMEOUT_MS / 2_000
    batches = list(kafka.read_to_end(topic, 0, 0, half_of_the_time_out_s))
    assert values(record for batch in batches for record in batch) == [b"behind it"]


def test_a_transaction_that_timed_out_is_settled_and_recovery_goes_on(kafka_bootstrap: str) -> None:
    """The commit of a transaction that timed out on the broker raises, it is not visible, and `recover` succeeds."""
    short = ("transaction.timeout.ms", "message.timeout.ms", "socket.timeout.ms")
    log = KafkaLog(kafka_bootstrap, dict.fromkeys(short, "1000"))
    topic = make_topic(log)
    transactor = recovered(log)
    begin_with(transactor, topic, b"too late")
    wait_for("the record to arrive", lambda: log.ends([(topic, 0)])[topic, 0][1] > 0, lambda: time.sleep(0.02))
    # A reader gets past it only after the broker's check for such transactions, by default every 10 s.
    assert everything(log, topic) == []
    with pytest.raises((Fenced, TransactionAborted, OutcomeUnknown)):
        transactor.commit()
    transactor.recover(WAIT_S)
    begin_with(transactor, topic, b"in time")
    transactor.commit()
    assert values(everything(log, topic)) == [b"in time"]
    transactor.close()


def test_an_unknown_topic_is_refused_before_anything_is_sent(kafka: KafkaLog) -> None:
    """The whole batch is checked first: nothing of it reaches the broker, not even as an aborted record."""
    topic = make_topic(kafka)
    transactor = recovered(kafka)
    transactor.begin()
    with pytest.raises(UnknownTopic, match="does not exist at .*run `penstock topics apply`"):
        transactor.produce([Record(topic, 0, None, b"good"), Record(unique("absent"), 0, None, b"bad")])
    transactor.abort()
    transactor.close()
    assert kafka.ends([(topic, 0)]) == {(topic, 0): (0, 0)}


def test_aborts_right_after_the_first_record_leave_nothing(kafka: KafkaLog) -> None:
    """Aborting while the first record is in flight (librdkafka #4849) succeeds, or says OutcomeUnknown and recovers."""
    topic = make_topic(kafka)
    transactor = recovered(kafka)
    for number in range(30):
        begin_with(transactor, topic, b"%d" % number)
        try:
            transactor.abort()
        except OutcomeUnknown:
            transactor.recover(WAIT_S)
    begin_with(transactor, topic, b"kept")
    transactor.commit()
    assert values(everything(kafka, topic)) == [b"kept"]
    transactor.close()


def test_a_transaction_larger_than_the_queue_goes_through(kafka_bootstrap: str) -> None:
    """When librdkafka's queue is full, `produce` waits for room and loses nothing."""
    log = KafkaLog(kafka_bootstrap, {"queue.buffering.max.messages": "100"})
    topic = make_topic(log)
    transactor = recovered(log)
    sent = [b"%d" % number for number in range(2_000)]
    transactor.begin()
    transactor.produce([Record(topic, 0, None, value) for value in sent], frozenset({(topic, 0)}))
    assert transactor.commit() == {(topic, 0): 2_000}
    assert values(everything(log, topic)) == sent
    transactor.close()


class _Counted:
    """Transactor whose producers are counted and whose watches can be given errors."""

    def __init__(self, bootstrap: str) -> None:
        self.watches: list[Watch] = []
        self._bootstrap = bootstrap
        self.transactor = KafkaTransactor(
            self._open, lambda record: None, lambda topics: [], unique("counted"), bootstrap
        )
        self.transactor.recover(WAIT_S)

    def _open(self, watch: Watch) -> Producer:
        self.watches.append(watch)
        return Producer(settings.transactional(self._bootstrap, {}, watch, "counted"))


def test_the_producer_is_replaced_after_a_doubtful_commit(kafka: KafkaLog, kafka_bootstrap: str) -> None:
    """After trouble with a connection in a commit, `begin` replaces the producer; after a calm commit it does not."""
    topic = make_topic(kafka)
    counted = _Counted(kafka_bootstrap)
    transactor = counted.transactor
    for value in (b"calm", b"calm too"):
        begin_with(transactor, topic, value)
        transactor.commit()
    assert len(counted.watches) == 1
    begin_with(transactor, topic, b"doubtful")
    counted.watches[0].troubles += 1
    transactor.commit()
    transactor.begin()
    assert len(counted.watches) == 2
    transactor.produce([Record(topic, 0, None, b"after")])
    transactor.commit()
    assert values(everything(kafka, topic)) == [b"calm", b"calm too", b"doubtful", b"after"]
    transactor.close()


class _Hung:
    """Producer whose commits wait for ever, as for a lost coordinator."""

    def __init__(self, producer: Producer, go_on: threading.Event) -> None:
        self._producer, self._go_on = producer, go_on
        self.ended: list[str] = []

    def __getattr__(self, name):
        return getattr(self._producer, name)

    def commit_transaction(self, timeout_s: float) -> None:
        assert self._go_on.wait(WAIT_S)
        try:
            self._producer.commit_transaction(timeout_s)
            self.ended.append("committed")
        except KafkaException:
            self.ended.append("refused")
            raise


def test_a_step_that_hangs_is_given_up(kafka: KafkaLog, kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that does not return is OutcomeUnknown; after `recover` it has no effect when it continues."""
    monkeypatch.setattr(transactor_module, "STEP_TIMEOUT_S", 0.2)
    topic, slot, go_on = make_topic(kafka), unique("hung"), threading.Event()
    hung: list[_Hung] = []

    def open_producer(watch: Watch) -> Any:
        producer = Producer(settings.transactional(kafka_bootstrap, {}, watch, slot))
        if hung:
            return producer
        hung.append(_Hung(producer, go_on))
        return hung[0]

    transactor = KafkaTransactor(open_producer, lambda record: None, lambda topics: [], slot, kafka_bootstrap)
    transactor.recover(WAIT_S)
    begin_with(transactor, topic, b"hung")
    with pytest.raises(OutcomeUnknown, match="recover before continuing"):
        transactor.commit()
    monkeypatch.undo()
    transactor.recover(WAIT_S)
    begin_with(transactor, topic, b"next")
    go_on.set()
    wait_for("the hung commit to end", lambda: hung[0].ended, lambda: time.sleep(0.02))
    transactor.commit()
    assert hung[0].ended == ["refused"]
    assert values(everything(kafka, topic)) == [b"next"]
    transactor.close()


@pytest.mark.parametrize(
    ("answers", "has_passed"),
    [
        ([True, True, True], False),  # a slow step of a broker that answers
        ([False, False, False], False),
        ([False, True, True], True),
    ],
)
def test_a_step_is_given_up_when_an_outage_has_passed(
    answers: list[bool], has_passed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that goes on after an outage is lost; a slow one, or one during the outage, is waited for."""
    monkeypatch.setattr(transactor_module, "ANSWERED_S", 0.0)
    looks = iter(answers)

    class Asked:
        def list_topics(self, timeout: float) -> None:
            if not next(looks):
                raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    outage = transactor_module.Outage(Asked())  # type: ignore[arg-type]
    assert [outage.has_passed() for _ in range(2)][-1] is has_passed


def test_a_producer_is_replaced_after_an_outage_between_transactions(kafka: KafkaLog, kafka_bootstrap: str) -> None:
    """A connection that failed since the last transaction leads to a new producer; without a failure it stays."""
    topic, slot, opened = make_topic(kafka), unique("idle"), []

    def open_producer(watch: Watch) -> Any:
        opened.append(watch)
        return Producer(settings.transactional(kafka_bootstrap, {}, watch, slot))

    transactor = KafkaTransactor(open_producer, lambda record: None, lambda topics: [], slot, kafka_bootstrap)
    transactor.recover(WAIT_S)
    counts = []
    for value in (b"first", b"second", b"third"):
        begin_with(transactor, topic, value)
        transactor.commit()
        counts.append(len(opened))
        if value == b"second":
            opened[-1].on_error(KafkaError(KafkaError._TRANSPORT))
    assert counts == [1, 1, 2]
    transactor.close()


def _impatient(bootstrap: str, slot: str) -> KafkaTransactor:
    """A transactor that gives up on a record after two seconds."""
    timeouts = {"message.timeout.ms": 2_000, "request.timeout.ms": 1_000}
    transactor = KafkaTransactor(
        lambda watch: Producer({**settings.transactional(bootstrap, {}, watch, slot), **timeouts}),
        lambda record: None,
        Admin(bootstrap, {}).unwritable,
        slot,
        bootstrap,
    )
    transactor.recover(WAIT_S)
    return transactor


def _failure(transactor: KafkaTransactor, *records: Record) -> LogError | None:
    """What keeps these records from committing; aborted or recovered afterwards."""
    try:
        transactor.begin()
        transactor.produce(records)
        transactor.commit()
    except OutcomeUnknown as error:
        transactor.recover(WAIT_S)
        return error
    except LogError as error:
        transactor.abort()
        return error
    return None


def test_a_topic_that_refuses_records_is_named(kafka: KafkaLog, kafka_bootstrap: str) -> None:
    """If one topic of a transaction takes no records, the second attempt names it; without it, the others commit."""
    good, bad = make_topic(kafka), make_topic(kafka)
    deny_writes(kafka_bootstrap, bad)
    transactor = _impatient(kafka_bootstrap, unique("refused"))
    both = Record(good, 0, None, b"good"), Record(bad, 0, None, b"bad")
    failures = [_failure(transactor, *both) for _ in range(2)]
    assert isinstance(failures[1], TopicRefused), failures
    assert failures[1].topic == bad
    assert _failure(transactor, both[0]) is None
    transactor.close()


def test_a_record_that_is_refused_is_told_from_its_topic(kafka: KafkaLog, kafka_bootstrap: str) -> None:
    """A record that its topic refuses for its size raises RecordRefused, at the second attempt at the latest."""
    good, bad = make_topic(kafka), make_topic(kafka)
    kafka.configure(bad, {"max.message.bytes": "200"})
    transactor = _impatient(kafka_bootstrap, unique("refused"))
    both = Record(good, 0, None, b"good"), Record(bad, 0, None, b"x" * 1_000)
    failures = [_failure(transactor, *both) for _ in range(2)]
    assert isinstance(failures[1], RecordRefused), failures
    transactor.close()


def test_without_recovery_there_is_no_transaction(kafka: KafkaLog) -> None:
    """`begin` before `recover`, and after `close`, raises OutcomeUnknown and says what to do."""
    transactor = kafka.transactor(unique("slot"))
    with pytest.raises(OutcomeUnknown, match="recover first"):
        transactor.begin()
    transactor.recover(WAIT_S)
    transactor.close()
    with pytest.raises(OutcomeUnknown, match="recover first"):
        transactor.begin()


def test_recovery_is_bounded() -> None:
    """Without a broker, `recover` raises LogUnavailable after its timeout, and says how to get a broker."""
    began = time.monotonic()
    with pytest.raises(LogUnavailable, match="no Kafka broker answers at 127.0.0.1:1; start one"):
        KafkaLog("127.0.0.1:1").transactor("slot").recover(1.0)
    assert time.monotonic() - began < WAIT_S
