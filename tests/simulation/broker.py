"""Log in memory with Kafka's semantics, without time, threads or randomness of its own.

- A transaction's records take offsets when they are produced and stay hidden until its end; each of its partitions
  gets a control record then, which takes an offset too. Committed reads stop at the first record of an open transaction
  (the last stable offset) and skip aborted records.
- A transactional id has an epoch: `init` raises it and aborts what an older holder left open.
- A group has a generation: offsets are accepted from members of the present one only. Nothing else about partitions is
  checked, as in Kafka (KIP-447).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from penstock.schemas.errors import (
    Fenced,
    OffsetOutOfRange,
    RecordTooLarge,
    TopicRefused,
    TransactionAborted,
    UnknownTopic,
)
from penstock.topics.log import CommittedOffset, Record, StoredRecord, TopicPartition

OPEN, COMMITTED, ABORTED = "open", "committed", "aborted"
DELETE_RETENTION_MS = 24 * 3_600_000
"""How long deletions are kept after the first compaction that found them (Kafka's default, KIP-534)."""


class Transaction:
    """Records and offsets of a transaction, and how it ended."""

    __slots__ = ("entries", "epoch", "id", "marks", "offsets", "state")

    def __init__(self, transactional_id: str, epoch: int) -> None:
        self.id, self.epoch, self.state = transactional_id, epoch, OPEN
        self.entries: list[Entry] = []
        self.offsets: dict[TopicPartition, int] = {}
        self.marks: dict[TopicPartition, str] = {}  # metadata of the offsets


class Entry:
    """One offset: a record, a control record, or (after compaction) nothing."""

    __slots__ = ("at_ms", "cleaned_ms", "control", "gone", "key", "offset", "transaction", "value", "where")

    def __init__(
        self,
        where: TopicPartition,
        offset: int,
        key: bytes | None,
        value: bytes | None,
        at_ms: int,
        transaction: Transaction | None,
        *,
        control: bool = False,
    ) -> None:
        self.where, self.offset, self.key, self.value = where, offset, key, value
        self.at_ms, self.transaction, self.control, self.gone = at_ms, transaction, control, False
        self.cleaned_ms: int | None = None

    @property
    def was_committed(self) -> bool:
        """Whether it was ever visible, even if it was compacted since."""
        return not self.control and (self.transaction is None or self.transaction.state == COMMITTED)

    @property
    def is_committed(self) -> bool:
        """Whether a committed read shows it."""
        return not self.gone and self.was_committed

    def stored(self) -> StoredRecord:
        return StoredRecord(self.where[0], self.where[1], self.offset, self.key, self.value, self.at_ms)


class Partition:
    """Entries of a partition, by offset."""

    __slots__ = ("compacted", "entries", "first", "open", "where")

    def __init__(self, where: TopicPartition) -> None:
        self.where, self.first, self.compacted = where, 0, 0
        self.entries: list[Entry] = []
        self.open: dict[Transaction, int] = {}

    def append(
        self,
        key: bytes | None,
        value: bytes | None,
        at_ms: int,
        transaction: Transaction | None,
        *,
        control: bool = False,
    ) -> Entry:
        entry = Entry(self.where, len(self.entries), key, value, at_ms, transaction, control=control)
        self.entries.append(entry)
        if transaction is not None and not control:
            self.open.setdefault(transaction, entry.offset)
        return entry

    @property
    def last_stable(self) -> int:
        """Committed reads stop before this offset."""
        return min(self.open.values()) if self.open else len(self.entries)

    def committed(self, start: int, records_max: int, stop: int | None = None) -> tuple[list[StoredRecord], int]:
        """Committed records from `start` on, and the offset to continue at. Raises OffsetOutOfRange."""
        if not self.first <= start <= len(self.entries):
            raise OffsetOutOfRange(f"{self.where} holds {self.first} to {len(self.entries)}, not {start}")
        end = self.last_stable if stop is None else min(stop, self.last_stable)
        found: list[StoredRecord] = []
        while start < end and len(found) < records_max:
            entry = self.entries[start]
            if entry.is_committed:
                found.append(entry.stored())
            start += 1
        return found, start

    def compact(self, now_ms: int) -> int:
        """Drop committed records that a later one with their key replaces, and old deletions; returns how many."""
        latest: dict[bytes | None, Entry] = {}
        dropped = 0
        for entry in self.entries[: self.last_stable]:
            if entry.is_committed:
                older = latest.get(entry.key)
                if older is not None:
                    older.gone = True
                    dropped += 1
                latest[entry.key] = entry
        for entry in latest.values():
            if entry.value is not None:
                continue
            if entry.cleaned_ms is None:
                entry.cleaned_ms = now_ms
            elif now_ms - entry.cleaned_ms > DELETE_RETENTION_MS:
                entry.gone = True
                dropped += 1
        return dropped


class Group:
    """Coordinator of a consumer group: its members, its generation, and their shares."""

    def __init__(self, topics: list[str], partitions: int) -> None:
        self.topics, self.partitions = topics, partitions
        self.members: dict[str, bool] = {}  # member id -> has (re)joined the generation in preparation
        self.generation = 0
        self.preparing = False
        self.shares: dict[str, list[TopicPartition]] = {}
        self.offsets: dict[TopicPartition, int] = {}
        self.marks: dict[TopicPartition, str] = {}  # metadata of the offsets

    def join(self, member: str) -> None:
        """Add a member: all members have to join again."""
        self._prepare()
        self.members[member] = True
        self._finish()

    def rejoin(self, member: str) -> None:
        """Note that a member released its share and waits for its new one."""
        self.members[member] = True
        self._finish()

    def leave(self, member: str) -> None:
        """Remove a member that left, or whose session ended."""
        if self.members.pop(member, None) is not None:
            self.shares.pop(member, None)
            self._prepare()
            self._finish()

    def admits(self, member: str, generation: int) -> bool:
        """Whether offsets are accepted from this member of this generation."""
        return member in self.members and generation == self.generation

    def _prepare(self) -> None:
        if not self.preparing:
            self.preparing = True
            self.members = dict.fromkeys(self.members, False)

    def _finish(self) -> None:
        if not self.preparing or not all(self.members.values()):
            return
        self.preparing = False
        self.generation += 1
        self.shares = {}
        ids = sorted(self.members)
        for rank, member in enumerate(ids):
            each, extra = divmod(self.partitions, len(ids))
            first = rank * each + min(rank, extra)
            numbers = range(first, first + each + (rank < extra))
            self.shares[member] = [(topic, number) for topic in self.topics for number in numbers]


class Broker:
    """Topics, transactions, groups. `on_commit` receives each transaction when it becomes visible, and the offsets that
    the group had before."""

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self.clock_ms = clock_ms
        self.partitions: dict[TopicPartition, Partition] = {}
        self.counts: dict[str, int] = {}
        self.epochs: dict[str, int] = {}
        self.open: dict[str, Transaction] = {}
        self.groups: dict[str, Group] = {}
        self.record_bytes_max: dict[str, int] = {}
        self.transaction_records_max = 0  # 0: no bound; a larger transaction is aborted, as after its time-out
        self.refused: set[TopicPartition] = set()  # partitions that take no records of transactions
        self.on_commit: Callable[[Transaction, Mapping[TopicPartition, int]], None] = lambda transaction, before: None

    def create(self, topic: str, partitions: int) -> None:
        """Create a topic if it does not exist."""
        if topic not in self.counts:
            self.counts[topic] = partitions
            for number in range(partitions):
                self.partitions[topic, number] = Partition((topic, number))

    def partition(self, where: TopicPartition) -> Partition:
        """The partition. Raises UnknownTopic."""
        found = self.partitions.get(where)
        if found is None:
            raise UnknownTopic(f"{where[0]}[{where[1]}] does not exist")
        return found

    def append(self, record: Record) -> StoredRecord:
        """Append outside of any transaction."""
        self._check([record])
        partition = self.partition((record.topic, record.partition))
        return partition.append(record.key, record.value, self.clock_ms(), None).stored()

    # Transactions.

    def init(self, transactional_id: str) -> int:
        """Fence older holders of the id and abort their open transaction; returns the new epoch."""
        self.epochs[transactional_id] = self.epochs.get(transactional_id, 0) + 1
        self._end_open(transactional_id)
        return self.epochs[transactional_id]

    def time_out(self, transactional_id: str) -> bool:
        """Abort the id's open transaction as the coordinator does after its timeout, fencing the holder.

        Returns whether there was one."""
        if transactional_id not in self.open:
            return False
        self.init(transactional_id)
        return True

    def produce(self, transactional_id: str, epoch: int, records: Iterable[Record]) -> list[Entry]:
        """Append records in the open transaction, which begins with the first one."""
        self._fence(transactional_id, epoch)
        records = list(records)
        self._check(records)
        transaction = self._transaction(transactional_id, epoch)
        if 0 < self.transaction_records_max < len(transaction.entries) + len(records):
            raise TransactionAborted(f"a transaction of more than {self.transaction_records_max} records timed out")
        for record in records:
            if (record.topic, record.partition) in self.refused:
                where = f"{record.topic}[{record.partition}]"
                raise TopicRefused(f"{where} is offline", topic=record.topic, partition=record.partition)
        made = []
        for record in records:
            partition = self.partition((record.topic, record.partition))
            made.append(partition.append(record.key, record.value, self.clock_ms(), transaction))
        transaction.entries.extend(made)
        return made

    def add_offsets(
        self,
        transactional_id: str,
        epoch: int,
        group: Group,
        member: str,
        generation: int,
        offsets: Mapping[TopicPartition, CommittedOffset],
    ) -> None:
        """Add offsets to the open transaction, fenced by the group's generation."""
        self._fence(transactional_id, epoch)
        if not group.admits(member, generation):
            raise Fenced(f"{member} of generation {generation} is no member of generation {group.generation}")
        transaction = self._transaction(transactional_id, epoch)
        for where, found in offsets.items():
            transaction.offsets[where], transaction.marks[where] = found.offset, found.metadata

    def with_offsets(self, partitions: Iterable[TopicPartition]) -> Transaction | None:
        """An open transaction that holds offsets of any of these."""
        wanted = set(partitions)
        return next((found for found in self.open.values() if wanted & found.offsets.keys()), None)

    def commit(self, transactional_id: str, epoch: int) -> None:
        """Commit the open transaction: all of it becomes visible."""
        self._fence(transactional_id, epoch)
        transaction = self.open.pop(transactional_id, None)
        if transaction is None:
            return
        before: dict[TopicPartition, int] = {}
        for group in self.groups.values():
            for where, offset in transaction.offsets.items():
                if where[0] in group.topics:
                    before[where] = group.offsets.get(where, 0)
                    group.offsets[where], group.marks[where] = offset, transaction.marks[where]
        self._close(transaction, COMMITTED)
        self.on_commit(transaction, before)

    def abort(self, transactional_id: str, epoch: int) -> None:
        """Abort the open transaction: nothing of it becomes visible."""
        self._fence(transactional_id, epoch)
        self._end_open(transactional_id)

    def _transaction(self, transactional_id: str, epoch: int) -> Transaction:
        return self.open.setdefault(transactional_id, Transaction(transactional_id, epoch))

    def _end_open(self, transactional_id: str) -> None:
        transaction = self.open.pop(transactional_id, None)
        if transaction is not None:
            self._close(transaction, ABORTED)

    def _close(self, transaction: Transaction, state: str) -> None:
        transaction.state = state
        touched: dict[TopicPartition, Any] = dict.fromkeys(entry.where for entry in transaction.entries)
        for where in touched:
            partition = self.partitions[where]
            partition.append(None, None, self.clock_ms(), transaction, control=True)
            partition.open.pop(transaction, None)

    def _fence(self, transactional_id: str, epoch: int) -> None:
        if self.epochs.get(transactional_id, 0) != epoch:
            raise Fenced(f"{transactional_id} has a newer holder than epoch {epoch}")

    def _check(self, records: Iterable[Record]) -> None:
        for record in records:
            self.partition((record.topic, record.partition))
            limit = self.record_bytes_max.get(record.topic, 1_048_588)
            if len(record.value or b"") > limit:
                raise RecordTooLarge(f"a record for {record.topic} has more than {limit} bytes")
