"""Does every adapter keep the contract of `topics/log.py`? One suite; the numbers are those of its clauses."""

from __future__ import annotations

import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from penstock.schemas.errors import (
    Fenced,
    LogError,
    OffsetOutOfRange,
    RecordTooLarge,
    TransactionAborted,
    UnknownTopic,
)
from penstock.topics.connect import connect
from penstock.topics.log import CommittedOffset, Log, Record, TopicSpec
from tests.contract.log_tools import (
    WAIT_S,
    Seat,
    everything,
    make_topic,
    publish,
    recovered,
    settle,
    unique,
    values,
    wait_for,
)

# 1. A published record gets the next offset of its partition.


def test_offsets_grow_in_the_order_of_publishing(log: Log) -> None:
    """Records of one publisher lie in their partition in the order sent, at growing offsets."""
    topic = make_topic(log, partitions=2)
    sent = [b"%d" % number for number in range(50)]
    publish(log, topic, sent, partition=1)
    records = everything(log, topic, 1)
    assert values(records) == sent
    offsets = [record.offset for record in records]
    assert offsets == sorted(set(offsets))
    assert everything(log, topic, 0) == []


def test_a_record_comes_back_as_it_was(log: Log) -> None:
    """Topic, partition, key and value survive, and empty bytes differ from none."""
    topic = make_topic(log, partitions=3)
    publisher = log.publisher()
    pairs: list[tuple[bytes | None, bytes | None]]
    pairs = [(None, b"value"), (b"key", None), (b"", b""), (b"\x00\xff", b"\xc3\x01" + bytes(range(256)))]
    for key, value in pairs:
        publisher.send(Record(topic, 2, key, value))
    publisher.flush(WAIT_S)
    publisher.close()
    records = everything(log, topic, 2)
    assert [(record.key, record.value) for record in records] == pairs
    assert {(record.topic, record.partition) for record in records} == {(topic, 2)}
    assert all(record.timestamp_ms > 1_600_000_000_000 for record in records)


def test_on_done_is_called_once_for_each_record(log: Log) -> None:
    """After `flush`, each record's `on_done` was called exactly once, with None."""
    topic = make_topic(log)
    publisher = log.publisher()
    answers: list[tuple[int, Exception | None]] = []
    for number in range(100):
        publisher.send(
            Record(topic, 0, None, b"%d" % number), lambda error, number=number: answers.append((number, error))
        )
    publisher.flush(WAIT_S)
    assert sorted(number for number, _ in answers) == list(range(100))
    assert {error for _, error in answers} == {None}
    publisher.close()


def _refusal(log: Log, record: Record) -> Exception | None:
    """What a publisher answers to one record, whether it raises or reports."""
    publisher = log.publisher()
    answers: list[Exception | None] = []
    try:
        publisher.send(record, answers.append)
        wait_for("the publisher's answer", lambda: bool(answers), lambda: time.sleep(0.01))
    except LogError as error:
        return error
    finally:
        publisher.close()
    assert len(answers) == 1
    return answers[0]


def test_publishing_to_an_unknown_topic_is_refused(log: Log) -> None:
    """A topic that does not exist is reported as UnknownTopic, by name."""
    topic = unique("absent")
    error = _refusal(log, Record(topic, 0, None, b"x"))
    assert isinstance(error, UnknownTopic)
    assert topic in str(error)


def test_publishing_to_an_unknown_partition_is_refused(log: Log) -> None:
    """A partition beyond the topic's last is reported as UnknownTopic."""
    assert isinstance(_refusal(log, Record(make_topic(log, partitions=2), 2, None, b"x")), UnknownTopic)


def test_publishing_too_large_a_record_is_refused(log: Log) -> None:
    """A record beyond the topic's max.message.bytes is reported as RecordTooLarge and the next one is unharmed."""
    topic = make_topic(log, max_message_bytes="10000")
    assert isinstance(_refusal(log, Record(topic, 0, None, b"x" * 20_000)), RecordTooLarge)
    publish(log, topic, [b"small"])
    assert values(everything(log, topic)) == [b"small"]


