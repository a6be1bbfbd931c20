"""Tests of the membership of processes: who is admitted, who counts as live, and the feature level."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import msgspec
import pytest

from penstock.schemas.encoding import codec
from penstock.schemas.errors import NotAdmitted
from penstock.schemas.records.registry import MemberAnnounced
from penstock.schemas.values.levels import LEVEL
from penstock.topics import members
from penstock.topics.admin import apply, plan
from penstock.topics.catalogue import Topics, specs
from penstock.topics.connect import connect
from penstock.topics.embedded import EmbeddedLog
from penstock.topics.log import Log, Record
from penstock.topics.members import Membership, Neighbours, Timing, refusal
from penstock.topics.publishing import publish
from penstock.topics.registry import SeenMember, level_record, member_key, read_registry

TOPICS = Topics()
WAIT_S = 10.0
QUICK = Timing(heartbeat_s=0.05, expires_s=0.5, settle_s=0.0, raise_after_s=3_600.0)

Joining = Callable[..., Membership]


@pytest.fixture
def log() -> Iterator[Log]:
    """A log in memory with the topics of one shard."""
    opened = EmbeddedLog()
    apply(opened, plan(opened, specs(TOPICS, 1)))
    yield opened
    opened.close()


@pytest.fixture
def join(log: Log) -> Iterator[Joining]:
    """A function that joins as a member of this name, with these fields of its announcement."""
    members: list[Membership] = []

    def joined(name: str, timing: Timing = QUICK, **fields: object) -> Membership:
        member = Membership(log, TOPICS, announced(name, **fields), timing=timing)
        members.append(member)
        member.join()
        return member

    yield joined
    for member in members:
        member.leave()


def announced(name: str, **fields: object) -> MemberAnnounced:
    return msgspec.convert({"member": name, "application": "", "expires_ms": 500, **fields}, MemberAnnounced)


def until(what: str, condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s, f"waited {WAIT_S} s for {what}"
        time.sleep(0.01)


def names(log: Log) -> set[str]:
    return set(read_registry(log, TOPICS, WAIT_S).members)


def test_another_application_is_refused(join: Joining, log: Log) -> None:
    """A process of another application is refused with the remedy, and leaves nothing in the registry."""
    join("first", application="orders", host="here", pid=7)
    with pytest.raises(NotAdmitted, match=r"'billing'.*process 7 on here of 'orders'.*--namespace"):
        join("second", application="billing")
    assert names(log) == {"first"}


def test_a_process_without_an_application_name_joins_any(join: Joining) -> None:
    """An application name can be introduced process by process."""
    join("first", workflows={"order": 1})
    join("second", workflows={"order": 1}, application="orders")
    join("third", workflows={"order": 1})


def test_no_type_in_common_is_refused(join: Joining) -> None:
    """A process that hosts none of the types that the live ones host is refused, one that hosts no type is not."""
    join("first", workflows={"order": 1, "refund": 1})
    join("second", workflows={"order": 2, "invoice": 1})
    join("worker", activities=["pay"])
    with pytest.raises(NotAdmitted, match="hosts shipping, and .* hosts invoice, order, refund.*--namespace"):
        join("third", workflows={"shipping": 1})


def test_of_two_that_start_at_once_the_first_stays() -> None:
    """A process that is not admitted yet refuses only those that announced themselves later."""
    first, second = announced("a", application="x"), announced("b", application="y")
    assert refusal(first, SeenMember(first, 1, 0), [SeenMember(second, 2, 0)]) == ""
    assert "'x'" in refusal(second, SeenMember(second, 2, 0), [SeenMember(first, 1, 0)])


def test_a_member_that_ended_hosts_nothing_any_more(join: Joining, log: Log) -> None:
    """What a member hosts is known to the others until it leaves; its announcement is deleted then."""
    first = join("first", workflows={"order": 1})
    second = join("second", workflows={"order": 1, "new": 4}, activities=["pay"])
    until("the new type", lambda: first.neighbours.workflows == {"order": 1, "new": 4})
    assert first.neighbours.activities == {"pay"}
    second.leave()
    until("its end", lambda: first.neighbours == Neighbours({}, frozenset(), LEVEL))
    assert names(log) == {"first"}


def test_a_member_that_died_expires(join: Joining, log: Log) -> None:
    """An announcement that is not repeated counts until it expires by the log's time."""
    entry = announced("dead", workflows={"order": 1, "gone": 1}, admitted=True)
    publish(log, [Record(TOPICS.registry, 0, member_key("dead"), codec.encode(entry))], WAIT_S)
    first = join("first", workflows={"order": 1})
    assert first.neighbours.workflows == {"order": 1, "gone": 1}
    until("the expiry", lambda: first.neighbours.workflows == {})


