"""Ways to host one run: shards over stores in memory, and a driver on a log. Time passes, and work ends, by hand."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import msgspec

from penstock.engine.authoring.definition import registered_workflows
from penstock.engine.core.hosted import Hosted
from penstock.engine.core.keys import NEVER_MS
from penstock.engine.runtime import reads
from penstock.engine.runtime.driver import Driver, DriverSettings
from penstock.engine.runtime.shard import Shard
from penstock.engine.store.memory import MemoryStore
from penstock.engine.store.store import StoreReader
from penstock.schemas.encoding.codec import decode, encode
from penstock.schemas.failure import Failure
from penstock.schemas.records.decisions import DecisionRecorded
from penstock.schemas.records.kinds import Command
from penstock.schemas.records.tasks import TaskCompleted, TaskFailed
from penstock.topics import admin
from penstock.topics.catalogue import Topics, specs
from penstock.topics.commit import TransactionalCommits
from penstock.topics.log import Log, Record, StoredRecord
from tests.contract.log_tools import WAIT_S
from tests.engine.execution.programs import FAILS_FROM, Programmed, small
from tests.engine.stage import START_MS, Stage

ID = "run-1"


class Rig(Protocol):
    """What hosts the run."""

    now_ms: int

    @property
    def store(self) -> StoreReader: ...
    def tell(self, inputs: Sequence[Any]) -> None:
        """Append commands, or results, and decide them in one turn, then what is due."""
        ...

    def tick(self) -> None:
        """Decide what is due."""
        ...

    def replies(self) -> list[Any]:
        """All replies so far."""
        ...

    def decisions(self) -> list[DecisionRecorded]:
        """All decisions so far."""
        ...

    def close(self) -> None: ...


def next_due_ms(rig: Rig) -> int:
    """When the next timer is due."""
    due = reads.pending_work(rig.store).due
    return due.due_ms if due is not None else NEVER_MS


def advance(rig: Rig, seconds: float) -> None:
    """Let time pass, each timer firing at its time."""
    end_ms = rig.now_ms + round(seconds * 1000)
    while (due_ms := next_due_ms(rig)) <= end_ms:
        rig.now_ms = max(rig.now_ms, due_ms)
        rig.tick()
    rig.now_ms = end_ms


def attempts(rig: Rig) -> list[TaskCompleted | TaskFailed]:
    """Results of the attempts that the workers have, the oldest first: from a number on, they fail."""
    described = reads.describe(rig.store, ID)
    pending = described["pending_activities"] if described is not None else []
    return [_result(described["run_id"], one) for one in pending if not one["retry_ms"]]  # type: ignore[index]


def _result(run_id: str, pending: dict[str, Any]) -> TaskCompleted | TaskFailed:
    token = {"workflow_id": ID, "run_id": run_id, "sequence": pending["sequence"], "attempt": pending["attempt"]}
    n = pending["input"]
    if pending["activity"] != "programs-undo" and n >= FAILS_FROM and (n % 2 or pending["attempt"] == 1):
        return TaskFailed(**token, failure=Failure(type="Refused", message=f"no {n}"))
    return TaskCompleted(**token, result=msgspec.json.encode(n * 2))


class Evicting(Stage):
    """A stage that evicts every run after each input, also within a turn, and replaces its shards after each turn."""

    def _decide(self, node: Shard, records: list[StoredRecord]) -> None:
        for record in records:
            node.take([record], self.now_ms)
            node.runs.clear()
        layer = node.seal(self.now_ms)
        if layer is None:
            return
        self.stores[node.number].write(layer.writes)
        node.confirm(layer)
        node.close()
        self.nodes[node.number] = self._shard(node.number)
        for record in layer.outputs:
            self._route(record)


class InMemory:
    """A shard over a store in memory. `restarts`: every execution is rebuilt from its history for each decision, and
    reads leave none behind."""

    def __init__(self, *, restarts: bool = False) -> None:
        self.stage = Evicting(Programmed, small, strict_inputs=True) if restarts else Stage(Programmed, small)

    @property
    def now_ms(self) -> int:
        """The time."""
        return self.stage.now_ms

    @now_ms.setter
    def now_ms(self, now_ms: int) -> None:
        self.stage.now_ms = now_ms

    @property
    def store(self) -> StoreReader:
        """The shard's store."""
        return self.stage.stores[0]

    def tell(self, inputs: Sequence[Any]) -> None:
        """Append and decide."""
        for one in inputs:
            self.stage.put("commands" if isinstance(one, Command) else "results", 0, encode(one))
        self.stage.settle()
        self.tick()

    def tick(self) -> None:
        """Decide what is due."""
        while next_due_ms(self) <= self.now_ms:
            self.stage.tick()

    def replies(self) -> list[Any]:
        """All replies so far."""
        return list(self.stage.sent.get("replies", ()))

    def decisions(self) -> list[DecisionRecorded]:
        """All decisions so far."""
        return list(self.stage.sent.get("events", ()))

    def close(self) -> None:
        """Close what is in memory."""
        for node in self.stage.nodes:
            node.close()


class OnLog:
    """A driver on a log, with a namespace of its own."""

    def __init__(self, log: Log, name: str, *, wait_s: float = 0.0) -> None:
        self.log, self.topics, self.now_ms, self._name, self._wait_s = log, Topics(name), START_MS, name, wait_s
        admin.apply(log, admin.plan(log, specs(self.topics, 1, ["default"])))
        self._store, self._publisher = MemoryStore(), log.publisher()
        self._ends = {self.topics.commands: 0, self.topics.results: 0}
        self._commits = TransactionalCommits(log.transactor(name))
        definition = registered_workflows()["programs-programmed"]
        self.driver = Driver(
            log,
            self.topics,
            1,
            Hosted({definition.name: definition}),
            open_store=lambda number: self._store,
            transactional_id=name,
            commits=self._commits,
            settings=DriverSettings(private_log=True),
            clock_ms=lambda: self.now_ms,
        )

    @property
    def store(self) -> StoreReader:
        """The shard's store."""
        return self._store

    def tell(self, inputs: Sequence[Any]) -> None:
        """Append and decide."""
        for one in inputs:
            topic = self.topics.commands if isinstance(one, Command) else self.topics.results
            self._publisher.send(Record(topic, 0, ID.encode(), encode(one)))
            self._ends[topic] += 1
        self._publisher.flush(WAIT_S)
        self.tick()

    def tick(self) -> None:
        """Take turns until everything is decided and stored."""
        deadline_s = time.monotonic() + WAIT_S
        while not self._at_rest():
            assert time.monotonic() < deadline_s, f"{self._name} did not come to rest"
            self.driver.step(self._wait_s)

    def _at_rest(self) -> bool:
        if 0 not in self.driver.stores():
            return False
        pending = reads.pending_work(self._store)
        unread = any(pending.offsets.get(topic, 0) < end for topic, end in self._ends.items())
        return not unread and (pending.due is None or pending.due.due_ms > self.now_ms)

    def replies(self) -> list[Any]:
        """All replies so far."""
        return list(self._committed(self.topics.replies))

    def decisions(self) -> list[DecisionRecorded]:
        """All decisions so far."""
        return list(self._committed(self.topics.events))

    def _committed(self, topic: str) -> Iterator[Any]:
        for batch in self.log.read_to_end(topic, 0, 0, WAIT_S):
            yield from (decode(record.value) for record in batch if record.value is not None)

    def close(self) -> None:
        """Stop the driver; the log stays open."""
        self.driver.close()
        self.driver.abandon()
        self._commits.close()
        self._publisher.close()