# 2. A transaction's records and offsets become visible together or not at all.


def test_a_transaction_shows_nothing_before_commit_and_all_after(log: Log) -> None:
    """Records on several partitions and the member's offsets appear with the commit."""
    source, target = make_topic(log), make_topic(log, partitions=2)
    publish(log, source, [b"in"])
    seat = Seat(log, unique("group"), [source])
    seat.until_granted(1)
    transactor = recovered(log)
    reader = log.reader({(target, 0): 0, (target, 1): 0})
    transactor.begin()
    transactor.produce([Record(target, 0, None, b"a"), Record(target, 1, None, b"b")])
    assert reader.read(10, 0.5) == []
    assert seat.member.committed([(source, 0)], WAIT_S) == {}
    transactor.offsets({(source, 0): 1}, seat.member)
    transactor.commit()
    got: list[bytes | None] = []
    wait_for("both records", lambda: len(got) == 2, lambda: got.extend(values(reader.read(10, 0.2))))
    assert sorted(value or b"" for value in got) == [b"a", b"b"]
    assert seat.member.committed([(source, 0)], WAIT_S) == {(source, 0): CommittedOffset(1)}
    reader.close()
    transactor.close()
    seat.member.close()


def test_an_aborted_transaction_leaves_nothing(log: Log) -> None:
    """After `abort` neither records nor offsets are there, and the same transactor goes on."""
    source, target = make_topic(log), make_topic(log)
    seat = Seat(log, unique("group"), [source])
    seat.until_granted(1)
    publish(log, source, [b"in"])
    transactor = recovered(log)
    transactor.begin()
    transactor.produce([Record(target, 0, None, b"undone")])
    transactor.offsets({(source, 0): 1}, seat.member)
    transactor.abort()
    assert everything(log, target) == []
    assert seat.member.committed([(source, 0)], WAIT_S) == {}
    transactor.begin()
    transactor.produce([Record(target, 0, None, b"done")])
    transactor.offsets({(source, 0): 1}, seat.member)
    transactor.commit()
    assert values(everything(log, target)) == [b"done"]
    transactor.close()
    seat.member.close()


def test_commit_tells_where_tracked_partitions_end(log: Log) -> None:
    """For each tracked partition, `commit` returns the offset after the last record; untracked ones are absent."""
    topic = make_topic(log, partitions=3)
    transactor = recovered(log)
    for value in (b"first", b"second"):
        transactor.begin()
        batch = [Record(topic, 0, None, value), Record(topic, 1, None, value), Record(topic, 0, None, value + b"!")]
        transactor.produce(batch, track=frozenset({(topic, 0), (topic, 2)}))
        landed = transactor.commit()
        assert landed == {(topic, 0): everything(log, topic, 0)[-1].offset + 1}
    transactor.close()


def test_a_transaction_of_many_records_keeps_their_order(log: Log) -> None:
    """Records produced in several calls lie in each partition in the order produced."""
    topic = make_topic(log, partitions=2)
    transactor = recovered(log)
    transactor.begin()
    for start in range(0, 1_000, 250):
        transactor.produce([Record(topic, n % 2, None, b"%d" % n) for n in range(start, start + 250)])
    transactor.commit()
    assert values(everything(log, topic, 0)) == [b"%d" % n for n in range(0, 1_000, 2)]
    assert values(everything(log, topic, 1)) == [b"%d" % n for n in range(1, 1_000, 2)]
    transactor.close()


def test_a_transaction_refuses_an_unknown_topic(log: Log) -> None:
    """`produce` to a missing topic or partition raises UnknownTopic; after `abort` nothing of the batch is there."""
    topic = make_topic(log)
    transactor = recovered(log)
    for bad in (Record(unique("absent"), 0, None, b"x"), Record(topic, 1, None, b"x")):
        transactor.begin()
        with pytest.raises(UnknownTopic):
            transactor.produce([Record(topic, 0, None, b"good"), bad])
        transactor.abort()
    assert everything(log, topic) == []
    transactor.close()


