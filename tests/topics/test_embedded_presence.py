"""Does a dead process lose its partitions at once, and a frozen one not before its lease ends?"""

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
    """A log with a topic `t` of one partition, in a process in whose eyes leases may last two hours."""
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
    """Who joins when the only process was killed is granted its partitions, though its lease has an hour to go."""
    with process("hold", path) as other:
        freeze(other, log)
        other.kill()
        other.wait()
        seat = Seat(log, "group", ["t"])
        assert members(log) == [seat.member.id]  # type: ignore[attr-defined]
        seat.until_granted(1)
        seat.member.close()


def test_the_process_beside_a_killed_one_waits_for_no_lease(path: str, log: EmbeddedLog) -> None:
    """Who was a member before is granted the partitions of one that is killed, dead or a zombie."""
    with process("hold", path) as other:
        seat = Seat(log, "group", ["t"])
        freeze(other, log)
        seat.poll()
        assert seat.held == set()
        other.kill()  # and nobody asks for its exit code
        seat.until_granted(1)
        seat.member.close()


def test_a_frozen_process_keeps_its_partitions_while_its_lease_lasts(path: str, log: EmbeddedLog) -> None:
    """Neither joining nor any beat strikes a stopped process off before its lease ended; then the next beat does."""
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
    """Members judge their own group alone; the file of a dead member stays as long as its row does."""
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
    """Members that leave remove their files, and who joins those that dead processes left; then the folder goes."""
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
    """Whoever joins again holds the lock of its new id, and its elder file goes with the next who joins."""
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
    """A folder that cannot be made keeps nobody from joining, and the dead are struck off when their lease ends."""
    Path(f"{path}-members").write_text("in the way")
    with process("hold", path) as other:
        other.kill()
        other.wait()
    (holder,) = members(log)
    seat = Seat(log, "group", ["t"])
    assert members(log) == [holder, seat.member.id]  # type: ignore[attr-defined]
    seat.until_granted(1)
    seat.member.close()


def test_where_files_know_no_locks_nobody_is_taken_for_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system without locks, members are neither present nor gone."""

    def refused(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "not here")

    monkeypatch.setattr(fcntl, "flock", refused)
    ours, theirs = Presence(tmp_path / "members"), Presence(tmp_path / "members")
    ours.announce(1)
    assert not theirs.is_gone(1)


def test_presence(tmp_path: Path) -> None:
    """A member is gone when its lock was let go of and its file is there; unknown ones, and one's own, are not."""
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
