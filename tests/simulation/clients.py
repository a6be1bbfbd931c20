"""Simulated clients and foreign producers: they repeat commands, choose wrong shards, and write garbage."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import msgspec

from penstock.schemas.encoding.codec import encode
from penstock.schemas.records.activity import ChangeActivity, SkipActivity
from penstock.schemas.records.pause import PauseWorkflow, ResumeWorkflow
from penstock.schemas.records.query import QueryWorkflow
from penstock.schemas.records.reset import ResetWorkflow, RetryWorkflow
from penstock.schemas.records.retention import DeleteWorkflow, ImportWorkflow
from penstock.schemas.records.run import AwaitResult, CancelWorkflow, StartWorkflow, TerminateWorkflow, UnblockWorkflow
from penstock.schemas.records.schedule import (
    CreateSchedule,
    DeleteSchedule,
    PauseSchedule,
    ResumeSchedule,
    TriggerSchedule,
    UpdateSchedule,
)
from penstock.schemas.records.share import SetVersionShare
from penstock.schemas.records.signal import SignalWorkflow
from penstock.schemas.records.tasks import TaskCompleted
from penstock.schemas.records.update import UpdateWorkflow
from penstock.topics.catalogue import Topics
from penstock.topics.log import Record, StoredRecord
from penstock.topics.partitioner import partition_of
from tests.simulation.broker import Broker
from tests.simulation.story import Story
from tests.simulation.workflows import DEFINITIONS

REPLIES = 2
"""Partitions of `replies`, which callers wait at."""

_JSON_KEYS = {"workflow_id": "id", "workflow_type": "type"}
_JSON_FIELDS = {
    StartWorkflow: (
        "workflow_id",
        "workflow_type",
        "input",
        "message_id",
        "reply_to",
        "on_existing",
        "headers",
        "memo",
        "search",
    ),
    SignalWorkflow: ("workflow_id", "signal", "input", "message_id", "reply_to"),
    CancelWorkflow: ("workflow_id", "reason", "message_id", "reply_to"),
    TerminateWorkflow: ("workflow_id", "reason", "message_id", "reply_to"),
    ImportWorkflow: (),
    DeleteWorkflow: ("workflow_id", "force", "message_id", "reply_to", "by", "reason"),
    UnblockWorkflow: ("workflow_id", "message_id", "reply_to"),
    PauseWorkflow: ("workflow_id", "message_id", "reply_to", "by"),
    ResumeWorkflow: ("workflow_id", "message_id", "reply_to", "by"),
    ResetWorkflow: ("workflow_id", "to_event", "message_id", "reply_to", "by", "reason"),
    RetryWorkflow: ("workflow_id", "force", "message_id", "reply_to", "by", "reason"),
    ChangeActivity: ("workflow_id", "run_id", "sequence", "now", "message_id", "reply_to", "by", "reason"),
    SkipActivity: ("workflow_id", "run_id", "sequence", "result", "message_id", "reply_to", "by", "reason"),
    AwaitResult: ("workflow_id", "message_id", "reply_to"),
    QueryWorkflow: ("workflow_id", "query", "message_id", "reply_to", "timeout_ms"),
    CreateSchedule: ("workflow_id", "workflow_type", "input", "spec", "message_id", "reply_to"),
    UpdateSchedule: ("workflow_id", "spec", "message_id", "reply_to"),
    PauseSchedule: ("workflow_id", "message_id", "reply_to"),
    ResumeSchedule: ("workflow_id", "message_id", "reply_to"),
    TriggerSchedule: ("workflow_id", "overlap", "message_id", "reply_to"),
    DeleteSchedule: ("workflow_id", "message_id", "reply_to"),
    SetVersionShare: ("workflow_type", "version", "share", "message_id", "reply_to"),
    UpdateWorkflow: ("workflow_id", "update", "input", "message_id", "reply_to", "wait_for", "timeout_ms"),
}


class Client:
    """Publishes commands, some of them twice, as JSON or to the wrong shard, and keeps what it published."""

    def __init__(self, broker: Broker, topics: Topics, shards: int, replies: int, random: Random, story: Story) -> None:
        self._broker, self._topics, self._shards, self._replies = broker, topics, shards, replies
        self._random, self._story, self.shards = random, story, shards
        self._messages = 0
        self._again: list[tuple[Record, Any]] = []
        self.asked: dict[str, list[Any]] = {}  # message id -> the commands published under it, each time
        self.garbage: dict[tuple[str, int, int], str] = {}  # what must become a dead letter
        self.hopeless: set[str] = set()  # message ids that may become dead letters

    def message_id(self) -> str:
        """A new message id."""
        self._messages += 1
        return f"m{self._messages}"

    def start(
        self,
        workflow_type: str,
        workflow_id: str,
        *args: Any,
        hopeless: bool = False,
        once: bool = False,
        **fields: Any,
    ) -> str:
        """Start a run; returns the message id, which is the run's id. `once`: the command is not repeated."""
        call = DEFINITIONS[workflow_type](*args)
        call.claim()
        fields.setdefault("headers", self._headers())
        fields = _notes(self._messages) | fields
        return self.ask(
            StartWorkflow(workflow_id=workflow_id, workflow_type=workflow_type, input=call.input, **fields),
            hopeless=hopeless,
            once=once,
        )

    def _headers(self) -> dict[str, str]:
        """Headers that no other start has, or none."""
        names = self._random.choice(((), (), ("traceparent",), ("traceparent", "baggage")))
        return {name: f"{name}-{self._messages}" for name in names}

    def signal(self, workflow_id: str, name: str, value: Any, *, hopeless: bool = False) -> str:
        """Send a signal. `hopeless`: its run may have ended by then."""
        command = SignalWorkflow(workflow_id=workflow_id, signal=name, input=msgspec.json.encode(value))
        return self.ask(command, hopeless=hopeless)

    def update(self, workflow_id: str, name: str, value: Any) -> str:
        """Send an update, which may be refused; its caller waits for its acceptance or for its end, if at all."""
        command = UpdateWorkflow(
            workflow_id=workflow_id,
            update=name,
            input=msgspec.json.encode(value),
            wait_for=self._random.choice(("accepted", "completed", "completed")),
            timeout_ms=self._random.choice((0, 1_000, 600_000)),
        )
        return self.ask(command, hopeless=True)

    def query(self, workflow_id: str, name: str) -> str:
        """Send a query, whose caller perhaps gives up soon."""
        return self.ask(
            QueryWorkflow(workflow_id=workflow_id, query=name, timeout_ms=self._random.choice((0, 0, 1, 3_600_000)))
        )

    def ask_again(self, message_id: str, **changes: Any) -> None:
        """Publish a command under its message id again, changed: a caller that now waits for something else."""
        command = msgspec.structs.replace(self.asked[message_id][0], **changes)
        self._publish(self._record(command), command, " again, changed")

    def ask(self, command: Any, *, hopeless: bool = False, partition: int | None = None, once: bool = False) -> str:
        """Publish a command under a new message id, in one of the ways that clients have. `partition`: of a command to
        a shard; `once`: it is not repeated."""
        chance = self._random
        message_id = self.message_id()
        asks = chance.random() < 0.6 or type(command) in (AwaitResult, QueryWorkflow)
        reply_to = chance.randrange(self._replies) if asks else -1
        command = msgspec.structs.replace(command, message_id=message_id, reply_to=reply_to)
        if hopeless:
            self.hopeless.add(message_id)
        self.asked[message_id] = []
        record = self._record(command, partition)
        self._publish(record, command, "")
        while not once and chance.random() < 0.2:
            if chance.random() < 0.5:
                self._publish(self._record(command, partition), command, " again")
            else:
                self._again.append((self._record(command, partition), command))
                self.asked[message_id].append(command)
        return message_id

    def repeat_something(self) -> bool:
        """Publish an old command again; returns whether there was one."""
        if not self._again:
            return False
        record, _ = self._again.pop(self._random.randrange(len(self._again)))
        self._broker.append(record)
        self._story.tell("client", f"repeats an old command for {(record.key or b'').decode()} on {record.partition}")
        return True

    def forget(self) -> None:
        """Drop the commands that are too old to be recognised when they are repeated."""
        for _, command in self._again:
            self.asked[command.message_id].remove(command)
        self._again.clear()

    def litter(self) -> None:
        """Publish an unusable record, or a result that no run requested."""
        chance = self._random
        topic = chance.choice((self._topics.commands, self._topics.results))
        partition = chance.randrange(self._shards)
        stray = TaskCompleted(workflow_id="unknown", run_id="none", sequence=1, attempt=1, result=b"1")
        kinds: dict[str, tuple[str, bytes | None]] = {
            "garbage bytes": (topic, bytes(chance.randrange(256) for _ in range(chance.randrange(1, 40)))),
            "an empty record": (topic, None),
            "broken JSON": (self._topics.commands, b'{"type":"sim_chain","id":'),
            "JSON without an id": (self._topics.commands, b'{"type":"sim_chain"}'),
            "a command of no known kind": (self._topics.commands, b'{"command":"Dance","id":"x"}'),
            "a result among commands": (self._topics.commands, encode(stray)),
            "a command among results": (self._topics.results, encode(CancelWorkflow(workflow_id="x"))),
            "a start of an unknown type": self._start_at("sim_nothing", b"1", partition),
            "a start with bad input": self._start_at("sim_chain", b'"many"', partition),
            "a command lost twice": self._lost(partition),
            "a result of an unknown run": (self._topics.results, encode(stray)),
        }
        what = chance.choice(list(kinds))
        topic, value = kinds[what]
        stored = self._broker.append(Record(topic, partition, b"litter", value))
        if what != "a result of an unknown run" or partition != partition_of(stray.workflow_id, self._shards):
            self.garbage[stored.topic, stored.partition, stored.offset] = what
        self._story.tell("litter", f"writes {what} to {_place(stored)}")

    def _start_at(self, workflow_type: str, value: bytes, partition: int) -> tuple[str, bytes]:
        command = StartWorkflow(workflow_id=self._id_on(partition), workflow_type=workflow_type, input=value)
        return self._topics.commands, encode(command)

    def _lost(self, partition: int) -> tuple[str, bytes]:
        """A start that was forwarded before and is still on the wrong shard."""
        if self._shards == 1:
            return self._topics.commands, b"{"
        elsewhere = self._id_on((partition + 1) % self._shards)
        command = StartWorkflow(workflow_id=elsewhere, workflow_type="sim_chain", input=b"1", origin="commands/0/0")
        return self._topics.commands, encode(command)

    def _id_on(self, partition: int) -> str:
        return next(name for n in range(1000) if partition_of(name := f"litter-{n}", self._shards) == partition)

    def _record(self, command: Any, partition: int | None = None) -> Record:
        chance = self._random
        if partition is None:
            partition = partition_of(command.workflow_id, self._shards)
            if chance.random() < 0.1:
                partition = chance.randrange(self._shards)
        value = _as_json(command) if chance.random() < 0.3 and _has_json(command) else encode(command)
        return Record(self._topics.commands, partition, command.workflow_id.encode(), value)

    def _publish(self, record: Record, command: Any, how: str) -> None:
        stored = self._broker.append(record)
        self.asked[command.message_id].append(command)
        strayed = record.partition != partition_of(command.workflow_id, self._shards)
        words = f"{type(command).__name__} {command.workflow_id} ({command.message_id}){how}"
        self._story.tell("client", f"{words} → {_place(stored)}{', the wrong shard' if strayed else ''}")