def test_a_transaction_refuses_too_large_a_record(log: Log) -> None:
    """`produce` raises RecordTooLarge; after `abort` nothing is there and the next transaction commits."""
    topic = make_topic(log, max_message_bytes="10000")
    transactor = recovered(log)
    transactor.begin()
    with pytest.raises(RecordTooLarge):
        transactor.produce([Record(topic, 0, None, b"x" * 20_000)])
    transactor.abort()
    transactor.begin()
    transactor.produce([Record(topic, 0, None, b"x" * 5_000)])
    transactor.commit()
    assert len(everything(log, topic)) == 1
    transactor.close()


# 3. A member that no longer owns the partitions is fenced and leaves nothing.


def test_a_transaction_for_partitions_of_another_member_is_fenced(log: Log) -> None:
    """Offsets of a partition that was handed over raise Fenced; after `abort` no record and no offset is there."""
    source, target = make_topic(log, partitions=2), make_topic(log)
    publish(log, source, [b"in"], partition=1)
    group = unique("group")
    elder = Seat(log, group, [source])
    elder.until_granted(2)
    younger = Seat(log, group, [source])
    settle("one partition each", [elder, younger], lambda: len(elder.held) == len(younger.held) == 1)
    (handed_over,) = younger.held
    transactor = recovered(log)
    transactor.begin()
    transactor.produce([Record(target, 0, None, b"too late")])
    with pytest.raises(Fenced):
        transactor.offsets({handed_over: 1}, elder.member)
        transactor.commit()
    transactor.abort()
    with pytest.raises(Fenced):
        elder.member.commit({handed_over: CommittedOffset(1)})
    assert everything(log, target) == []
    assert younger.member.committed([handed_over], WAIT_S) == {}
    transactor.close()
    elder.member.close()
    younger.member.close()


def test_a_closed_member_is_fenced(log: Log) -> None:
    """A transaction with the offsets of a member that left raises Fenced and leaves nothing."""
    source, target = make_topic(log), make_topic(log)
    seat = Seat(log, unique("group"), [source])
    seat.until_granted(1)
    transactor = recovered(log)
    transactor.begin()
    transactor.produce([Record(target, 0, None, b"too late")])
    seat.member.close()
    with pytest.raises(Fenced):
        transactor.offsets({(source, 0): 1}, seat.member)
        transactor.commit()
    transactor.abort()
    assert everything(log, target) == []
    transactor.close()


@contextmanager
def _zombie(url: str, group: str, source: str, target: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.contract.zombie", url, group, source, target]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


def _line(process: subprocess.Popen[str], what: str) -> str:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], WAIT_S)
    assert ready, f"waited {WAIT_S:g} s for the zombie to say {what}"
    return process.stdout.readline().strip()


def test_a_process_that_slept_through_its_eviction_is_fenced(shared_log_url: str) -> None:
    """Frozen in mid-transaction until another took over, a process wakes up and can finish nothing."""
    log = connect(shared_log_url)
    source, target, group = make_topic(log), make_topic(log), unique("group")
    publish(log, source, [b"in"])
    with _zombie(shared_log_url, group, source, target) as process:
        assert _line(process, "ready") == "ready"
        process.send_signal(signal.SIGSTOP)
        successor = Seat(log, group, [source])
        successor.until_granted(1)
        successor.member.start({(source, 0): 0})
        successor.until_received(1)
        successor.member.commit({(source, 0): CommittedOffset(1, "successor")})
        process.send_signal(signal.SIGCONT)
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert _line(process, "what became of it") in ("Fenced", "TransactionAborted")
        assert successor.member.committed([(source, 0)], WAIT_S) == {(source, 0): CommittedOffset(1, "successor")}
    assert everything(log, target) == []
    successor.member.close()
    log.close()


