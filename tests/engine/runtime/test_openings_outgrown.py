"""Tests of records that a newer build wrote: they stop their shard alone, block no run, and wait for that build."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from penstock import Signal, workflow
from penstock.engine.core.keys import HISTORY, run_key, run_prefix
from penstock.engine.core.rows import unpack_run
from penstock.engine.runtime.driver import Driver
from penstock.schemas.encoding import codec
from penstock.schemas.records.run import StartWorkflow
from penstock.schemas.values.levels import LEVEL
from penstock.topics.log import Record
from penstock.topics.partitioner import partition_of
from penstock.topics.registry import level_record
from tests.engine.runtime.driver_rig import Rig, Stores

ON_FIRST = [id for id in (f"r-{number}" for number in range(20)) if partition_of(id, 2) == 0]
ON_SECOND = [id for id in (f"r-{number}" for number in range(20)) if partition_of(id, 2) == 1]
FIRST, NEW, SECOND = ON_FIRST[0], ON_FIRST[1], ON_SECOND[0]
NEWER = codec.MAGIC + b"newschem"
MINUTE_MS = 60_000

go = Signal("outgrown-go", int)


@workflow(name="outgrown_quick")
async def quick() -> int:
    return 1


@workflow(name="outgrown_waits")
async def waits() -> int:
    return await go.wait(timeout="1h") + await go.wait()


@pytest.fixture
def it() -> Iterator[Rig]:
    """A driver with two shards, in a namespace whose level it does not know."""
    made = Rig(quick, waits, shards=2, stores=Stores())
    outgrow(made.driver)
    made.turns(3)
    yield made
    made.close()


def outgrow(driver: Driver) -> None:
    """Let the registry show a level that the program does not know."""
    driver._hosted.note_others({}, LEVEL + 1)


def newer_start(it: Rig, id: str) -> None:
    """Publish a start as a newer build writes it: with a schema that this program does not know."""
    command = StartWorkflow(workflow_id=id, workflow_type=quick.name, input=b"{}", message_id=f"m-{id}")
    record = Record(it.topics.commands, partition_of(id, 2), id.encode(), NEWER + codec.encode(command)[10:])
    it.publish(record)


@pytest.fixture
def upgrade(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let this program read what the newer build wrote."""
    known = codec.encode(StartWorkflow(workflow_id="x", workflow_type="x"))
    codec.decode(known)
    read = codec._readers[known[:10]]
    return lambda: monkeypatch.setitem(codec._readers, NEWER, lambda data: read(known[:10] + data[10:]))


def stops(logs: list[Any]) -> list[Any]:
    return [line for line in logs if "a newer build has written to it" in line["event"]]


def test_a_record_of_a_newer_build_stops_its_shard_alone(it: Rig) -> None:
    """What comes before the record is decided, it is no dead letter, and the other shard goes on; one line tells."""
    it.start(quick, id=FIRST)
    newer_start(it, NEW)
    it.start(quick, id=ON_FIRST[2])
    with capture_logs() as logs:
        it.turns(3)
        it.start(quick, id=SECOND)
        it.turns(3)
    (line,) = stops(logs)
    assert (line["shard"], line["topic"], line["offset"]) == (0, it.topics.commands, 1)
    assert "6e6577736368656d is unknown: upgrade this program" in line["error"]
    assert it.completed() == [FIRST, SECOND]
    assert list(it.driver.stores()) == [1]
    assert it.committed(it.topics.dead_letters) == []


def test_a_stopped_shard_goes_on_with_the_build_that_knows_the_record(it: Rig, upgrade: Callable[[], None]) -> None:
    """A shard that was stopped is released in order: its next owner suspects nothing, and begins with the record."""
    newer_start(it, NEW)
    it.start(quick, id=FIRST)
    it.turns(3)
    assert it.completed() == []
    it.die()
    upgrade()
    suspected = []
    for _ in range(5):
        it.turns(1)
        suspected += it.driver._suspects.numbers()
    assert suspected == []
    assert it.completed() == [NEW, FIRST]


def test_a_stopped_shard_is_opened_again_at_intervals(it: Rig, upgrade: Callable[[], None]) -> None:
    """After a minute a shard is opened again: it stops again with another line, or goes on where it stopped."""
    newer_start(it, NEW)
    with capture_logs() as logs:
        it.turns(5)
        it.now_ms += MINUTE_MS
        it.turns(5)
    assert len(stops(logs)) == 2
    upgrade()
    it.now_ms += MINUTE_MS
    it.turns(5)
    assert it.completed() == [NEW]


def test_a_shard_of_a_higher_level_stays_closed_until_this_build_knows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a namespace of a higher level no shard is opened, the processor goes on, and a line names the remedy."""
    it = Rig(quick, shards=2)
    it.publish(level_record(it.topics, LEVEL + 1, "test"))
    with capture_logs() as logs:
        it.turns(3)
    assert [line["shard"] for line in stops(logs)] == [0, 1]
    assert "run a newer build" in stops(logs)[0]["error"]
    assert not it.driver.stores()
    monkeypatch.setattr("penstock.engine.runtime.takeover.require_level", lambda level: None)
    it.now_ms += MINUTE_MS
    it.turns(3)
    assert sorted(it.driver.stores()) == [0, 1]
    it.close()


def edited(it: Rig, id: str) -> None:
    """Let the history of a run have an event of a newer build."""
    store = it._stores[partition_of(id, 2)]  # type: ignore[index]
    ((key, value),) = list(store.scan(run_prefix(HISTORY, id, f"m-{id}"), run_prefix(HISTORY, id, f"m-{id}") + b"\xff"))
    event = codec.decode(value).events[0]
    store.write({key: value.replace(event[:10], NEWER)})
    for held in it.driver._held.values():
        held.shard.runs.clear()


def test_a_timer_of_a_run_with_a_newer_history_stops_its_shard_alone(it: Rig) -> None:
    """A due timer whose run has an event of a newer build stops its shard alone; the run is not BLOCKED."""
    it.start(waits, id=FIRST)
    it.turns(3)
    edited(it, FIRST)
    it.start(quick, id=SECOND)
    it.now_ms += 60 * MINUTE_MS
    with capture_logs() as logs:
        it.turns(4)
    (line,) = stops(logs)
    assert (line["shard"], FIRST in line["error"]) == (0, True)
    assert it.completed() == [SECOND]
    row = it._stores[0].get(run_key(FIRST))  # type: ignore[index]
    assert unpack_run(row or b"").status == "running"


def test_a_suspicious_record_of_a_newer_build_is_no_death(it: Rig, upgrade: Callable[[], None]) -> None:
    """A record that was announced as suspicious and stopped the shard counts as no death, however often it did."""
    it.die()
    outgrow(it.driver)
    newer_start(it, FIRST)
    for _ in range(3):
        it.turns(5)
        it.driver._ownership.take(0, it.now_ms)  # as if each owner had died after it stopped the shard
        it.die()
        outgrow(it.driver)
    upgrade()
    it.turns(6)
    assert it.completed() == [FIRST]
