"""Tests of the embedded log beyond the common contract: several processes, killed processes, bounded growth."""

from __future__ import annotations

import random
import select
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock.schemas.errors import Fenced, LogUnavailable, TransactionAborted, UnknownTopic
from penstock.topics.embedded import EmbeddedLog
from penstock.topics.embedded.database import Database
from penstock.topics.embedded.group import LEASE_MS, beat, evict, monotonic_ms
from penstock.topics.embedded.upkeep import COMPACT_RECORDS_MIN, expire
from penstock.topics.log import CommittedOffset, Record, TopicSpec
from tests.contract.log_tools import (
    WAIT_S,
    Seat,
    begin_with,
    everything,
    publish,
    recovered,
    seated,
    settle,
    values,
    wait_for,
)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A file for one log."""
    return str(tmp_path / "log.sqlite3")


@pytest.fixture
def log(path: str) -> Iterator[EmbeddedLog]:
    """A log on that file, with a topic `t` of one partition."""
    opened = EmbeddedLog(path)
    opened.create([TopicSpec("t", 1, {})])
    yield opened
    opened.close()


@contextmanager
def process(role: str, path: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Another process in this role, killed at the end; the block begins when it is ready."""
    command = [sys.executable, "-m", "tests.topics.embedded_process", role, path, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            readable, _, _ = select.select([other.stdout], [], [], WAIT_S)
            assert readable, f"waited {WAIT_S:g} s for the process {role} to be ready"
            assert other.stdout.readline() == "ready\n"
            yield other
        finally:
            other.kill()


def test_killed_in_mid_transaction_a_process_leaves_nothing(path: str, log: EmbeddedLog) -> None:
    """Records that it appended are not visible, and other processes can write at once."""
    publish(log, "t", [b"before"])
    with process("stall", path) as other:
        other.send_signal(signal.SIGKILL)
        other.wait(WAIT_S)
    publish(log, "t", [b"after"])
    assert values(everything(log, "t")) == [b"before", b"after"]
    assert log.ends([("t", 0)]) == {("t", 0): (0, 2)}


def test_while_another_process_blocks_the_file_waits_are_bounded(path: str, log: EmbeddedLog) -> None:
    """Writing gives up with LogUnavailable, a commit with TransactionAborted; reading goes on."""
    publish(log, "t", [b"before"])
    impatient = EmbeddedLog(path)
    impatient._database._wait_s = 0.3
    transactor = recovered(impatient)
    with process("stall", path):
        with pytest.raises(LogUnavailable, match="busy"):
            impatient.create([TopicSpec("other", 1, {})])
        begin_with(transactor, "t", b"blocked")
        with pytest.raises(TransactionAborted):
            transactor.commit()
        assert values(everything(impatient, "t")) == [b"before"]
    transactor.abort()
    impatient.close()
    assert values(everything(log, "t")) == [b"before"]


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGSTOP])
def test_a_dead_or_frozen_process_loses_its_partitions(path: str, log: EmbeddedLog, stop: signal.Signals) -> None:
    """Its partitions are granted to the member that is left."""
    with process("hold", path) as other:
        other.send_signal(stop)
        seat = Seat(log, "group", ["t"])
        seat.until_granted(1)
        seat.member.close()


def test_what_was_granted_is_not_waited_for(log: EmbeddedLog) -> None:
    """A poll returns with a grant, whatever its timeout: nothing comes of a partition before it is started."""
    seat = Seat(log, "group", ["t"])
    assert seat.poll(timeout_s=10 * WAIT_S) == []
    assert seat.held == {("t", 0)}
    seat.member.close()


def test_a_frozen_member_that_wakes_up_joins_again(path: str, log: EmbeddedLog) -> None:
    """After its eviction its partitions are released as lost, and later it gets its share anew."""
    sleeper = seated(log, "t", group="group")
    log._members.clear()  # its lease is no longer renewed from here on
    other = EmbeddedLog(path)
    heir = seated(other, "t", group="group")
    wait_for("the release of the sleeper's partitions", lambda: bool(sleeper.lost), sleeper.poll)
    assert (sleeper.held, heir.held) == (set(), {("t", 0)})
    heir.member.close()
    sleeper.until_granted(1)
    sleeper.member.close()
    other.close()