# 4. `recover` settles what an earlier holder of the transactional id left open, and fences it.


def test_recover_aborts_what_the_elder_left_open_and_fences_it(log: Log) -> None:
    """The elder's open transaction is gone at once; its commit raises Fenced; the younger goes on."""
    topic, transactional_id = make_topic(log), unique("slot")
    elder = recovered(log, transactional_id)
    elder.begin()
    elder.produce([Record(topic, 0, None, b"left open")])
    younger = recovered(log, transactional_id)
    assert everything(log, topic) == []
    with pytest.raises(Fenced):
        elder.commit()
    younger.begin()
    younger.produce([Record(topic, 0, None, b"younger")])
    younger.commit()
    assert values(everything(log, topic)) == [b"younger"]
    elder.close()
    younger.close()


def test_recover_keeps_what_was_committed(log: Log) -> None:
    """A committed transaction of the elder stays; recovering again on the same transactor is allowed."""
    topic, transactional_id = make_topic(log), unique("slot")
    elder = recovered(log, transactional_id)
    elder.begin()
    elder.produce([Record(topic, 0, None, b"kept")])
    elder.commit()
    elder.close()
    younger = recovered(log, transactional_id)
    younger.recover(WAIT_S)
    younger.begin()
    younger.produce([Record(topic, 0, None, b"more")])
    younger.commit()
    assert values(everything(log, topic)) == [b"kept", b"more"]
    younger.close()


# 5. A committed read shows neither an open or aborted transaction nor what lies behind an open one.


def test_a_committed_read_never_skips_ahead_of_an_open_transaction(log: Log) -> None:
    """What a reader saw while transactions were open and settled is in the end the whole partition, in order."""
    topic = make_topic(log)
    first, second = recovered(log), recovered(log)
    reader = log.reader({(topic, 0): 0})
    seen: list[bytes | None] = []
    first.begin()
    first.produce([Record(topic, 0, None, b"first")])
    second.begin()
    second.produce([Record(topic, 0, None, b"aborted")])
    publish(log, topic, [b"plain"])
    seen += values(reader.read(10, 0.3))
    assert b"first" not in seen and b"aborted" not in seen
    second.abort()
    seen += values(reader.read(10, 0.3))
    first.commit()
    wait_for("two records", lambda: len(seen) >= 2, lambda: seen.extend(values(reader.read(10, 0.2))))
    assert sorted(value or b"" for value in seen) == [b"first", b"plain"]
    assert seen == values(everything(log, topic))
    reader.close()
    first.close()
    second.close()


# 6. Groups.


def test_members_share_partitions_without_overlap_and_keep_topics_together(log: Log) -> None:
    """Two members hold all partitions between them, each the same numbers of both topics."""
    commands, results = make_topic(log, partitions=4), make_topic(log, partitions=4)
    group = unique("group")
    seats = [Seat(log, group, [commands, results]) for _ in range(2)]
    settle("four partitions each", seats, lambda: all(len(seat.held) == 4 for seat in seats))
    assert not seats[0].held & seats[1].held
    for seat in seats:
        assert {n for topic, n in seat.held if topic == commands} == {n for topic, n in seat.held if topic == results}
        seat.member.close()


def test_a_partition_is_released_before_another_member_is_granted_it(log: Log) -> None:
    """Through joins and leaves, every grant of a partition comes after its elder holder's release."""
    topic, group, journal = make_topic(log, partitions=4), unique("group"), list[str]()
    first = Seat(log, group, [topic], journal)
    first.until_granted(4)
    second = Seat(log, group, [topic], journal)
    settle("two partitions each", [first, second], lambda: len(first.held) == len(second.held) == 2)
    third = Seat(log, group, [topic], journal)
    everybody = [first, second, third]
    settle("shares of 2, 1 and 1", everybody, lambda: sorted(len(seat.held) for seat in everybody) == [1, 1, 2])
    first.member.close()
    assert first.held == set()
    settle("all held by two", [second, third], lambda: len(second.held) == len(third.held) == 2)
    for seat in (second, third):
        seat.member.close()
    holders: dict[str, str] = {}
    for line in journal:
        name, what, partition = line.split(" ", 2)
        if what == "granted":
            assert partition not in holders, f"{line} while {holders[partition]} held it"
            holders[partition] = name
        else:
            assert holders.pop(partition) == name
    assert holders == {}


