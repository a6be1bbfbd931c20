"""Tests of opening shards: what does not fit the log stops its shard alone, and a restore leaves time for polls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from penstock import activity, workflow
from penstock.engine.core.keys import SHARD_KEY
from penstock.engine.core.rows import ShardRow, pack, unpack_shard
from penstock.engine.runtime.driver import DriverSettings
from penstock.schemas.errors import LogUnavailable, OutcomeUnknown, TransactionAborted
from penstock.topics.embedded import log as log_module
from penstock.topics.embedded.database import OFFSET_BITS
from penstock.topics.embedded.group import EmbeddedMember
from penstock.topics.log import Record
from penstock.topics.partitioner import partition_of
from tests.engine.runtime.driver_rig import Rig, Stores

FIRST, SECOND = "r-3", "r-0"
"""Ids of the first and of the second of two shards."""
assert [partition_of(id, 2) for id in (FIRST, FIRST + "-more", SECOND, SECOND + "-more")] == [0, 0, 1, 1]


@workflow(name="openings_quick")
async def quick() -> int:
    return 1


@activity(name="openings_answer")
def answer() -> int:
    return 1


@workflow(name="openings_asks")
async def asks() -> int:
    return await answer()


@pytest.fixture
def rig() -> Iterator[Callable[..., Rig]]:
    """Makes rigs of two shards, and closes them."""
    made: list[Rig] = []

    def make(**options: Any) -> Rig:
        made.append(Rig(quick, asks, shards=2, **options))
        made[-1].turns(3)
        return made[-1]

    yield make
    for each in made:
        each.close()


def _begin(it: Rig) -> None:
    """Complete a run on each shard."""
    for id in (FIRST, SECOND):
        it.start(quick, id=id)
    it.turns(5)
    assert it.completed() == [FIRST, SECOND]


def _cut(it: Rig, topic: str, number: int, end: int) -> list[Any]:
    """Let the log lose the records of a partition from `end` on; returns them."""
    with it.log._database.write() as connection:
        ((id,),) = connection.execute("SELECT id FROM partitions WHERE topic = ? AND number = ?", (topic, number))
        lost = (id << OFFSET_BITS) + end, (id + 1) << OFFSET_BITS
        rows = connection.execute("SELECT * FROM records WHERE place >= ? AND place < ?", lost).fetchall()
        connection.execute("DELETE FROM records WHERE place >= ? AND place < ?", lost)
        connection.execute("UPDATE partitions SET next = ? WHERE id = ?", (end, id))
    return rows


def _bring_back(it: Rig, rows: list[Any]) -> None:
    """Undo `_cut`."""
    with it.log._database.write() as connection:
        connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?)", rows)
        id, end = rows[-1][0] >> OFFSET_BITS, rows[-1][0] % (1 << OFFSET_BITS) + 1
        connection.execute("UPDATE partitions SET next = ? WHERE id = ?", (end, id))


def _reasons(logs: list[Any]) -> list[str]:
    """Why shards were stopped."""
    return [line["error"] for line in logs if line["event"].startswith("a shard is stopped")]


def test_a_shard_whose_state_is_missing_is_stopped_alone(rig: Callable[..., Rig]) -> None:
    """With changelog and store of a shard gone, its inputs are not processed again; the other shard goes on."""
    it = rig()
    _begin(it)
    events = len(it.committed(it.topics.events))
    _cut(it, it.topics.state_changelog, 0, 0)
    with capture_logs() as logs:
        it.restart()
        it.start(quick, id=SECOND + "-more")
        it.turns(5)
    (reason,) = _reasons(logs)
    assert "the state of shard 0 is missing: penstock.default.commands[0] was processed up to 1" in reason
    assert list(it.driver.stores()) == [1]
    assert it.completed() == [FIRST, SECOND, SECOND + "-more"]
    assert len(it.committed(it.topics.events)) == events + 1


def test_a_shard_whose_state_is_back_goes_on(rig: Callable[..., Rig]) -> None:
    """A stopped shard is tried again at intervals, and opens without a restart once its state fits the log."""
    it = rig()
    _begin(it)
    rows = _cut(it, it.topics.state_changelog, 0, 0)
    it.restart()
    it.turns(3)
    assert list(it.driver.stores()) == [1]
    _bring_back(it, rows)
    it.now_ms += 60_000
    it.turns(3)
    assert sorted(it.driver.stores()) == [0, 1]
    assert it.status(FIRST) == "completed"


def test_a_store_ahead_of_the_log_stops_its_shard_alone(rig: Callable[..., Rig]) -> None:
    """A store with records that its changelog has lost stops its shard, and the other shard of the process works."""
    it = rig(stores=Stores())
    _begin(it)
    _cut(it, it.topics.state_changelog, 1, 1)
    with capture_logs() as logs:
        it.restart()
        it.turns(3)
    (reason,) = _reasons(logs)
    assert "state-changelog[1] ends at 1, but this store has applied it up to" in reason
    assert list(it.driver.stores()) == [0]


def test_an_overwritten_changelog_stops_its_shard_alone(rig: Callable[..., Rig]) -> None:
    """A changelog as long as the store knows it, with other records in the end, stops its shard."""
    it = rig(stores=Stores())
    _begin(it)
    lost = _cut(it, it.topics.state_changelog, 1, 1)
    for _ in lost:
        row = pack(ShardRow(transaction=1, offsets={it.topics.commands: 0}))
        it.publish(Record(it.topics.state_changelog, 1, SHARD_KEY, row))
    with capture_logs() as logs:
        it.restart()
        it.turns(3)
    (reason,) = _reasons(logs)
    assert "state-changelog[1] has other records below offset" in reason
    assert list(it.driver.stores()) == [0]


def test_a_log_that_changes_under_an_open_shard_stops_it(rig: Callable[..., Rig]) -> None:
    """A processor that goes back to its stores, and finds one of them ahead of the log, closes that shard alone."""
    it = rig()
    _begin(it)
    rows = _cut(it, it.topics.state_changelog, 0, 1)
    refusals = iter([OutcomeUnknown("as a broker that was replaced")])
    it.commits.refusal = lambda turn: next(refusals, None)
    with capture_logs() as logs:
        it.start(quick, id=SECOND + "-more")
        it.start(quick, id=FIRST + "-more")
        it.turns(6)
    assert len(_reasons(logs)) == 1
    assert list(it.driver.stores()) == [1]
    _bring_back(it, rows)
    it.now_ms += 60_000
    it.turns(6)
    assert sorted(it.driver.stores()) == [0, 1]
    assert sorted(it.completed()) == sorted([FIRST, SECOND, FIRST + "-more", SECOND + "-more"])


def _fill(it: Rig, number: int, records: int) -> None:
    """Make the changelog of a shard long, without a change of its state."""
    publisher = it.log.publisher()
    for index in range(records):
        publisher.send(Record(it.topics.state_changelog, number, b"filler/%d" % index, b"x"))
    last = [r for b in it.log.read_to_end(it.topics.state_changelog, number, 0, 5) for r in b if r.key == SHARD_KEY][-1]
    row = unpack_shard(last.value or b"")
    following = msgspec.structs.replace(row, transaction=row.transaction + 1)
    publisher.send(Record(it.topics.state_changelog, number, SHARD_KEY, pack(following)))
    publisher.flush(10)
    publisher.close()


def test_other_shards_work_while_one_is_restored(rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch) -> None:
    """A restore is done in slices, between which the processor polls and decides for its other shards."""
    monkeypatch.setattr(log_module, "READ_RECORDS_MAX", 10)
    it = rig(settings=DriverSettings(restore_slice_s=0.0))
    _begin(it)
    _fill(it, 0, 1_000)
    it.restart()
    it.start(quick, id=SECOND + "-more")
    it.turns(10)
    assert list(it.driver.stores()) == [1]
    assert SECOND + "-more" in it.completed()
    it.turns(120)
    assert sorted(it.driver.stores()) == [0, 1]
    assert it.status(FIRST) == "completed"


def test_a_shard_that_is_released_while_it_is_restored_is_forgotten(
    rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a rebalance takes a shard away in the middle of its restore, its store is closed and nothing is opened."""
    monkeypatch.setattr(log_module, "READ_RECORDS_MAX", 10)
    it = rig(settings=DriverSettings(restore_slice_s=0.0))
    _begin(it)
    _fill(it, 0, 1_000)
    it.restart()
    it.turns(5)
    opening = it.driver._openings._begun[0]
    it.driver.released([(topic, 0) for topic in (it.topics.commands, it.topics.results)], lost=True)
    it.turns(5)
    assert not it.driver._openings.is_unfinished
    assert list(it.driver.stores()) == [1]
    assert opening.store._closed  # type: ignore[attr-defined]


