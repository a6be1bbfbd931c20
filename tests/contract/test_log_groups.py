"""Contract tests of groups for every adapter: clauses 3 and 6 of `topics/log.py`."""

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

from penstock.schemas.errors import Fenced
from penstock.topics.connect import connect
from penstock.topics.log import CommittedOffset, Log
from tests.contract.log_tools import (
    WAIT_S,
    Seat,
    begin_with,
    everything,
    make_topic,
    publish,
    recovered,
    seated,
    settle,
    unique,
    values,
    wait_for,
)

# 6. No two members of a group are granted the same partition at once.


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


def test_the_members_of_a_group_are_known_by_their_names(log: Log) -> None:
    """A group's members are listed under the names of their `name` property, until they leave."""
    topic, group = make_topic(log, partitions=2), unique("group")
    seats = [Seat(log, group, [topic]) for _ in range(2)]
    settle("a partition each", seats, lambda: all(len(seat.held) == 1 for seat in seats))
    names = [seat.member.name for seat in seats]
    assert len(set(names)) == 2
    assert log.members(group) == set(names)
    seats[0].member.close()
    seats[1].until_granted(2)
    assert log.members(group) == {names[1]}
    seats[1].member.close()
    assert log.members(group) == set()


def test_a_member_knows_how_long_its_group_waits(log: Log) -> None:
    """A member knows for how long it keeps its partitions without contact: some seconds."""
    seat = seated(log, make_topic(log))
    assert 1 <= seat.member.session_timeout_s <= 60
    seat.member.close()


def test_a_partition_is_released_before_another_member_is_granted_it(log: Log) -> None:
    """During joins and leaves, every grant of a partition follows its previous holder's release."""
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
    """A granted partition delivers nothing until `start` sets its offset, and then begins exactly there."""
    topic = make_topic(log, partitions=2)
    publish(log, topic, [b"0", b"1", b"2"], partition=0)
    publish(log, topic, [b"other"], partition=1)
    third = everything(log, topic, 0)[2].offset
    seat = seated(log, topic, partitions=2)
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
    seat = seated(log, topic)
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
    seat = seated(log, topic, partitions=2)
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
    seat = seated(log, topic, partitions=2)
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
    first = seated(log, topic, partitions=2, group=group)
    bitmap = "ÿ" * 2_048
    offsets = {(topic, 0): CommittedOffset(3, bitmap), (topic, 1): CommittedOffset(0)}
    first.member.commit(offsets)
    first.member.commit({(topic, 1): CommittedOffset(7, "again")})
    first.member.close()
    second = seated(log, topic, partitions=2, group=group)
    asked = [(topic, 0), (topic, 1)]
    expected = {(topic, 0): CommittedOffset(3, bitmap), (topic, 1): CommittedOffset(7, "again")}
    assert second.member.committed(asked, WAIT_S) == expected
    stranger = seated(log, topic, partitions=2)
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
            begin_with(transactor, target, b"last words")
            transactor.offsets({(source, 0): CommittedOffset(5)}, self.member)
            transactor.commit()

    group = unique("group")
    seat = Finisher(log, group, [source])
    seat.until_granted(1)
    seat.member.close()
    assert values(everything(log, target)) == [b"last words"]
    successor = seated(log, source, group=group)
    assert successor.member.committed([(source, 0)], WAIT_S) == {(source, 0): CommittedOffset(5)}
    successor.member.close()
    transactor.close()


# 3. A member that no longer owns the partitions is fenced and leaves nothing.


def test_a_transaction_for_partitions_of_another_member_is_fenced(log: Log) -> None:
    """Offsets of a partition that was handed over raise Fenced; after `abort` no record and no offset is there."""
    source, target = make_topic(log, partitions=2), make_topic(log)
    publish(log, source, [b"in"], partition=1)
    group = unique("group")
    earlier = seated(log, source, partitions=2, group=group)
    later = Seat(log, group, [source])
    settle("one partition each", [earlier, later], lambda: len(earlier.held) == len(later.held) == 1)
    (handed_over,) = later.held
    transactor = recovered(log)
    begin_with(transactor, target, b"too late")
    with pytest.raises(Fenced):
        transactor.offsets({handed_over: CommittedOffset(1)}, earlier.member)
        transactor.commit()
    transactor.abort()
    with pytest.raises(Fenced):
        earlier.member.commit({handed_over: CommittedOffset(1)})
    assert everything(log, target) == []
    assert later.member.committed([handed_over], WAIT_S) == {}
    transactor.close()
    earlier.member.close()
    later.member.close()


def test_a_closed_member_is_fenced(log: Log) -> None:
    """A transaction with the offsets of a member that left raises Fenced and leaves nothing."""
    source, target = make_topic(log), make_topic(log)
    seat = seated(log, source)
    transactor = recovered(log)
    begin_with(transactor, target, b"too late")
    seat.member.close()
    with pytest.raises(Fenced):
        transactor.offsets({(source, 0): CommittedOffset(1)}, seat.member)
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
    """A process that was stopped during a transaction, until another took over, cannot commit it."""
    log = connect(shared_log_url)
    source, target, group = make_topic(log), make_topic(log), unique("group")
    publish(log, source, [b"in"])
    with _zombie(shared_log_url, group, source, target) as process:
        assert _line(process, "ready") == "ready"
        process.send_signal(signal.SIGSTOP)
        successor = seated(log, source, group=group)
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
