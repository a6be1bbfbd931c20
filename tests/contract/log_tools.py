"""Helpers for tests of a log: unique topics, members that record their callbacks, bounded waits."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Sequence

from penstock.topics.log import Log, Member, Record, StoredRecord, TopicPartition, TopicSpec, Transactor

WAIT_S = 60.0


def unique(name: str) -> str:
    """A name that no other test uses, so that a broker can be shared."""
    return f"{name}-{uuid.uuid4().hex[:10]}"


def make_topic(log: Log, partitions: int = 1, **config: str) -> str:
    """A new topic; settings are named with underscores for dots."""
    topic = unique("contract")
    log.create([TopicSpec(topic, partitions, {key.replace("_", "."): value for key, value in config.items()})])
    return topic


def publish(log: Log, topic: str, values: Iterable[bytes], partition: int = 0) -> None:
    """Append values outside of any transaction and wait until they are acknowledged."""
    publisher = log.publisher()
    for value in values:
        publisher.send(Record(topic, partition, value, value))
    publisher.flush(WAIT_S)
    publisher.close()


def everything(log: Log, topic: str, partition: int = 0, start: int = 0) -> list[StoredRecord]:
    """Every committed record of a partition."""
    return [record for batch in log.read_to_end(topic, partition, start, WAIT_S) for record in batch]


def values(records: Iterable[StoredRecord]) -> list[bytes | None]:
    """The records' values."""
    return [record.value for record in records]


def recovered(log: Log, transactional_id: str | None = None) -> Transactor:
    """A transactor that is ready to begin."""
    transactor = log.transactor(transactional_id or unique("transactor"))
    transactor.recover(WAIT_S)
    return transactor


def begin_with(transactor: Transactor, topic: str, value: bytes, partitions: int = 1) -> None:
    """Begin a transaction and append the value to each of the topic's first partitions."""
    transactor.begin()
    transactor.produce([Record(topic, partition, None, value) for partition in range(partitions)])


def wait_for(what: str, condition: Callable[[], bool], step: Callable[[], object]) -> None:
    """Repeat `step` until the condition holds, or fail saying what was waited for."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {WAIT_S:g} s for {what}"
        step()


class Seat:
    """A member of a group and its listener, which records its callbacks in a journal that seats can share."""

    def __init__(self, log: Log, group: str, topics: Sequence[str], journal: list[str] | None = None) -> None:
        self.name = unique("seat")
        self.held: set[TopicPartition] = set()
        self.lost: set[TopicPartition] = set()
        self.received: list[StoredRecord] = []
        self.journal = journal if journal is not None else []
        self.member: Member = log.join(group, topics, self)

    def granted(self, partitions: Sequence[TopicPartition]) -> None:
        """Record the grant."""
        assert not self.held & set(partitions), f"granted {partitions} twice"
        self.held |= set(partitions)
        self.journal += [f"{self.name} granted {topic} {partition}" for topic, partition in partitions]

    def released(self, partitions: Sequence[TopicPartition], *, lost: bool) -> None:
        """Record the release."""
        assert set(partitions) <= self.held, f"released {partitions} without holding them"
        self.held -= set(partitions)
        if lost:
            self.lost |= set(partitions)
        self.journal += [f"{self.name} released {topic} {partition}" for topic, partition in partitions]

    def poll(self, records_max: int = 1_000, timeout_s: float = 0.05) -> list[StoredRecord]:
        """Poll briefly; records are added to `received` as well."""
        records = self.member.poll(records_max, timeout_s)
        self.received += records
        return records

    def until_granted(self, partitions: int) -> None:
        """Poll until the seat holds that many partitions."""
        wait_for(f"{self.name} to be granted {partitions} partitions", lambda: len(self.held) == partitions, self.poll)

    def until_received(self, records: int) -> None:
        """Poll until this many records were received."""
        wait_for(f"{self.name} to receive {records} records", lambda: len(self.received) >= records, self.poll)


def seated(log: Log, topic: str, partitions: int = 1, group: str | None = None) -> Seat:
    """A member (of a group of its own, if none is named), once it holds that many partitions of the topic."""
    seat = Seat(log, group or unique("group"), [topic])
    seat.until_granted(partitions)
    return seat


def settle(what: str, seats: Sequence[Seat], condition: Callable[[], bool]) -> None:
    """Poll all seats in turn, in this one thread, until the condition holds."""

    def step() -> None:
        for seat in seats:
            seat.poll()

    wait_for(what, condition, step)