def test_a_takeover_between_offsets_and_commit_fences(path: str, log: EmbeddedLog) -> None:
    """Grants are checked inside the transaction that commits, not only when the offsets were named."""
    sleeper = seated(log, "t", group="group")
    transactor = recovered(log)
    begin_with(transactor, "t", b"too late")
    transactor.offsets({("t", 0): CommittedOffset(1)}, sleeper.member)
    log._members.clear()  # its lease is no longer renewed from here on
    other = EmbeddedLog(path)
    heir = seated(other, "t", group="group")
    with pytest.raises(Fenced):
        transactor.commit()
    transactor.abort()
    assert everything(log, "t") == []
    assert heir.member.committed([("t", 0)], WAIT_S) == {}
    with pytest.raises(Fenced):
        sleeper.member.commit({("t", 0): CommittedOffset(1)})
    other.close()


def test_a_grant_lost_and_won_again_is_another_grant(log: EmbeddedLog) -> None:
    """A transaction begun under an earlier grant of the partition is fenced: it may have had another owner since."""
    seat = seated(log, "t", group="group")
    transactor = recovered(log)
    transactor.begin()
    transactor.offsets({("t", 0): CommittedOffset(1)}, seat.member)
    guest = Seat(log, "group", ["t"])
    with log._database.write() as connection:
        evict(connection, "group", [seat.member.id])
    settle("the partition to change hands", [seat, guest], lambda: bool(seat.lost) and bool(guest.held))
    guest.member.close()
    seat.until_granted(1)
    with pytest.raises(Fenced):
        transactor.commit()
    seat.member.close()


def _none_is_gone(_: int) -> bool:
    """`is_gone` for no dead members."""
    return False


def test_a_member_that_was_late_evicts_no_other(log: EmbeddedLog) -> None:
    """After a pause of the whole machine, the first member to continue renews its own lease and evicts no other."""
    seats = [Seat(log, "group", ["t"]) for _ in range(2)]
    long_ago_ms = monotonic_ms() - 10 * LEASE_MS
    with log._database.write() as connection:
        connection.execute("UPDATE members SET lease_until_ms = ?", (long_ago_ms,))
        beat(connection, {seats[0].member.id: "group"}, _none_is_gone)
        assert connection.execute("SELECT count(*) FROM members").fetchone() == (2,)
        beat(connection, {seats[0].member.id: "group"}, _none_is_gone)
        assert connection.execute("SELECT id FROM members").fetchall() == [(seats[0].member.id,)]


def test_a_lease_from_before_a_restart_of_the_machine_counts_for_nothing(log: EmbeddedLog) -> None:
    """A lease further in the future than leases last was written by an earlier clock: its holder is evicted."""
    seat, ghost = Seat(log, "group", ["t"]), Seat(log, "group", ["t"])
    log._members.discard(ghost.member)
    with log._database.write() as connection:
        connection.execute(
            "UPDATE members SET lease_until_ms = ? WHERE id = ?", (monotonic_ms() + 10_000_000, ghost.member.id)
        )
        beat(connection, {seat.member.id: "group"}, _none_is_gone)
        assert connection.execute("SELECT id FROM members").fetchall() == [(seat.member.id,)]


def test_exactly_once_through_sudden_deaths(path: str, log: EmbeddedLog) -> None:
    """A pump killed again and again at random moments copies each record once, to both partitions alike."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    log.create([TopicSpec("in", 1, {}), TopicSpec("out", 2, {})])
    sent = [b"%d" % number for number in range(20_000)]
    publish(log, "in", sent)
    for _ in range(3):
        with process("pump", path):
            time.sleep(chance.uniform(0.05, 0.4))
        first, second = everything(log, "out", 0), everything(log, "out", 1)
        assert values(first) == values(second) == sent[: len(first)], f"seed {seed}"
    heir = seated(log, "in", group="pump")
    committed = heir.member.committed([("in", 0)], WAIT_S)[("in", 0)].offset
    assert committed == len(everything(log, "out", 0)) > 0, f"seed {seed}"
    heir.member.close()


def test_two_processes_append_side_by_side(path: str, log: EmbeddedLog) -> None:
    """Records of two publishing processes all land, at contiguous offsets, each process's own in order."""
    with process("publish", path, "a", "2000") as first, process("publish", path, "b", "2000") as second:
        assert first.wait(WAIT_S) == second.wait(WAIT_S) == 0
    records = everything(log, "t")
    assert [record.offset for record in records] == list(range(4_000))
    for name in (b"a", b"b"):
        assert [record.value for record in records if record.key == name] == [b"%d" % n for n in range(2_000)]


