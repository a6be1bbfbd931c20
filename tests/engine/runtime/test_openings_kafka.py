"""Tests of opening shards on Kafka, where marks of transactions, the group and its offsets are the broker's."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from structlog.testing import capture_logs

from penstock import workflow
from penstock.engine.core.hosted import Hosted
from penstock.engine.core.keys import SHARD_KEY
from penstock.engine.core.rows import ShardRow, pack
from penstock.engine.runtime import openings, takeover
from penstock.engine.runtime.driver import Driver, DriverSettings
from penstock.engine.store.memory import MemoryStore
from penstock.schemas.encoding.codec import encode
from penstock.schemas.records.run import StartWorkflow
from penstock.topics import admin
from penstock.topics.catalogue import Topics, specs
from penstock.topics.commit import TransactionalCommits
from penstock.topics.kafka import KafkaLog, reading
from penstock.topics.log import CommittedOffset, Record
from penstock.topics.publishing import publish
from tests.contract.log_tools import WAIT_S, Seat, recovered, unique, wait_for
from tests.engine.runtime.driver_rig import Stores


@workflow(name="openings_kafka_quick")
async def quick() -> int:
    return 1


def _reasons(logs: list[Any]) -> list[str]:
    """Why shards were stopped."""
    return [line["error"] for line in logs if line["event"].startswith("a shard is stopped")]


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
