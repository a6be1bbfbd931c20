"""Tests of the detection of dead members: at once if killed, at the end of the lease if stopped."""

from __future__ import annotations

import errno
import fcntl
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.topics.embedded import MEMORY, EmbeddedLog, group
from penstock.topics.embedded.group import beat, monotonic_ms
from penstock.topics.embedded.presence import Presence
from penstock.topics.log import TopicSpec
from tests.contract.log_tools import Seat
from tests.topics.test_embedded import process

HOUR_MS = 3_600_000


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "log.sqlite3")


@pytest.fixture
def log(path: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedLog]:
    """A log with a topic `t` of one partition, in a process that accepts leases of two hours."""
    monkeypatch.setattr(group, "LEASE_MS", 2 * HOUR_MS)
    opened = EmbeddedLog(path)
    opened.create([TopicSpec("t", 1, {})])
    yield opened
    opened.close()


def freeze(other: subprocess.Popen[str], log: EmbeddedLog) -> None:
    """Stop the other process, with a lease that has an hour to go."""
    other.send_signal(signal.SIGSTOP)
    with log._database.write() as connection:
        connection.execute("UPDATE members SET lease_until_ms = ?", (monotonic_ms() + HOUR_MS,))


def members(log: EmbeddedLog) -> list[int]:
    with log._database.read() as connection:
        return [member for (member,) in connection.execute("SELECT id FROM members ORDER BY id")]


def test_a_successor_of_a_killed_process_waits_for_no_lease(path: str, log: EmbeddedLog) -> None:
    """A member that joins after the only process was killed gets its partitions, an hour before its lease ends."""
    with process("hold", path) as other:
        freeze(other, log)
        other.kill()
        other.wait()
        seat = Seat(log, "group", ["t"])
        assert members(log) == [seat.member.id]  # type: ignore[attr-defined]
        seat.until_granted(1)
        seat.member.close()


def test_the_process_beside_a_killed_one_waits_for_no_lease(path: str, log: EmbeddedLog) -> None:
    """An existing member is granted the partitions of a killed one, whether it is a zombie process or reaped."""
    with process("hold", path) as other:
        seat = Seat(log, "group", ["t"])
        freeze(other, log)
        seat.poll()
        assert seat.held == set()
        other.kill()  # without waiting for its exit code
        seat.until_granted(1)
        seat.member.close()


def test_a_frozen_process_keeps_its_partitions_while_its_lease_lasts(path: str, log: EmbeddedLog) -> None:
    """Neither a join nor a beat evicts a stopped process before its lease ends; then the next beat does."""
    with process("hold", path) as other:
        (holder,) = members(log)
        freeze(other, log)
        seat = Seat(log, "group", ["t"])
        own = seat.member.id  # type: ignore[attr-defined]
        for lease_ms, left in ((HOUR_MS, [holder, own]), (0, [own])):
            with log._database.write() as connection:
                lease_until_ms = monotonic_ms() - 1 + lease_ms
                connection.execute("UPDATE members SET lease_until_ms = ? WHERE id = ?", (lease_until_ms, holder))
                beat(connection, {own: "group"}, log._presence.is_gone)
            assert members(log) == left
        seat.member.close()


def test_the_dead_of_other_groups_are_left_to_them(path: str, log: EmbeddedLog) -> None:
    """Members evict from their own groups only; a dead member's file remains as long as its row."""
    with process("hold", path) as other:
        (holder,) = members(log)
        freeze(other, log)
        other.kill()
        other.wait()
        stranger = Seat(log, "others", ["t"])
        assert members(log) == [holder, stranger.member.id]  # type: ignore[attr-defined]
        assert log._presence.is_gone(holder)
        stranger.member.close()


def test_no_file_is_left(path: str, log: EmbeddedLog) -> None:
    """Leaving members remove their files, joining ones those of dead processes; then the folder is removed."""
    folder = Path(f"{path}-members")
    with process("hold", path) as other:
        assert [file.name for file in folder.iterdir()] == [str(member) for member in members(log)]
        other.kill()
        other.wait()
    seats = [Seat(log, "group", ["t"]) for _ in range(3)]
    assert {file.name for file in folder.iterdir()} == {str(member) for member in members(log)}
    for seat in seats:
        seat.member.close()
    assert not folder.exists()


def test_a_member_that_was_evicted_is_present_under_its_new_id(log: EmbeddedLog, path: str) -> None:
    """A rejoining member holds the lock of its new id, and its previous file is removed at the next join."""
    sleeper = Seat(log, "group", ["t"])
    sleeper.until_granted(1)
    with log._database.write() as connection:
        group.evict(connection, "group", [sleeper.member.id])  # type: ignore[attr-defined]
    sleeper.poll()
    sleeper.until_granted(1)
    other = EmbeddedLog(path)
    assert [other._presence.is_gone(member) for member in members(log)] == [False]
    guest = Seat(other, "group", ["t"])
    assert {file.name for file in Path(f"{path}-members").iterdir()} == {str(member) for member in members(log)}
    for seat in (sleeper, guest):
        seat.member.close()
    other.close()


def test_where_no_file_can_be_made_the_lease_decides(
    path: str, log: EmbeddedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Members join although the folder cannot be created, and dead ones are evicted when their lease ends."""
    Path(f"{path}-members").write_text("in the way")
    with process("hold", path) as other:
        other.kill()
        other.wait()
    (holder,) = members(log)
    seat = Seat(log, "group", ["t"])
    assert members(log) == [holder, seat.member.id]  # type: ignore[attr-defined]
    seat.until_granted(1)
    seat.member.close()


def test_without_file_locks_no_member_is_considered_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system without locks, members are neither present nor gone."""

    def refused(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "not here")

    monkeypatch.setattr(fcntl, "flock", refused)
    ours, theirs = Presence(tmp_path / "members"), Presence(tmp_path / "members")
    ours.announce(1)
    assert not theirs.is_gone(1)


def test_presence(tmp_path: Path) -> None:
    """A member is gone if its file exists and its lock is free; unknown members and the process's own are not."""
    ours, theirs = Presence(tmp_path / "members"), Presence(tmp_path / "members")
    assert not theirs.is_gone(1)
    ours.announce(1)
    assert not theirs.is_gone(1)
    assert not ours.is_gone(1)
    ours.release(1)
    assert theirs.is_gone(1)
    theirs.withdraw(1)
    assert not theirs.is_gone(1)
    ours.release(1)


def test_an_id_that_is_given_again_for_the_first_time(tmp_path: Path) -> None:
    """After an enrolment that did not commit, the same id is announced anew, by this log or by another."""
    ours, theirs = Presence(tmp_path / "members"), Presence(tmp_path / "members")
    for _ in range(2):
        ours.announce(1)
    assert not theirs.is_gone(1)
    ours.release(1)
    theirs.announce(1)
    assert not ours.is_gone(1)
    theirs.release(1)


def test_a_log_in_memory_has_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members of a log in memory die with it and leave nothing on disk."""
    monkeypatch.chdir(tmp_path)
    log = EmbeddedLog(MEMORY)
    log.create([TopicSpec("t", 1, {})])
    seats = [Seat(log, "group", ["t"]) for _ in range(2)]
    seats[0].until_granted(1)
    log.close()
    assert list(tmp_path.iterdir()) == []
