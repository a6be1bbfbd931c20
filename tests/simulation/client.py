"""Simulated log as one process sees it: the contract of topics/log.py, with calls that may fail.

`Faults.at` comes before every call that goes over the network: it may raise LogUnavailable, end the process, or let
other processes run before the call continues, as if the machine had paused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Protocol

from penstock.schemas.errors import Fenced, LogUnavailable, OffsetOutOfRange
from penstock.topics.log import (
    CommittedOffset,
    Listener,
    Member,
    Reader,
    Record,
    StoredRecord,
    TopicDescription,
    TopicPartition,
    TopicSpec,
)
from tests.simulation.broker import Broker, Group, Transaction

READ_RECORDS_MAX = 50


class Faults(Protocol):
    """Faults of a process while it uses the log."""

    random: Random

    def at(self, call: str) -> None:
        """Called before each call. Raises LogUnavailable, SimulatedCrash."""

    def awaits_offsets(self) -> bool:
        """Whether a read of committed offsets waits for those in open transactions."""

    def sends_late(self) -> bool:
        """Whether records may follow the offsets of their transaction instead of coming before them."""

    def notices_group(self) -> bool:
        """Whether this poll notices changes of the group."""

    def waits_for(self, transaction: Transaction) -> None:
        """End this transaction, for which a read waits."""

    def recovered(self, transactional_id: str, epoch: int) -> None:
        """A transactional id has this epoch from now on."""


class SimLog:
    """`Log` as one process sees it."""

    creates_topics = False

    def __init__(self, broker: Broker, faults: Faults, name: str = "") -> None:
        self.broker, self.faults, self._name = broker, faults, name
        self._member_ids: list[str] = []

    def member_ids(self) -> list[str]:
        """Ids of all members that this process created."""
        return list(self._member_ids)

    def describe(self, topics: Sequence[str] | None = None) -> Mapping[str, TopicDescription]:
        self.faults.at("describe")
        return {
            name: TopicDescription(name, count, {})
            for name, count in self.broker.counts.items()
            if topics is None or name in topics
        }

    def create(self, specs: Sequence[TopicSpec]) -> None:
        for spec in specs:
            self.broker.create(spec.name, spec.partitions)

    def configure(self, topic: str, config: Mapping[str, str]) -> None:
        """Settings have no effect here."""

    def ends(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        self.faults.at("ends")
        found = [(where, self.broker.partition(where)) for where in partitions]
        return {where: (partition.first, len(partition.entries)) for where, partition in found}

    def trim(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.faults.at("trim")
        for where, offset in offsets.items():
            partition = self.broker.partition(where)
            if offset > partition.last_stable:
                raise OffsetOutOfRange(f"{where} cannot be trimmed to {offset}")
            partition.first = max(partition.first, offset)

    def read_to_end(self, topic: str, partition: int, start: int, timeout_s: float) -> Iterator[list[StoredRecord]]:
        self.faults.at("read_to_end")
        found = self.broker.partition((topic, partition))
        end = len(found.entries)
        if not found.first <= start <= end:
            raise OffsetOutOfRange(f"{topic}[{partition}] holds {found.first} to {end}, not {start}")
        return self._batches(found.where, start, end)

    def _batches(self, where: TopicPartition, start: int, end: int) -> Iterator[list[StoredRecord]]:
        partition = self.broker.partition(where)
        while start < end:
            self.faults.at("fetch")
            while partition.open and partition.last_stable <= start:
                self.faults.waits_for(min(partition.open, key=partition.open.__getitem__))
            batch, start = partition.committed(start, self.faults.random.randint(1, READ_RECORDS_MAX), end)
            yield batch

    def reader(self, positions: Mapping[TopicPartition, int]) -> Reader:
        raise LogUnavailable("nothing in the simulation reads this way")

    def publisher(self) -> SimPublisher:
        return SimPublisher(self.broker, self.faults)

    def join(self, group: str, topics: Sequence[str], listener: Listener) -> SimMember:
        self.faults.at("join")
        known = self.broker.groups.get(group)
        if known is None:
            known = self.broker.groups[group] = Group(sorted(topics), self.broker.counts[topics[0]])
        return SimMember(self.broker, self.faults, known, listener, self._member_id)

    def transactor(self, transactional_id: str) -> SimTransactor:
        return SimTransactor(self.broker, self.faults, transactional_id)

    def close(self) -> None:
        """Nothing to release."""

    def _member_id(self) -> str:
        self._member_ids.append(f"{self._name}#{len(self._member_ids) + 1}")
        return self._member_ids[-1]


class SimPublisher:
    """Appends at once."""

    def __init__(self, broker: Broker, faults: Faults) -> None:
        self._broker, self._faults = broker, faults

    def send(self, record: Record, on_done: Callable[[Exception | None], None] | None = None) -> None:
        self._faults.at("send")
        self._broker.append(record)
        if on_done is not None:
            on_done(None)

    def flush(self, timeout_s: float) -> None:
        self._faults.at("flush")

    def close(self) -> None:
        """Nothing is held back."""


class SimMember:
    """Member of a group in Kafka's classic, eager protocol: all partitions are released before any is granted.

    It notices changes of the group in `poll`, not always in the first one."""

    session_timeout_s = 3_600.0  # of the real clock: nothing reads a simulated store over HTTP

    def __init__(
        self, broker: Broker, faults: Faults, group: Group, listener: Listener, new_id: Callable[[], str]
    ) -> None:
        self._broker, self._faults, self.group, self._listener = broker, faults, group, listener
        self._new_id = new_id
        self.id = new_id()
        self.generation = 0
        self._owned: list[TopicPartition] = []
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._turn = 0
        group.join(self.id)

    def poll(self, records_max: int, timeout_s: float) -> list[StoredRecord]:
        self._faults.at("poll")
        if self._faults.notices_group():
            self._follow_group()
        wanted = min(records_max, self._faults.random.choice((1, 2, 5, 20, records_max)))
        found: list[StoredRecord] = []
        self._turn += 1
        started = [where for where in self._owned if where in self._positions and where not in self._paused]
        for index in range(len(started)):
            where = started[(index + self._turn) % len(started)]
            batch, self._positions[where] = self._broker.partition(where).committed(
                self._positions[where], wanted - len(found)
            )
            found.extend(batch)
        return found

    def start(self, positions: Mapping[TopicPartition, int]) -> None:
        self._positions.update({where: offset for where, offset in positions.items() if where in self._owned})

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self._paused.update(partitions)

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        self._paused.difference_update(partitions)

    def committed(
        self, partitions: Sequence[TopicPartition], timeout_s: float
    ) -> Mapping[TopicPartition, CommittedOffset]:
        self._faults.at("committed")
        while self._faults.awaits_offsets() and (pending := self._broker.with_offsets(partitions)) is not None:
            self._faults.waits_for(pending)
        known = self.group.offsets
        return {where: CommittedOffset(known[where], self.group.marks[where]) for where in partitions if where in known}

    def commit(self, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
        raise LogUnavailable("processors commit in transactions only")

    def close(self) -> None:
        self._give_up(lost=self.id not in self.group.members)
        self.group.leave(self.id)

    def _follow_group(self) -> None:
        group = self.group
        if self.id not in group.members:
            self._give_up(lost=True)
            self.id, self.generation = self._new_id(), 0
            group.join(self.id)
        elif group.preparing and not group.members[self.id]:
            self._give_up(lost=False)
            if self.id in group.members:
                group.rejoin(self.id)
        elif not group.preparing and self.generation != group.generation:
            self.generation = group.generation
            self._owned = list(group.shares.get(self.id, ()))
            if self._owned:
                self._listener.granted(self._owned)

    def _give_up(self, *, lost: bool) -> None:
        owned, self._owned = self._owned, []
        self._positions.clear()
        if owned:
            self._listener.released(owned, lost=lost)
        self._paused.clear()


class SimTransactor:
    """Transactions under one transactional id, in the epoch that `recover` gave."""

    def __init__(self, broker: Broker, faults: Faults, transactional_id: str) -> None:
        self._broker, self._faults, self.id = broker, faults, transactional_id
        self.epoch = 0
        self._forget()

    def recover(self, timeout_s: float) -> None:
        self._faults.at("recover")
        self.epoch = self._broker.init(self.id)
        self._faults.recovered(self.id, self.epoch)
        self._forget()

    def begin(self) -> None:
        assert self.epoch, "recover comes before begin"
        self._forget()

    def produce(self, records: Sequence[Record], track: frozenset[TopicPartition] = frozenset()) -> None:
        self._faults.at("produce")
        self._queue, self._track = list(records), track
        late = self._faults.sends_late()
        self._send(self._faults.random.choice((0, len(records) // 2)) if late else len(records))

    def offsets(self, offsets: Mapping[TopicPartition, CommittedOffset], member: Member) -> None:
        assert offsets, "a transaction without offsets is not fenced"
        assert isinstance(member, SimMember)
        self._faults.at("offsets")
        # KIP-447: the generation is the member's present one, not that of the decision.
        self._broker.add_offsets(self.id, self.epoch, member.group, member.id, member.generation, offsets)

    def commit(self) -> Mapping[TopicPartition, int]:
        if self._queue:
            self.flush()
        self._faults.at("commit")
        self._broker.commit(self.id, self.epoch)
        return self._ends

    def flush(self) -> None:
        """Send the records that are still queued."""
        self._faults.at("the rest")
        self._send(len(self._queue))

    def abort(self) -> None:
        self._faults.at("abort")
        self._queue = []
        self._broker.abort(self.id, self.epoch)

    def _send(self, count: int) -> None:
        sent, self._queue = self._queue[:count], self._queue[count:]
        for entry in self._broker.produce(self.id, self.epoch, sent):
            if entry.where in self._track:
                self._ends[entry.where] = entry.offset + 1

    def _forget(self) -> None:
        self._queue: list[Record] = []
        self._track: frozenset[TopicPartition] = frozenset()
        self._ends: dict[TopicPartition, int] = {}

    def close(self) -> None:
        """An open transaction stays open until a holder recovers the id, or the coordinator aborts it."""


__all__ = ["Faults", "Fenced", "SimLog", "SimMember", "SimPublisher", "SimTransactor"]