def test_members_in_threads_hand_over_without_overlap(log: Log) -> None:
    """While members poll in threads of their own and come and go, no partition ever has two holders."""
    topic, group = make_topic(log, partitions=3), unique("group")
    holders: dict[int, str] = {}
    problems: list[str] = []
    lock = threading.Lock()

    class Claimant(Seat):
        def granted(self, partitions) -> None:  # type: ignore[no-untyped-def]
            super().granted(partitions)
            with lock:
                for _, number in partitions:
                    if number in holders:
                        problems.append(f"{number} granted to {self.name} while {holders[number]} held it")
                    holders[number] = self.name

        def released(self, partitions, *, lost) -> None:  # type: ignore[no-untyped-def]
            with lock:
                for _, number in partitions:
                    if holders.pop(number, None) != self.name:
                        problems.append(f"{number} released by {self.name}, which did not hold it")
            super().released(partitions, lost=lost)

    def run(stop: threading.Event) -> None:
        seat = Claimant(log, group, [topic])
        while not stop.is_set():
            seat.poll()
        seat.member.close()

    stops = [threading.Event() for _ in range(3)]
    threads = [threading.Thread(target=run, args=(stop,)) for stop in stops]
    for thread in threads:
        thread.start()
        time.sleep(0.3)
    wait_for("three holders", lambda: len(set(holders.values())) == 3, lambda: time.sleep(0.02))
    for stop, thread in zip(stops, threads, strict=True):
        stop.set()
        thread.join(WAIT_S)
        assert not thread.is_alive(), f"waited {WAIT_S:g} s for a member to leave"
    assert problems == []
    assert holders == {}


def test_nothing_is_delivered_before_start(log: Log) -> None:
    """A granted partition is silent until `start` names where to begin, and begins exactly there."""
    topic = make_topic(log, partitions=2)
    publish(log, topic, [b"0", b"1", b"2"], partition=0)
    publish(log, topic, [b"other"], partition=1)
    third = everything(log, topic, 0)[2].offset
    seat = Seat(log, unique("group"), [topic])
    seat.until_granted(2)
    seat.poll(timeout_s=0.5)
    assert seat.received == []
    seat.member.start({(topic, 0): third})
    seat.until_received(1)
    seat.poll(timeout_s=0.3)
    assert values(seat.received) == [b"2"]
    seat.member.close()


def test_start_again_is_a_seek(log: Log) -> None:
    """After some records were delivered, `start` delivers from the named offset on again."""
    topic = make_topic(log)
    publish(log, topic, [b"0", b"1", b"2"])
    seat = Seat(log, unique("group"), [topic])
    seat.until_granted(1)
    seat.member.start({(topic, 0): 0})
    seat.until_received(3)
    seat.member.start({(topic, 0): seat.received[1].offset})
    seat.until_received(5)
    seat.poll(timeout_s=0.3)
    assert values(seat.received) == [b"0", b"1", b"2", b"1", b"2"]
    seat.member.close()


def test_pause_and_resume(log: Log) -> None:
    """A paused partition delivers nothing while others do; `resume` goes on without loss or repetition."""
    topic = make_topic(log, partitions=2)
    seat = Seat(log, unique("group"), [topic])
    seat.until_granted(2)
    seat.member.start({(topic, 0): 0, (topic, 1): 0})
    publish(log, topic, [b"a0", b"a1"], partition=0)
    seat.until_received(2)
    seat.member.pause([(topic, 0)])
    publish(log, topic, [b"a2", b"a3"], partition=0)
    publish(log, topic, [b"b0"], partition=1)
    seat.until_received(3)
    seat.poll(timeout_s=0.5)
    assert values(seat.received) == [b"a0", b"a1", b"b0"]
    seat.member.resume([(topic, 0)])
    seat.until_received(5)
    seat.poll(timeout_s=0.3)
    assert values(seat.received) == [b"a0", b"a1", b"b0", b"a2", b"a3"]
    seat.member.close()


