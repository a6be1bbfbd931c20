"""Fixtures: a namespace on a log in memory, a processor with scripted replies, stores and read servers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import pytest

from penstock.api.read_server import ReadServer
from penstock.engine.core.keys import run_key
from penstock.engine.runtime import reads as store_side
from penstock.engine.store.memory import MemoryStore
from penstock.schemas.encoding.codec import decode_command, encode
from penstock.schemas.records.kinds import Command
from penstock.topics import admin
from penstock.topics.catalogue import Topics, specs
from penstock.topics.embedded import MEMORY, EmbeddedLog
from penstock.topics.log import Log, Record
from penstock.topics.partitioner import partition_of

SHARDS = 2
ODD_IDS = ["plain", "a/history", "../..", "..", "50% off?#x", "übergrößen-€", "a b+c", "new\nline", "last\n", "x" * 255]


@pytest.fixture
def topics() -> Topics:
    return Topics("trial")


@pytest.fixture
def log(topics):
    log = EmbeddedLog(MEMORY)
    admin.apply(log, admin.plan(log, specs(topics, SHARDS, ["default"])))
    admin.declare_namespace(log, topics, SHARDS)
    yield log
    log.close()


class FakeProcessor:
    """Records every command with its shard; `answer(command)` returns the replies to publish."""

    def __init__(self, log: Log, topics: Topics, answer: Callable[[Command], list[object]]) -> None:
        self._log, self._topics, self._answer = log, topics, answer
        self.commands: list[tuple[int, Command]] = []
        self._stopping = threading.Event()
        self._publisher = log.publisher()
        self._reader = log.reader({(topics.commands, shard): 0 for shard in range(SHARDS)})
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> FakeProcessor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(10)
        self._publisher.close()
        self._reader.close()

    def reply(self, partition: int, value: object) -> None:
        data = value if isinstance(value, bytes) else encode(value)
        self._publisher.send(Record(self._topics.replies, partition, b"", data))

    def _work(self) -> None:
        while not self._stopping.is_set():
            for record in self._reader.read(100, 0.02):
                command = decode_command(record.value)
                self.commands.append((record.partition, command))
                for value in self._answer(command):
                    self.reply(command.reply_to, value)


@pytest.fixture
def processor(log, topics):
    """Factory of FakeProcessors on this log; each works inside a `with` block."""
    return lambda answer: FakeProcessor(log, topics, answer)


@pytest.fixture
def stores(monkeypatch):
    """Two shards whose rows are the JSON that the reading functions would return."""

    def describe(store, workflow_id):
        row = store.get(run_key(workflow_id))
        return json.loads(row) if row else None

    def list_runs(store, *, status, workflow_type, limit, after):
        rows = [json.loads(value) for _, value in store.scan(b"R", b"S")]
        return [
            row for row in rows
            if row["workflow_id"] > after and status in (None, row["status"]) and workflow_type in (None, row["type"])
        ][:limit]  # fmt: skip

    def history(store, workflow_id, run_id=""):
        run = describe(store, workflow_id)
        return [{"number": 1, "event": "WorkflowStarted", "at_ms": 1, "of": run_id or "current"}] if run else []

    monkeypatch.setattr(store_side, "describe", describe)
    monkeypatch.setattr(store_side, "list_runs", list_runs)
    monkeypatch.setattr(store_side, "history", history)
    stores = {shard: MemoryStore() for shard in range(SHARDS)}
    for number, workflow_id in enumerate(ODD_IDS):
        run = {"workflow_id": workflow_id, "status": ["running", "failed"][number % 2], "type": "t"}
        stores[partition_of(workflow_id, SHARDS)].write({run_key(workflow_id): json.dumps(run).encode()})
    return stores


@pytest.fixture
def serve():
    servers = []

    def start(stores):
        server = ReadServer(stores if callable(stores) else lambda: stores, SHARDS)
        server.start()
        servers.append(server)
        return server.address

    yield start
    for server in servers:
        server.stop()
