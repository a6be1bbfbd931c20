"""Shards over memory stores, with lists in the place of a log and simulated time.

Every decided layer commits at once. Time changes only by `advance`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from penstock.engine.authoring.class_form import claimed_call, definition_of
from penstock.engine.authoring.definition import WorkflowDefinition
from penstock.engine.authoring.signal import declared_signals
from penstock.engine.core.hosted import Hosted
from penstock.engine.core.versions import WorkflowTypes
from penstock.engine.runtime import reads
from penstock.engine.runtime.encode import Encoder
from penstock.engine.runtime.router import TaskRouter
from penstock.engine.runtime.run_cache import RUN_CACHE_BYTES, MemoryBudget
from penstock.engine.runtime.shard import CLOSED_KEPT_MS, Shard, ShardLimits
from penstock.engine.store.memory import MemoryStore
from penstock.schemas.encoding.codec import decode, encode
from penstock.schemas.failure import Failure
from penstock.schemas.records.kinds import NO_REPLY
from penstock.schemas.records.query import QueryWorkflow
from penstock.schemas.records.run import StartWorkflow, TerminateWorkflow
from penstock.schemas.records.signal import SignalWorkflow
from penstock.schemas.records.tasks import ActivityTask
from penstock.schemas.records.update import UpdateWorkflow
from penstock.schemas.values.failure import failure_of
from penstock.topics.catalogue import Topics
from penstock.topics.log import StoredRecord
from penstock.topics.partitioner import partition_of

START_MS = 1_700_000_000_000

Code = WorkflowDefinition[Any, Any] | type[Any]
"""A workflow: a decorated function, or a class."""


class Stage:
    """Shards with their stores; `sent` keeps every record that left them, by topic name without its prefix.

    `log_ahead_ms`: by how much the log's clock is ahead of the shards'."""

    def __init__(
        self,
        *definitions: Code,
        shards: int = 1,
        queues: tuple[str, ...] = ("default",),
        run_cache_bytes: int = RUN_CACHE_BYTES,
        closed_kept_ms: int = CLOSED_KEPT_MS,
        strict_inputs: bool = False,
    ) -> None:
        self.topics = Topics()
        self.shards = shards
        self.now_ms = START_MS
        self.log_ahead_ms = 0
        self.sent: dict[str, list[Any]] = {}
        self.queues = set(queues)
        self.missing: set[str] = set()
        self.definitions = _by_name(definitions)
        self.stores = [MemoryStore() for _ in range(shards)]
        self.limits = ShardLimits(closed_kept_ms=closed_kept_ms)
        self.budget = MemoryBudget(run_cache_bytes)
        self.strict_inputs = strict_inputs
        self._offsets: dict[tuple[str, int], int] = {}
        self._inbox: list[StoredRecord] = []
        self._messages = 0
        self.nodes = [self._shard(number) for number in range(shards)]

    def partitions(self, topic: str) -> int | None:
        """Number of partitions of a topic: known queues, the fixed topics and those of users but `missing` exist."""
        if topic in self.missing:
            return None
        queue = self.topics.queue_of(topic)
        if queue is not None and queue not in self.queues:
            return None
        return 4 if queue is not None or topic == self.topics.replies else self.shards

    def restart(self, *definitions: Code) -> None:
        """Replace the shards, keep the stores. `definitions`: other code, if given."""
        if definitions:
            self.definitions = _by_name(definitions)
        for node in self.nodes:
            node.close()
        self.nodes = [self._shard(number) for number in range(self.shards)]
        self.tick()

    # Inputs.

    def start(self, definition: Code, *args: Any, id: str = "run-1", **fields: Any) -> str:
        """Start a run; returns its message id."""
        call = claimed_call(definition(*args), "start")
        fields.setdefault("message_id", self.message_id())
        self.tell(StartWorkflow(workflow_id=id, workflow_type=call.name, input=call.input, **fields))
        return str(fields["message_id"])

    def signal(self, name: str, value: Any = None, *, id: str = "run-1") -> None:
        """Send a signal."""
        data = msgspec.json.encode(value)
        self.tell(SignalWorkflow(workflow_id=id, signal=name, input=data, message_id=self.message_id()))

    def query(self, name: str, value: Any = None, *, id: str = "run-1", **fields: Any) -> Any:
        """The reply to a query; None if there is none."""
        command = QueryWorkflow(workflow_id=id, query=name, input=msgspec.json.encode(value), **fields)
        return self.replied(msgspec.structs.replace(command, message_id=self.message_id()))

    def update(self, name: str, value: Any = None, *, id: str = "run-1", **fields: Any) -> Any:
        """The reply to an update; None if there is none yet."""
        fields.setdefault("message_id", self.message_id())
        return self.replied(
            UpdateWorkflow(workflow_id=id, update=name, input=msgspec.json.encode(value), reply_to=0, **fields)
        )

    def replied(self, command: Any) -> Any:
        """Append a command that asks for a reply and decide it; returns the last reply, None without any."""
        self.take("replies")
        to = 0 if command.reply_to == NO_REPLY else command.reply_to
        self.tell(msgspec.structs.replace(command, reply_to=to))
        return next(iter(self.take("replies")[::-1]), None)

    def terminate(self, *, id: str = "run-1") -> None:
        """End a run at once."""
        self.tell(TerminateWorkflow(workflow_id=id, message_id=self.message_id()))

    def tell(self, command: Any) -> None:
        """Append a command to its shard's input and decide it."""
        self.put("commands", partition_of(command.workflow_id, self.shards), encode(command))
        self.settle()

    def tell_all(self, command: Any) -> None:
        """Append a command to every shard's input and decide it, each time with a message id of its own."""
        for shard in range(self.shards):
            self.put("commands", shard, encode(msgspec.structs.replace(command, message_id=self.message_id())))
        self.settle()

    def complete(self, task: ActivityTask, value: Any) -> None:
        """Append an attempt's result and decide it."""
        self._result(task, task.completed(msgspec.json.encode(value)))

    def fail(self, task: ActivityTask, failure: Failure) -> None:
        """Append an attempt's failure and decide it."""
        self._result(task, task.failed(failure))

    def report(self, task: ActivityTask, report: Any) -> None:
        """Append what a running attempt says of itself and decide it."""
        self._result(task, report)

    def advance(self, seconds: float) -> None:
        """Advance the time, firing each timer at its due time."""
        end_ms = self.now_ms + round(seconds * 1000)
        while True:
            self.tick()
            due_ms = min(node.next_due_ms for node in self.nodes)
            if due_ms > end_ms:
                break
            self.now_ms = max(self.now_ms, due_ms)
        self.now_ms = end_ms
        self.tick()

    def run(self, **activities: Callable[..., Any]) -> None:
        """Run every task with these functions until none is left."""
        while True:
            tasks = self.take("tasks")
            if not tasks:
                return
            for task in tasks:
                arguments = msgspec.json.decode(task.input) if task.input != b"null" else {}
                call = activities[task.activity]
                try:
                    value = call(**arguments) if isinstance(arguments, dict) else call(arguments)
                except Exception as error:
                    self.fail(task, failure_of(error))
                else:
                    self.complete(task, value)

    # Outputs.

    def take(self, kind: str) -> list[Any]:
        """The records of that kind that were sent since the last call."""
        found = self.sent.get(kind, [])
        self.sent[kind] = []
        return found

    def described(self, id: str = "run-1") -> dict[str, Any]:
        """The run as committed reads describe it."""
        shard = partition_of(id, self.shards)
        found = reads.describe(self.stores[shard], id)
        assert found is not None, f"{id} is unknown"
        found["handlers"] = self.nodes[shard].runs.hosted.handlers_of(found)
        return found

    def history(self, id: str = "run-1", run_id: str = "") -> list[dict[str, Any]]:
        """The run's numbered events."""
        return reads.history(self.stores[partition_of(id, self.shards)], id, run_id)

    def events(self, id: str = "run-1") -> list[str]:
        """The names of the run's events, in order."""
        return [event["event"] for event in self.history(id)]

    # Internals.

    def message_id(self) -> str:
        """A new message id."""
        self._messages += 1
        return f"message-{self._messages}"

    def put(self, kind: str, partition: int, value: bytes | None) -> StoredRecord:
        """Append a record to a shard's input without deciding it."""
        topic = self.topics.name(kind)
        offset = self._offsets.get((topic, partition), 0)
        self._offsets[topic, partition] = offset + 1
        record = StoredRecord(topic, partition, offset, None, value, self.now_ms + self.log_ahead_ms)
        self._inbox.append(record)
        return record

    def settle(self) -> None:
        """Decide until no record is left."""
        while self._inbox:
            batch, self._inbox = self._inbox, []
            for node in self.nodes:
                self._decide(node, [record for record in batch if record.partition == node.number])

    def tick(self) -> None:
        """One turn without records."""
        for node in self.nodes:
            self._decide(node, [])
        self.settle()

    def _decide(self, node: Shard, records: list[StoredRecord]) -> None:
        layer = node.decide(records, self.now_ms)
        if layer is None:
            return
        self.stores[node.number].write(layer.writes)
        node.confirm(layer)
        for record in layer.outputs:
            self._route(record)

    def _route(self, record: Any) -> None:
        if not self.topics.has(record.topic):
            self.sent.setdefault("published", []).append(record)
            return
        kind = record.topic.removeprefix(f"{self.topics.prefix}.{self.topics.namespace}.")
        if kind == "commands":
            self.put("commands", record.partition, record.value)
        self.sent.setdefault(kind.split(".")[0], []).append(decode(record.value))

    def _result(self, task: ActivityTask, result: Any) -> None:
        self.put("results", task.shard, encode(result))
        self.settle()

    def _shard(self, number: int) -> Shard:
        router = TaskRouter(self.shards, self.partitions)
        router.own([number])
        encoder = Encoder(number, self.shards, self.topics, self.partitions, router)
        hosted = Hosted(self.definitions, declared_signals(), strict_inputs=self.strict_inputs)
        return Shard(self.stores[number], hosted, encoder, self.limits, budget=self.budget)


def _by_name(codes: tuple[Code, ...]) -> WorkflowTypes[WorkflowDefinition[Any, Any]]:
    return WorkflowTypes(definition_of(code) or code if isinstance(code, type) else code for code in codes)