def _accept_loss(it: Rig) -> list[Any]:
    """Restart once with `accept_loss` and once without; returns the lines of both starts."""
    with capture_logs() as logs:
        for accept in (True, False):
            it._settings = DriverSettings(accept_loss=accept)
            it.restart()
            it.turns(5)
    assert _reasons(logs) == []
    assert sorted(it.driver.stores()) == [0, 1]
    return [line for line in logs if line["event"].startswith("a loss is accepted")]


def _works(it: Rig) -> None:
    """Complete another run on each shard."""
    for id in (FIRST + "-more", SECOND + "-more"):
        it.start(quick, id=id)
    it.turns(5)
    assert sorted(it.completed()) == sorted([FIRST, SECOND, FIRST + "-more", SECOND + "-more"])


def test_an_accepted_loss_of_state_opens_the_shard_behind_what_was_processed(rig: Callable[..., Rig]) -> None:
    """With `accept_loss`, a shard without its state goes on at the group's offset; one start accepts it for good."""
    it = rig()
    _begin(it)
    events = len(it.committed(it.topics.events))
    _cut(it, it.topics.state_changelog, 0, 0)
    (line,) = _accept_loss(it)
    assert (line["shard"], line["positions"][it.topics.commands]) == (0, 1)
    assert len(it.committed(it.topics.events)) == events
    assert it.status(FIRST) == ""
    _works(it)