def test_poll_gives_at_most_what_was_asked(log: Log) -> None:
    """`records_max` bounds each poll, and successive polls miss nothing."""
    topic = make_topic(log, partitions=2)
    publish(log, topic, [b"%d" % n for n in range(20)], partition=0)
    publish(log, topic, [b"%d" % n for n in range(20)], partition=1)
    seat = Seat(log, unique("group"), [topic])
    seat.until_granted(2)
    seat.member.start({(topic, 0): 0, (topic, 1): 0})
    deadline = time.monotonic() + WAIT_S
    while len(seat.received) < 40:
        assert time.monotonic() < deadline, "waited for 40 records"
        assert len(seat.poll(records_max=7)) <= 7
    for partition in (0, 1):
        got = [record.value for record in seat.received if record.partition == partition]
        assert got == [b"%d" % n for n in range(20)]
    seat.member.close()


def test_a_member_takes_over_where_its_group_committed(log: Log) -> None:
    """Committed offsets and their metadata outlive the member; another group sees none of them."""
    topic, group = make_topic(log, partitions=2), unique("group")
    first = Seat(log, group, [topic])
    first.until_granted(2)
    bitmap = "ÿ" * 2_048
    offsets = {(topic, 0): CommittedOffset(3, bitmap), (topic, 1): CommittedOffset(0)}
    first.member.commit(offsets)
    first.member.commit({(topic, 1): CommittedOffset(7, "again")})
    first.member.close()
    second = Seat(log, group, [topic])
    second.until_granted(2)
    asked = [(topic, 0), (topic, 1)]
    expected = {(topic, 0): CommittedOffset(3, bitmap), (topic, 1): CommittedOffset(7, "again")}
    assert second.member.committed(asked, WAIT_S) == expected
    stranger = Seat(log, unique("group"), [topic])
    stranger.until_granted(2)
    assert stranger.member.committed(asked, WAIT_S) == {}
    second.member.close()
    stranger.member.close()


def test_a_member_may_commit_while_it_releases(log: Log) -> None:
    """Inside `released`, unless lost, a transaction with the offsets of what is being released still commits."""
    source, target = make_topic(log), make_topic(log)
    transactor = recovered(log)

    class Finisher(Seat):
        def released(self, partitions, *, lost) -> None:  # type: ignore[no-untyped-def]
            super().released(partitions, lost=lost)
            assert not lost
            transactor.begin()
            transactor.produce([Record(target, 0, None, b"last words")])
            transactor.offsets({(source, 0): 5}, self.member)
            transactor.commit()

    group = unique("group")
    seat = Finisher(log, group, [source])
    seat.until_granted(1)
    seat.member.close()
    assert values(everything(log, target)) == [b"last words"]
    successor = Seat(log, group, [source])
    successor.until_granted(1)
    assert successor.member.committed([(source, 0)], WAIT_S) == {(source, 0): CommittedOffset(5)}
    successor.member.close()
    transactor.close()


# 7. Every wait is bounded.


def test_waits_end_without_records(log: Log) -> None:
    """`poll` and `read` on a silent topic return nothing, some time after their timeout."""
    topic = make_topic(log)
    seat = Seat(log, unique("group"), [topic])
    seat.until_granted(1)
    seat.member.start({(topic, 0): 0})
    reader = log.reader({(topic, 0): 0})
    for wait in (seat.member.poll, reader.read):
        began = time.monotonic()
        assert wait(10, 0.3) == []
        assert 0.2 < time.monotonic() - began < WAIT_S
        assert wait(10, 0.0) == []
    reader.close()
    seat.member.close()


