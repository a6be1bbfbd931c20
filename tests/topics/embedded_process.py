"""Roles of other processes that use an embedded log: `python -m tests.topics.embedded_process ROLE PATH …`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

from penstock.topics.embedded import EmbeddedLog
from penstock.topics.embedded.records import append
from penstock.topics.log import CommittedOffset, Record, TopicPartition


class Note:
    """Listener that records granted partitions."""

    def __init__(self) -> None:
        self.held: set[TopicPartition] = set()

    def granted(self, partitions: Sequence[TopicPartition]) -> None:
        self.held |= set(partitions)

    def released(self, partitions: Sequence[TopicPartition], *, lost: bool) -> None:
        self.held -= set(partitions)


def say(text: str) -> None:
    print(text, flush=True)


def stall_in_transaction(path: str) -> None:
    """Append inside an SQL transaction and never commit it."""
    log = EmbeddedLog(path)
    with log._database.write() as connection:
        append(connection, [Record("t", 0, None, b"never")] * 1_000)
        say("ready")
        time.sleep(600)


def hold(path: str) -> None:
    """Join a group, hold all partitions of `t`, and wait."""
    log = EmbeddedLog(path)
    note = Note()
    member = log.join("group", ["t"], note)
    while not note.held:
        member.poll(1, 0.05)
    say("ready")
    while True:
        member.poll(1, 1.0)


def pump(path: str) -> None:
    """Copy `in` to both partitions of `out`, two records a transaction, offsets with them, for ever."""
    log = EmbeddedLog(path)
    note = Note()
    member = log.join("pump", ["in"], note)
    transactor = log.transactor("pump")
    transactor.recover(5.0)
    while not note.held:
        member.poll(1, 0.05)
    committed = member.committed([("in", 0)], 5.0)
    member.start({("in", 0): committed[("in", 0)].offset if committed else 0})
    say("ready")
    while True:
        for record in member.poll(7, 1.0):
            transactor.begin()
            transactor.produce([Record("out", number, record.key, record.value) for number in (0, 1)])
            transactor.offsets({("in", 0): CommittedOffset(record.offset + 1)}, member)
            transactor.commit()


def publish(path: str, name: str, count: str) -> None:
    """Publish that many records, waiting for each hundred."""
    log = EmbeddedLog(path)
    publisher = log.publisher()
    say("ready")
    for number in range(int(count)):
        publisher.send(Record("t", 0, name.encode(), b"%d" % number))
        if number % 100 == 99:
            publisher.flush(30.0)
    log.close()


ROLES: dict[str, Callable[..., None]] = {
    "stall": stall_in_transaction,
    "hold": hold,
    "pump": pump,
    "publish": publish,
}

if __name__ == "__main__":
    ROLES[sys.argv[1]](*sys.argv[2:])
