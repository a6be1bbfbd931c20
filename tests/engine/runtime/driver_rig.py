"""A driver on a log in memory whose commits can be refused, and whose turns are counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any

import msgspec

from penstock.engine.authoring.definition import WorkflowDefinition
from penstock.engine.core.hosted import Hosted
from penstock.engine.core.keys import run_key
from penstock.engine.core.rows import unpack_run
from penstock.engine.runtime.driver import Driver, DriverSettings
from penstock.engine.store.memory import MemoryStore
from penstock.engine.store.store import Store
from penstock.schemas.encoding.codec import decode, encode
from penstock.schemas.records.run import StartWorkflow
from penstock.topics import admin
from penstock.topics.catalogue import Topics, specs
from penstock.topics.commit import Outcome, Turn, commit
from penstock.topics.embedded.log import EmbeddedLog
from penstock.topics.log import Member, Record
from penstock.topics.partitioner import partition_of

START_MS = 1_700_000_000_000

Refusal = Callable[[Turn], Exception | None]


class ScriptedCommits:
    """Commit port over the log's transactions; `refusal` says of each turn why it does not commit."""

    def __init__(self, log: EmbeddedLog) -> None:
        self.transactor = log.transactor("rig")
        self.refusal: Refusal = lambda turn: None
        self.turns: list[Turn] = []
        self.outcomes: list[Exception | None] = []

    def submit(self, turn: Turn, member: Member) -> Future[Outcome]:
        error = self.refusal(turn)
        outcome = Outcome({}, error) if error is not None else commit(self.transactor, member, turn)
        self.turns.append(turn)
        self.outcomes.append(outcome.error)
        future: Future[Outcome] = Future()
        future.set_result(outcome)
        return future

    def recover(self, timeout_s: float) -> None:
        self.transactor.recover(timeout_s)

    def close(self) -> None:
        self.transactor.close()


class KeptStore(MemoryStore):
    """A store that can be opened again, as one on disk."""

    def close(self) -> None:
        """Keep the rows."""


class Stores(dict[int, KeptStore]):
    """The stores of a machine, by shard."""

    def __missing__(self, number: int) -> KeptStore:
        self[number] = KeptStore()
        return self[number]


class Rig:
    """A driver with its log. Time changes only by `now_ms`. `stores`: by shard; by default new ones at each start."""

    def __init__(
        self,
        *definitions: WorkflowDefinition[Any, Any],
        shards: int = 1,
        queues: Iterable[str] = ("default",),
        settings: DriverSettings = DriverSettings(),
        stores: Mapping[int, Store] | None = None,
    ) -> None:
        self.topics, self.shards, self.now_ms = Topics(), shards, START_MS
        self._done: set[str] = set()
        self.log = EmbeddedLog(":memory:")
        admin.apply(self.log, admin.plan(self.log, specs(self.topics, shards, list(queues))))
        self.commits = ScriptedCommits(self.log)
        self.workflows = {definition.name: definition for definition in definitions}
        self._settings, self._stores = settings, stores
        self.driver = self._make()

    def _make(self) -> Driver:
        return Driver(
            self.log,
            self.topics,
            self.shards,
            Hosted(self.workflows),
            open_store=lambda number: MemoryStore() if self._stores is None else self._stores[number],
            transactional_id="rig",
            commits=self.commits,
            settings=self._settings,
            clock_ms=lambda: self.now_ms,
        )

    def restart(self) -> None:
        """Replace the driver; its stores are restored from the changelog."""
        self.driver.close()
        self.driver.abandon()
        self.driver = self._make()

    def die(self) -> None:
        """End the driver without a release, as a crash does, and start another."""
        self.driver._ownership.release = lambda shards, now_ms: None  # type: ignore[method-assign]
        self.driver._in_flight = None
        self.driver._member.close()
        self.driver.abandon()
        self.driver = self._make()

    def start(self, definition: WorkflowDefinition[Any, Any], *args: Any, id: str) -> None:
        """Publish a start."""
        call = definition(*args)
        call.claim()
        self.tell(StartWorkflow(workflow_id=id, workflow_type=definition.name, input=call.input, message_id=f"m-{id}"))

    def tell(self, command: Any) -> None:
        """Publish a command."""
        number = partition_of(command.workflow_id, self.shards)
        self.publish(Record(self.topics.commands, number, command.workflow_id.encode(), encode(command)))

    def publish(self, record: Record) -> None:
        """Append a record."""
        publisher = self.log.publisher()
        publisher.send(record)
        publisher.flush(5)
        publisher.close()

    def complete_tasks(self, queue: str = "default", value: Any = None) -> int:
        """Publish a result for every task of the queue that has none yet; returns their number."""
        count = 0
        for task in self.tasks(queue):
            if task.idempotency_key not in self._done:
                self._done.add(task.idempotency_key)
                number = partition_of(task.workflow_id, self.shards)
                result = encode(task.completed(msgspec.json.encode(value)))
                self.publish(Record(self.topics.results, number, task.workflow_id.encode(), result))
                count += 1
        return count

    def create_queue(self, queue: str) -> None:
        """Create the topic of a task queue."""
        admin.apply(self.log, admin.plan(self.log, specs(self.topics, self.shards, ["default", queue])))

    def turns(self, count: int) -> None:
        """Let the driver take that many turns."""
        for _ in range(count):
            self.driver.step(0)

    def tasks(self, queue: str = "default") -> list[Any]:
        """The committed tasks of a queue."""
        return self.committed(self.topics.tasks(queue))

    def completed(self) -> list[str]:
        """Ids of the runs that closed, in the order of their completions."""
        return [record.workflow_id for record in self.committed(self.topics.completions)]

    def status(self, id: str) -> str:
        """Status of the id's current run, with the reason of a BLOCKED one; empty without one."""
        data = self.driver.stores()[partition_of(id, self.shards)].get(run_key(id))
        if data is None:
            return ""
        row = unpack_run(data)
        return f"{row.status} {row.blocked_reason}".strip()

    def committed(self, topic: str) -> list[Any]:
        """The decoded records of a topic, partition by partition."""
        found: list[Any] = []
        for number in range(self.log.describe([topic])[topic].partitions):
            for batch in self.log.read_to_end(topic, number, 0, 5):
                found += [decode(record.value) for record in batch if record.value is not None]
        return found

    def close(self) -> None:
        """Stop the driver and the log."""
        self.commits.refusal = lambda turn: None
        self.driver.close()
        self.driver.abandon()
        self.commits.close()
        self.log.close()