def test_an_accepted_loss_survives_a_commit_that_fails(rig: Callable[..., Rig]) -> None:
    """If the turn that accepts a loss does not commit, the next one does, and nothing is processed again."""
    it = rig()
    _begin(it)
    _cut(it, it.topics.state_changelog, 0, 0)
    refusals = iter([TransactionAborted("once")])
    it.commits.refusal = lambda turn: next(refusals, None)
    _accept_loss(it)
    _works(it)


def test_an_accepted_loss_names_all_inputs_in_its_first_turn(rig: Callable[..., Rig]) -> None:
    """The turn that accepts a loss puts the group's offsets of all inputs anew, also if it has records of one alone."""
    it = rig()
    it.start(asks, id=FIRST)
    it.turns(4)
    it.complete_tasks(value=1)
    it.turns(4)
    assert it.completed() == [FIRST]
    _cut(it, it.topics.state_changelog, 0, 0)
    it.start(quick, id=FIRST + "-more")
    assert len(_accept_loss(it)) == 1
    assert it.completed() == [FIRST, FIRST + "-more"]


@pytest.mark.parametrize("overwritten", [False, True], ids=["cut off", "overwritten"])
def test_an_accepted_loss_restores_the_store_from_the_log(rig: Callable[..., Rig], overwritten: bool) -> None:
    """With `accept_loss`, a store that has other records than its changelog is restored from it anew."""
    it = rig(stores=Stores())
    _begin(it)
    lost = _cut(it, it.topics.state_changelog, 1, 1)
    for _ in lost if overwritten else []:
        row = pack(ShardRow(transaction=1, offsets={it.topics.commands: 0}))
        it.publish(Record(it.topics.state_changelog, 1, SHARD_KEY, row))
    lines = _accept_loss(it)
    assert len(lines) == 2  # the store, then the inputs that its changelog does not cover
    assert it.status(FIRST) == "completed"
    _works(it)