def test_a_waiting_poll_is_woken_by_a_record(log: Log) -> None:
    """A record published during a long `poll` ends it early."""
    topic = make_topic(log)
    seat = Seat(log, unique("group"), [topic])
    seat.until_granted(1)
    seat.member.start({(topic, 0): 0})
    seat.poll(timeout_s=0.2)
    later = threading.Timer(0.3, publish, (log, topic, [b"wake"]))
    later.start()
    assert values(seat.member.poll(10, WAIT_S)) == [b"wake"]
    later.join()
    seat.member.close()


# The methods of Log.


def test_describe_tells_what_exists(log: Log) -> None:
    """`describe` gives partitions and settings of the topics named that exist, and of all when none is named."""
    topic = make_topic(log, partitions=3, cleanup_policy="compact", retention_ms="-1")
    facts = log.describe([topic, unique("absent")])
    assert set(facts) == {topic}
    assert (facts[topic].name, facts[topic].partitions) == (topic, 3)
    assert facts[topic].config["cleanup.policy"] == "compact"
    assert facts[topic].config["retention.ms"] == "-1"
    assert topic in log.describe()


def test_creating_again_changes_nothing(log: Log) -> None:
    """A topic that exists keeps its partitions, settings and records; new ones in the same call are made."""
    topic, other = make_topic(log, partitions=2, retention_ms="-1"), unique("contract")
    publish(log, topic, [b"kept"])
    log.create([TopicSpec(topic, 5, {"retention.ms": "1000"}), TopicSpec(other, 1, {})])
    facts = log.describe([topic, other])
    assert facts[topic].partitions == 2
    assert facts[topic].config["retention.ms"] == "-1"
    assert facts[other].partitions == 1
    assert values(everything(log, topic)) == [b"kept"]


def test_configure_changes_only_what_is_named(log: Log) -> None:
    """`configure` sets the named settings and leaves the others."""
    topic = make_topic(log, retention_ms="60000", cleanup_policy="delete")
    log.configure(topic, {"retention.ms": "120000"})

    def config() -> dict[str, str]:
        return dict(log.describe([topic])[topic].config)

    wait_for("the new setting", lambda: config()["retention.ms"] == "120000", lambda: time.sleep(0.05))
    assert config()["cleanup.policy"] == "delete"


def test_configure_of_an_unknown_topic_is_refused(log: Log) -> None:
    """A topic that does not exist cannot be configured."""
    with pytest.raises(UnknownTopic):
        log.configure(unique("absent"), {"retention.ms": "1"})


def test_ends_are_first_and_next(log: Log) -> None:
    """An empty partition has (0, 0); one with records the first kept and the next offset."""
    topic = make_topic(log, partitions=2)
    publish(log, topic, [b"0", b"1", b"2"])
    assert log.ends([(topic, 0), (topic, 1)]) == {(topic, 0): (0, 3), (topic, 1): (0, 0)}


def test_ends_of_an_unknown_topic_are_refused(log: Log) -> None:
    """A topic that does not exist has no ends."""
    with pytest.raises(UnknownTopic):
        log.ends([(unique("absent"), 0)])


def test_trim_deletes_below_and_keeps_offsets(log: Log) -> None:
    """After `trim` the first offset moved, the records above it kept theirs, and new ones follow on."""
    topic = make_topic(log, partitions=2)
    publish(log, topic, [b"0", b"1", b"2", b"3"])
    publish(log, topic, [b"other"], partition=1)
    log.trim({(topic, 0): 3})
    assert log.ends([(topic, 0), (topic, 1)]) == {(topic, 0): (3, 4), (topic, 1): (0, 1)}
    publish(log, topic, [b"4"])
    assert [(record.offset, record.value) for record in everything(log, topic, start=3)] == [(3, b"3"), (4, b"4")]
    log.trim({(topic, 0): 5})
    assert log.ends([(topic, 0)]) == {(topic, 0): (5, 5)}