def test_a_record_of_another_process_wakes_a_waiting_reader(path: str, log: EmbeddedLog) -> None:
    """A long `read` ends soon after another process commits."""
    reader = log.reader({("t", 0): 0})
    threads = [threading.Thread(target=lambda: got.extend(reader.read(10, WAIT_S)))]
    got: list[object] = []
    threads[0].start()
    with process("publish", path, "a", "100") as other:
        assert other.wait(WAIT_S) == 0
    threads[0].join(WAIT_S / 2)
    assert not threads[0].is_alive(), "waited half the read's timeout for it to notice"
    assert got


def _config(log: EmbeddedLog, name: str, partitions: int = 1, **config: str) -> str:
    log.create([TopicSpec(name, partitions, {key.replace("_", "."): value for key, value in config.items()})])
    return name


def test_old_records_expire(log: EmbeddedLog) -> None:
    """Records older than `retention.ms` go and the first offset follows; -1 keeps for ever."""
    short = _config(log, "short", cleanup_policy="delete", retention_ms="60000")
    kept = _config(log, "kept", cleanup_policy="delete", retention_ms="-1")
    for topic in (short, kept):
        publish(log, topic, [b"0", b"1", b"2"])
    now_ms = time.time_ns() // 1_000_000
    expire(log._database, log._catalogue, now_ms)
    assert log.ends([(short, 0), (kept, 0)]) == {(short, 0): (0, 3), (kept, 0): (0, 3)}
    expire(log._database, log._catalogue, now_ms + 120_000)
    assert log.ends([(short, 0), (kept, 0)]) == {(short, 0): (3, 3), (kept, 0): (0, 3)}
    publish(log, short, [b"3"])
    assert [(record.offset, record.value) for record in everything(log, short, start=3)] == [(3, b"3")]


def _publish_pairs(log: EmbeddedLog, topic: str, pairs: list[tuple[bytes | None, bytes | None]]) -> None:
    publisher = log.publisher()
    for key, value in pairs:
        publisher.send(Record(topic, 0, key, value))
    publisher.flush(WAIT_S)
    publisher.close()


def test_compaction_keeps_the_last_record_of_each_key(log: EmbeddedLog) -> None:
    """The last record of each key stays, at its old offset; fresh tombstones stay too, old ones go."""
    topic = _config(log, "compacted", cleanup_policy="compact", delete_retention_ms="60000")
    keys = 100
    written = [(b"%d" % (n % keys), b"%d" % n) for n in range(COMPACT_RECORDS_MIN)]
    _publish_pairs(log, topic, [*written, (b"7", None), (None, b"keyless")])
    now_ms = time.time_ns() // 1_000_000
    expire(log._database, log._catalogue, now_ms)
    records = everything(log, topic)
    state = {record.key: (record.offset, record.value) for record in records}
    assert len(records) == len(state) == keys + 1
    assert state[b"7"] == (COMPACT_RECORDS_MIN, None)
    assert state[b"8"] == (COMPACT_RECORDS_MIN - 92, b"%d" % (COMPACT_RECORDS_MIN - 92))
    assert log.ends([(topic, 0)]) == {(topic, 0): (0, COMPACT_RECORDS_MIN + 2)}
    _publish_pairs(log, topic, [(b"0", b"again")] * COMPACT_RECORDS_MIN)
    expire(log._database, log._catalogue, now_ms + 120_000)
    assert b"7" not in {record.key for record in everything(log, topic)}
    assert len(everything(log, topic)) == keys