def test_an_accepted_loss_of_inputs_begins_with_the_topic_s_first_record(rig: Callable[..., Rig]) -> None:
    """With `accept_loss`, inputs that are shorter than what was processed are read from their first record on."""
    it = rig()
    _begin(it)
    _cut(it, it.topics.commands, 0, 0)
    (line,) = _accept_loss(it)
    assert line["positions"][it.topics.commands] == 0
    assert "commands[0] ends at 0, but shard 0 has processed it up to 1" in line["error"]
    _works(it)


def test_accepting_losses_changes_nothing_without_one(rig: Callable[..., Rig]) -> None:
    """With `accept_loss`, shards whose state fits the log are opened as ever."""
    it = rig()
    _begin(it)
    assert _accept_loss(it) == []
    assert it.status(FIRST) == "completed"
    _works(it)


def _withhold(monkeypatch: pytest.MonkeyPatch, pending: set[tuple[str, int]]) -> list[tuple[str, int]]:
    """Let the offsets of these partitions be pending; returns the partitions that were asked in vain."""
    asked: list[tuple[str, int]] = []

    def committed(self: EmbeddedMember, partitions: Sequence[tuple[str, int]], timeout_s: float) -> dict[Any, Any]:
        found = pending.intersection(partitions)
        asked.extend(found)
        if found:
            raise LogUnavailable("Local: Timed out")
        return {}

    monkeypatch.setattr(EmbeddedMember, "committed", committed)
    return asked


def test_pending_offsets_are_named_while_they_last(rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch) -> None:
    """The log names topic, partition, transactional id and runbook, and repeats it, at most a minute apart."""
    it = rig()
    _begin(it)
    _withhold(monkeypatch, {(it.topics.results, 1)})
    with capture_logs() as logs:
        it.die()
        for _ in range(300):
            it.now_ms += 1_000
            it.driver.step(0)
    lines = [line for line in logs if line["event"].startswith("a shard cannot be opened yet")]
    assert {(line["topic"], line["partition"]) for line in lines} == {(it.topics.results, 1)}
    assert {line["transactional_id"] for line in lines} == {"rig"}
    assert all("kafka-transactions.sh" in line["event"] for line in lines)
    assert 8 <= len(lines) <= 12
    assert max(line["retry_in_ms"] for line in lines) == 60_000


def test_a_shard_that_cannot_be_opened_keeps_no_other_waiting(
    rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With offsets pending for one shard, the other opens and decides; it opens when the offsets are settled."""
    it = rig()
    pending = {(it.topics.commands, 0)}
    _withhold(monkeypatch, pending)
    it.restart()
    for id in (FIRST, SECOND):
        it.start(quick, id=id)
    it.turns(6)
    assert it.completed() == [SECOND]
    pending.clear()
    it.now_ms += 100_000
    it.turns(6)
    assert sorted(it.completed()) == sorted([FIRST, SECOND])


def test_shards_that_cannot_be_opened_are_tried_between_polls(
    rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each shard whose offsets are pending keeps the polling thread for a while: a step tries one such shard."""
    it = rig()
    asked = _withhold(monkeypatch, {(it.topics.commands, 0), (it.topics.commands, 1)})
    it.restart()
    tried = []
    for _ in range(4):
        before = len(asked)
        it.driver.step(0)
        tried.append(len(asked) - before)
    assert sum(tried) == 2
    assert max(tried) == 1