def test_reading_outside_of_the_log_is_refused(log: Log) -> None:
    """Below what is kept and beyond the end, `read_to_end` raises OffsetOutOfRange; exactly at the end it is empty."""
    topic = make_topic(log)
    publish(log, topic, [b"0", b"1", b"2"])
    log.trim({(topic, 0): 2})
    for start in (0, 1, 4, 1_000):
        with pytest.raises(OffsetOutOfRange):
            everything(log, topic, start=start)
    assert everything(log, topic, start=3) == []
    assert values(everything(log, topic, start=2)) == [b"2"]


def test_a_member_started_outside_of_the_log_is_told(log: Log) -> None:
    """A position that was trimmed away raises OffsetOutOfRange from `poll`, never a silent jump."""
    topic = make_topic(log)
    publish(log, topic, [b"0", b"1", b"2"])
    log.trim({(topic, 0): 2})
    seat = Seat(log, unique("group"), [topic])
    seat.until_granted(1)
    seat.member.start({(topic, 0): 0})
    with pytest.raises(OffsetOutOfRange):
        wait_for("OffsetOutOfRange", lambda: bool(seat.received), seat.poll)
    seat.member.close()


def test_read_to_end_stops_at_the_end_as_it_was(log: Log) -> None:
    """What is appended while reading does not prolong it for ever: all that was there comes, in batches."""
    topic = make_topic(log)
    sent = [b"%d" % n for n in range(3_000)]
    publish(log, topic, sent)
    got: list[bytes | None] = []
    for batch in log.read_to_end(topic, 0, 0, WAIT_S):
        assert batch
        got += values(batch)
        if len(got) <= len(sent):
            publish(log, topic, [b"later"])
    assert got[: len(sent)] == sent
    assert set(got[len(sent) :]) <= {b"later"}


def test_a_reader_from_the_end_sees_only_what_comes(log: Log) -> None:
    """Position -1 means from the end as it is when the reader is made."""
    topic = make_topic(log)
    publish(log, topic, [b"before"])
    reader = log.reader({(topic, 0): -1})
    publish(log, topic, [b"after"])
    got: list[bytes | None] = []
    wait_for("a record", lambda: bool(got), lambda: got.extend(values(reader.read(10, 0.2))))
    assert got + values(reader.read(10, 0.2)) == [b"after"]
    reader.close()


def test_a_reader_goes_on_over_aborted_transactions(log: Log) -> None:
    """Aborted records between committed ones leave a gap at most."""
    topic = make_topic(log)
    transactor = recovered(log)
    for number in range(4):
        transactor.begin()
        transactor.produce([Record(topic, 0, None, b"%d" % number)])
        if number % 2:
            transactor.abort()
        else:
            transactor.commit()
    assert values(everything(log, topic)) == [b"0", b"2"]
    transactor.close()


def test_a_second_connection_sees_the_same_log(shared_log_url: str) -> None:
    """Two connections to one URL share topics, records, offsets and groups."""
    first, second = connect(shared_log_url), connect(shared_log_url)
    topic, group = make_topic(first, partitions=2), unique("group")
    publish(first, topic, [b"x"])
    wait_for("the topic", lambda: topic in second.describe([topic]), lambda: time.sleep(0.05))
    assert values(everything(second, topic)) == [b"x"]
    seats = [Seat(first, group, [topic]), Seat(second, group, [topic])]
    settle("one partition each", seats, lambda: all(len(seat.held) == 1 for seat in seats))
    for seat in seats:
        seat.member.close()
    transactor = recovered(first, group)
    recovered(second, group).close()
    transactor.begin()
    with pytest.raises((Fenced, TransactionAborted)):
        transactor.produce([Record(topic, 0, None, b"fenced")])
        transactor.commit()
    assert values(everything(second, topic)) == [b"x"]
    first.close()
    second.close()
