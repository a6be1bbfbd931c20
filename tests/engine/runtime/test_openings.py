"""Tests of opening shards: what does not fit the log stops its shard alone, and a restore leaves time for polls."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import pytest
from confluent_kafka.admin import AdminClient
from structlog.testing import capture_logs

from penstock import activity, workflow
from penstock.engine.core.hosted import Hosted
from penstock.engine.core.keys import SHARD_KEY
from penstock.engine.core.rows import ShardRow, pack, unpack_shard
from penstock.engine.runtime import openings, takeover
from penstock.engine.runtime.driver import Driver, DriverSettings
from penstock.engine.store.memory import MemoryStore
from penstock.schemas.encoding.codec import encode
from penstock.schemas.errors import LogUnavailable, OutcomeUnknown, TransactionAborted
from penstock.schemas.records.run import StartWorkflow
from penstock.topics import admin
from penstock.topics.catalogue import Topics, specs
from penstock.topics.commit import TransactionalCommits
from penstock.topics.embedded import log as log_module
from penstock.topics.embedded.database import OFFSET_BITS
from penstock.topics.embedded.group import EmbeddedMember
from penstock.topics.kafka import KafkaLog, reading
from penstock.topics.log import CommittedOffset, Record
from penstock.topics.partitioner import partition_of
from penstock.topics.publishing import publish
from tests.contract.log_tools import WAIT_S, Seat, recovered, unique, wait_for
from tests.engine.runtime.driver_rig import Rig

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


class Broken:
    """A namespace of one shard on Kafka, whose processors are ended and started, and what its log went through."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self.log, self.topics = KafkaLog(bootstrap, {"session.timeout.ms": "6000"}), Topics(unique("broken"))
        self.specs = specs(self.topics, 1, ["default"])
        admin.apply(self.log, admin.plan(self.log, self.specs))
        self.stores = Stores()
        self.driver: Driver | None = None
        self.completed = 0

    def start(self, **settings: Any) -> Driver:
        """Start a processor, after the one before was ended."""
        self.end()
        self._commits = TransactionalCommits(self.log.transactor(f"{self.topics.namespace}-slot"))
        self.driver = Driver(
            self.log,
            self.topics,
            1,
            Hosted({quick.name: quick}),
            open_store=lambda number: self.stores[number],
            transactional_id=f"{self.topics.namespace}-slot",
            commits=self._commits,
            settings=DriverSettings(**settings),
        )
        return self.driver

    def end(self) -> None:
        """End the processor."""
        if self.driver is not None:
            self.driver.close()
            self.driver.abandon()
            self._commits.close()
            self.driver = None

    def close(self) -> None:
        """End all."""
        self.end()
        self.log.close()

    def run(self, id: str) -> None:
        """Start a run, and wait until it has closed."""
        assert self.driver is not None
        call = quick()
        call.claim()
        command = StartWorkflow(workflow_id=id, workflow_type=quick.name, input=call.input, message_id=f"m-{id}")
        publish(self.log, [Record(self.topics.commands, 0, id.encode(), encode(command))], WAIT_S)
        self.completed += 1
        wait_for(f"{id} to close", self._has_completed, self.driver.step)
        self.driver.settle(wait=True)

    def _has_completed(self) -> bool:
        batches = self.log.read_to_end(self.topics.completions, 0, 0, WAIT_S)
        return sum(len(batch) for batch in batches) == self.completed

    def make_changelog_anew(self) -> None:
        """Delete the changelog, and create it again."""
        topic = self.topics.state_changelog
        client = AdminClient({"bootstrap.servers": self._bootstrap})
        client.delete_topics([topic])[topic].result(WAIT_S)
        wait_for("the topic to be gone", lambda: not self.log.describe([topic]), lambda: time.sleep(0.1))
        self.log.create([spec for spec in self.specs if spec.name == topic])

    def stopped(self, *words: str) -> None:
        """Step until the shard is stopped for a reason with these words."""
        assert self.driver is not None
        with capture_logs() as logs:
            wait_for("the shard to be stopped", lambda: bool(_reasons(logs)), self.driver.step)
        assert all(word in _reasons(logs)[0] for word in words), _reasons(logs)
        assert not self.driver.stores()

    def opened(self) -> list[Any]:
        """Step until the shard is open; returns what was logged."""
        driver = self.driver
        assert driver is not None
        with capture_logs() as logs:
            wait_for("the shard to open", lambda: bool(driver.stores()), driver.step)
        return logs


@pytest.fixture
def broken(kafka_bootstrap: str) -> Iterator[Broken]:
    """A namespace on Kafka."""
    made = Broken(kafka_bootstrap)
    yield made
    made.close()


def test_on_kafka_a_shard_without_its_state_is_stopped_and_a_loss_accepted(broken: Broken) -> None:
    """With changelog and store gone, the group's offsets on the broker stop the shard; an accepted loss opens it."""
    broken.start()
    broken.opened()
    broken.run("one")
    broken.end()
    broken.stores.clear()
    broken.make_changelog_anew()
    broken.start()
    broken.stopped("the state of shard 0 is missing", "commands[0] was processed up to 1", "--accept-loss")
    broken.start(accept_loss=True)
    broken.opened()
    broken.run("two")
    broken.start()
    broken.opened()
    broken.run("three")


def test_on_kafka_a_current_store_is_never_rebuilt(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    """The marks of transactions behind a store's last record are no records: a store that is idle for long is kept."""
    broken.start()
    broken.opened()
    broken.run("one")
    broken.end()
    broken.stores[0].write({b"\x00mark": b"1"})
    monkeypatch.setattr(takeover, "DELETE_RETENTION_MS", -(2**60))  # any age is too old
    broken.start()
    (line,) = [line for line in broken.opened() if line["event"] == "shard restored"]
    assert (line["records"], line["wiped"]) == (0, False)
    assert broken.stores[0].get(b"\x00mark") == b"1"


def test_on_kafka_a_changelog_that_was_made_anew_is_noticed(broken: Broken) -> None:
    """A changelog that was deleted and created again stops the shard whose store has applied more than it holds."""
    broken.start()
    broken.opened()
    broken.run("one")
    broken.end()
    broken.make_changelog_anew()
    broken.start()
    broken.stopped("state-changelog[0] ends at 0, but this store has applied it up to", "--accept-loss")


def test_on_kafka_pending_offsets_are_named(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction that holds offsets of a shard and stays open is named by the partition; then the shard opens."""
    monkeypatch.setattr(openings, "OPEN_TIMEOUT_S", 0.5)
    group = f"{broken.topics.prefix}.{broken.topics.namespace}.processors"
    seat = Seat(broken.log, group, [broken.topics.commands, broken.topics.results])
    seat.until_granted(2)
    transactor = recovered(broken.log)
    transactor.begin()
    transactor.produce([Record(broken.topics.commands, 0, None, b"never committed")])
    transactor.offsets({(broken.topics.commands, 0): CommittedOffset(0)}, seat.member)
    seat.member.close()
    driver, lines = broken.start(), []

    def is_named() -> bool:
        lines.extend(line for line in logs if "kafka-transactions.sh" in line["event"])
        return bool(lines)

    with capture_logs() as logs:
        wait_for("the pending offsets to be named", is_named, driver.step)
    assert (lines[0]["topic"], lines[0]["partition"]) == (broken.topics.commands, 0)
    transactor.abort()
    transactor.close()
    broken.opened()
