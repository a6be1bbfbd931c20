"""Tests of opening shards: what does not fit the log stops its shard alone, and a restore leaves time for polls."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from penstock import workflow
from penstock.engine.core.hosted import Hosted
from penstock.engine.core.keys import SHARD_KEY
from penstock.engine.core.rows import ShardRow, pack, unpack_shard
from penstock.engine.runtime.driver import Driver, DriverSettings
from penstock.engine.store.memory import MemoryStore
from penstock.schemas.errors import OutcomeUnknown
from penstock.topics import admin
from penstock.topics.catalogue import Topics, specs
from penstock.topics.commit import TransactionalCommits
from penstock.topics.embedded import log as log_module
from penstock.topics.embedded.database import OFFSET_BITS
from penstock.topics.kafka import KafkaLog, reading
from penstock.topics.log import Record
from penstock.topics.partitioner import partition_of
from penstock.topics.publishing import publish
from tests.contract.log_tools import WAIT_S, unique, wait_for
from tests.engine.runtime.driver_rig import Rig

FIRST, SECOND = "r-3", "r-0"
"""Ids of the first and of the second of two shards."""
assert [partition_of(id, 2) for id in (FIRST, FIRST + "-more", SECOND, SECOND + "-more")] == [0, 0, 1, 1]


@workflow(name="openings_quick")
async def quick() -> int:
    return 1


class KeptStore(MemoryStore):
    """A store that can be opened again, as one on disk."""

    def close(self) -> None:
        """Keep the rows."""


class Stores(dict[int, KeptStore]):
    """The stores of a machine, by shard."""

    def __missing__(self, number: int) -> KeptStore:
        self[number] = KeptStore()
        return self[number]


@pytest.fixture
def rig() -> Iterator[Callable[..., Rig]]:
    """Makes rigs of two shards, and closes them."""
    made: list[Rig] = []

    def make(**options: Any) -> Rig:
        made.append(Rig(quick, shards=2, **options))
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
    assert not it.driver._openings.is_restoring
    assert list(it.driver.stores()) == [1]
    assert opening.store._closed  # type: ignore[attr-defined]


class SlowStore(MemoryStore):
    """A store on a disk that takes its time."""

    def write(self, rows: Mapping[bytes, bytes | None]) -> None:
        time.sleep(0.05)
        super().write(rows)


def test_a_restore_may_take_longer_than_the_poll_interval(
    kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Kafka, a member whose restore takes several times max.poll.interval.ms keeps its shard and opens it."""
    monkeypatch.setattr(reading, "BATCH_RECORDS", 20)
    log = KafkaLog(kafka_bootstrap, {"session.timeout.ms": "1000", "max.poll.interval.ms": "1000"})
    topics = Topics(unique("slow"))
    admin.apply(log, admin.plan(log, specs(topics, 1, ["default"])))
    rows = [Record(topics.state_changelog, 0, b"k%d" % number, b"v") for number in range(1_200)]
    publish(log, [*rows, Record(topics.state_changelog, 0, SHARD_KEY, pack(ShardRow(transaction=1)))], WAIT_S)
    commits = TransactionalCommits(log.transactor(unique("slow")))
    driver = Driver(
        log, topics, 1, Hosted({}), open_store=lambda number: SlowStore(), transactional_id="slow", commits=commits
    )
    began_s = time.monotonic()
    with capture_logs() as logs:
        wait_for("the shard to open", lambda: bool(driver.stores()), driver.step)
    assert time.monotonic() - began_s > 2
    assert [line for line in logs if line["event"] == "shards released"] == []
    assert driver.stores()[0].get(b"k1199") == b"v"
    driver.close()
    driver.abandon()
    commits.close()
    log.close()