def test_after_a_gap_the_others_do_not_expire_at_once(log: Log) -> None:
    """A member that could not announce itself for long gives the others time to do so before they expire."""
    member = Membership(log, TOPICS, announced("own"), timing=Timing(heartbeat_s=1.0, expires_s=4.0))
    times = []
    for at_ms in (1_000, 2_000, 60_000, 62_000, 64_500):
        member._take_time(at_ms)
        times.append(member._now_ms)
    assert times == [1_000, 2_000, 2_000, 2_000, 64_500]


def test_announcements_of_long_dead_processes_are_deleted(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that joins deletes announcements that were not repeated for a day."""
    monkeypatch.setattr("penstock.topics.members.FORGOTTEN_MS", -1)
    publish(log, [Record(TOPICS.registry, 0, member_key("dead"), codec.encode(announced("dead")))], WAIT_S)
    member = Membership(log, TOPICS, announced("own"), timing=QUICK)
    member.join(observe=True)
    assert "dead" not in names(log)
    member.leave()


def test_an_unexpected_error_is_logged_and_the_membership_goes_on(
    join: Joining, log: Log, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After an error that no log raises, the process is announced again; the error is one line, with its traceback."""
    first = join("first", workflows={"order": 1})
    monkeypatch.setattr(members, "AWAY_PAUSE_S", 0.01)
    monkeypatch.setattr(first, "_obey_level", lambda: 1 / 0)
    until("the error", lambda: "trying again" in caplog.text)
    time.sleep(0.1)
    assert [bool(line.exc_info) for line in caplog.records if "trying again" in line.message] == [True]
    before = read_registry(log, TOPICS, WAIT_S).members["first"].offset
    monkeypatch.undo()
    until("an announcement", lambda: read_registry(log, TOPICS, WAIT_S).members["first"].offset > before)


def test_a_listener_that_fails_keeps_no_other_uninformed(join: Joining, caplog: pytest.LogCaptureFixture) -> None:
    """The error of a listener is logged; the others are called, and the announcements go on."""
    first = join("first", workflows={"order": 1})
    heard: list[Neighbours] = []

    def fails(neighbours: Neighbours) -> None:
        if neighbours.activities:
            raise ZeroDivisionError("a listener's")

    first.listen(fails)
    first.listen(heard.append)
    join("second", workflows={"order": 1}, activities=["pay"])
    until("the second listener", lambda: heard[-1].activities == {"pay"})
    assert "a listener's" in caplog.text


def test_the_level_is_raised_when_all_members_know_it_for_a_while(join: Joining, log: Log) -> None:
    """It is raised by itself after the delay, and not while a member does not know it."""
    timing = msgspec.structs.replace(QUICK, raise_after_s=0.2)
    old = join("old", timing)
    join("new", timing, level=LEVEL + 1)
    time.sleep(0.6)
    assert read_registry(log, TOPICS, WAIT_S).level == LEVEL
    old.leave()
    until("the level", lambda: read_registry(log, TOPICS, WAIT_S).level == LEVEL + 1)


def test_a_build_that_is_too_old_is_refused(join: Joining, log: Log) -> None:
    """A process that does not know the namespace's level is refused."""
    publish(log, [level_record(TOPICS, LEVEL + 1, "operator")], WAIT_S)
    with pytest.raises(NotAdmitted, match=f"feature level {LEVEL + 1} .* run a newer build"):
        join("old")
    assert names(log) == set()


def test_a_running_build_that_becomes_too_old_leaves(join: Joining, log: Log) -> None:
    """A member learns of a level that it does not know, and reports that it has to leave."""
    member = join("old")
    publish(log, [level_record(TOPICS, LEVEL + 1, "operator")], WAIT_S)
    until("the error", lambda: member.error is not None)


def test_records_are_written_at_the_lowest_level_of_a_process_s_namespaces(join: Joining) -> None:
    """While a process is a member, it writes at its namespace's level; afterwards at its own again."""
    member = join("new", level=LEVEL + 1)
    assert codec._writers.level == LEVEL
    member.leave()
    assert codec._writers.level == LEVEL


def test_on_a_broker(kafka_bootstrap: str) -> None:
    """On Kafka, members see each other come and go by the broker's append time."""
    log, topics = connect(f"kafka://{kafka_bootstrap}"), Topics("members-test")
    apply(log, plan(log, specs(topics, 1)))
    timing = msgspec.structs.replace(QUICK, expires_s=20.0)
    first, second, third = (
        Membership(log, topics, announced(name, workflows=dict.fromkeys(types, 1)), timing=timing)
        for name, types in (("first", ["order"]), ("second", ["order", "new"]), ("third", ["shipping"]))
    )
    try:
        first.join()
        second.join()
        with pytest.raises(NotAdmitted, match="hosts shipping"):
            third.join()
        until("the new type", lambda: "new" in first.neighbours.workflows)
        now_ms = time.time() * 1000
        assert all(abs(seen.at_ms - now_ms) < 20_000 for seen in first.live())
        second.leave()
        until("its end", lambda: first.neighbours.workflows == {})
    finally:
        first.leave()
        second.leave()
        log.close()
