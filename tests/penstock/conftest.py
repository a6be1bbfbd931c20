"""What do the client's tests need? A namespace on a log in memory, and a processor that answers as it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from penstock.schemas.encoding.codec import decode_command, encode
from penstock.schemas.records.kinds import Command
from penstock.topics import admin
from penstock.topics.catalogue import Topics, specs
from penstock.topics.embedded import MEMORY, EmbeddedLog
from penstock.topics.log import Log, Record

SHARDS = 2


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
    """Notes every command with its shard; `answer(command)` gives the replies to publish."""

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
        self._publisher.send(Record(self._topics.replies, partition, b"", encode(value)))

    def _work(self) -> None:
        while not self._stopping.is_set():
            for record in self._reader.read(100, 0.02):
                command = decode_command(record.value)
                self.commands.append((record.partition, command))
                for value in self._answer(command):
                    self.reply(command.reply_to, value)


@pytest.fixture
def processor(log, topics):
    """What makes a FakeProcessor on this log; it works inside a `with` block."""
    return lambda answer: FakeProcessor(log, topics, answer)