def _notes(number: int) -> dict[str, bytes]:
    """Memo and search attributes of the start that follows so many messages; none for most."""
    memo = {"by": f"client-{number}"} if number % 3 == 0 else {}
    search = {"customer": f"c{number}", "visits": number} if number % 4 == 0 else {}
    return {name: msgspec.json.encode(value) for name, value in (("memo", memo), ("search", search)) if value}


def _has_json(command: Any) -> bool:
    """Whether a command has only fields that people write as JSON here."""
    fields = _JSON_FIELDS[type(command)]
    others = (field for field in msgspec.structs.fields(command) if field.name not in fields)
    return all(getattr(command, field.name) == _default(field) for field in others)


def _default(field: Any) -> Any:
    return field.default_factory() if callable(field.default_factory) else field.default


def _as_json(command: Any) -> bytes:
    fields = _JSON_FIELDS[type(command)]
    found: dict[str, Any] = {"command": type(command).__name__}
    for field in fields:
        value = getattr(command, field)
        if field in ("memo", "search") and not value:
            continue
        found[_JSON_KEYS.get(field, field)] = json.loads(value or b"null") if isinstance(value, bytes) else value
    return msgspec.json.encode(found)


def _place(record: StoredRecord) -> str:
    return f"{record.topic.rsplit('.', 1)[1]}[{record.partition}]@{record.offset}"