def test_compaction_waits_until_it_is_worth_its_while(log: EmbeddedLog) -> None:
    """Few new records are left alone."""
    topic = _config(log, "compacted", cleanup_policy="compact")
    publish(log, topic, [b"same"] * 50)
    expire(log._database, log._catalogue, time.time_ns() // 1_000_000)
    assert len(everything(log, topic)) == 50


def test_the_file_does_not_grow_when_records_come_and_go(path: str, log: EmbeddedLog) -> None:
    """Trimmed space is used again: ten times the data leaves a file not ten times the size."""
    sizes = []
    for round_ in range(10):
        publish(log, "t", [bytes(1_000)] * 1_000)
        log.trim({("t", 0): 1_000 * (round_ + 1)})
        log._database.checkpoint()
        sizes.append(Path(path).stat().st_size)
    assert sizes[-1] < 3 * sizes[0]


def test_a_refusal_without_on_done_is_raised_by_flush(log: EmbeddedLog) -> None:
    """A refused record that was sent without `on_done` makes the next `flush` raise, once."""
    publisher = log.publisher()
    publisher.send(Record("absent", 0, None, b"x"))
    with pytest.raises(UnknownTopic):
        publisher.flush(WAIT_S)
    publisher.flush(WAIT_S)
    publisher.close()


def test_one_failing_on_done_silences_no_other(log: EmbeddedLog) -> None:
    """An `on_done` that raises is logged; the records after it are written and answered."""
    publisher = log.publisher()
    answers: list[Exception | None] = []

    def fail(error: Exception | None) -> None:
        raise RuntimeError("a caller's mistake")

    publisher.send(Record("t", 0, None, b"1"), fail)
    publisher.send(Record("t", 0, None, b"2"), answers.append)
    publisher.flush(WAIT_S)
    assert answers == [None]
    publisher.close()


def test_a_closed_log_says_so(path: str) -> None:
    """Every call on a closed log raises LogUnavailable, and so do calls that were waiting when it was closed."""
    log = EmbeddedLog(path)
    log.create([TopicSpec("t", 1, {})])
    reader = log.reader({("t", 0): 0})
    errors: list[Exception] = []

    def wait() -> None:
        try:
            reader.read(1, WAIT_S)
        except LogUnavailable as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.1)
    log.close()
    log.close()
    thread.join(WAIT_S / 2)
    assert not thread.is_alive(), "waited for the reader to notice"
    assert len(errors) == 1
    with pytest.raises(LogUnavailable, match="closed"):
        log.describe()


def test_closing_the_log_leaves_its_groups(path: str) -> None:
    """Partitions of a member that was not closed before its log are free at once, before its lease expires."""
    first, second = EmbeddedLog(path), EmbeddedLog(path)
    first.create([TopicSpec("t", 1, {})])
    Seat(first, "group", ["t"]).until_granted(1)
    first.close()
    with second._database.read() as connection:
        assert connection.execute("SELECT count(*) FROM members").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM grants").fetchone() == (0,)
    second.close()


def test_a_file_of_another_version_is_refused(path: str) -> None:
    """A database with another `user_version`, or with foreign tables, is not written to."""
    with sqlite3.connect(path) as foreign:
        foreign.execute("CREATE TABLE theirs (x)")
    foreign.close()
    with pytest.raises(LogUnavailable, match="use another file"):
        EmbeddedLog(path)


def test_every_write_is_on_disk_when_it_returns(path: str) -> None:
    """The file is in WAL mode with `synchronous=FULL`, on each connection that writes."""
    database = Database(path)
    with database.write() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    database.close()


def test_the_log_can_be_read_with_sqlite(path: str, log: EmbeddedLog) -> None:
    """The view `readable` shows topic, partition, offset, key and value to any SQLite program."""
    publish(log, "t", [b"a", b"b"])
    with sqlite3.connect(path) as foreign:
        rows = foreign.execute("SELECT topic, partition, offset, value FROM readable ORDER BY offset").fetchall()
    foreign.close()
    assert rows == [("t", 0, 0, b"a"), ("t", 0, 1, b"b")]


def test_a_listener_that_fails_keeps_no_partition_from_others(log: EmbeddedLog) -> None:
    """Partitions whose `released` callback raised are granted to the other member nevertheless."""
    log.create([TopicSpec("two", 2, {})])

    class Failing(Seat):
        def released(self, partitions, *, lost) -> None:  # type: ignore[no-untyped-def]
            super().released(partitions, lost=lost)
            raise RuntimeError("a caller's mistake")

    earlier = Failing(log, "group", ["two"])
    earlier.until_granted(2)
    later = Seat(log, "group", ["two"])
    with pytest.raises(RuntimeError, match="mistake"):
        wait_for("the listener to fail", lambda: False, earlier.poll)
    later.until_granted(1)
    with pytest.raises(RuntimeError, match="mistake"):
        earlier.member.close()
    later.until_granted(2)
    later.member.close()


@pytest.mark.parametrize("waits", ["reader", "member"])
def test_wake_ends_waits(waits):
    """A read, and a poll, that wait for records return when another thread wakes the log."""
    log = EmbeddedLog()
    log.create([TopicSpec("t", 1, {})])
    reader, seat = log.reader({("t", 0): 0}), seated(log, "t")
    seat.member.start({("t", 0): 0})
    timer = threading.Timer(0.1, log.wake)
    timer.start()
    began_s = time.monotonic()
    assert (reader.read(10, 30.0) if waits == "reader" else seat.poll(10, 30.0)) == []
    assert time.monotonic() - began_s < 20
    timer.join()
    log.close()
