"""What must a log do? The contract that Kafka and the embedded log share; nothing outside `topics` knows which runs.

Contract, held by both adapters (tests/contract/test_log.py, test_log_groups.py):

1. A record published with an explicit partition gets the next offset there; offsets only grow (gaps are allowed:
   Kafka's control records take one each).
2. A transaction's records and offsets become visible together or not at all.
3. A transaction by a member that no longer owns the partitions of its offsets raises Fenced and leaves nothing.
4. `Transactor.recover` aborts what an earlier holder of the same transactional id left open, and fences it.
5. A committed read never shows records of an open or aborted transaction, nor anything behind an open one.
6. Of one group's members no two are granted the same partition at once, and a member gets `commands-i` and
   `results-i` together. `released` is called before anybody else is granted what was released, unless `lost`.
7. Every wait is bounded by a timeout that the caller gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

TopicPartition = tuple[str, int]


class Record(msgspec.Struct, frozen=True, gc=False):
    """A record to append. `partition` is always explicit: Penstock chooses it itself (partitioner.py)."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None


class StoredRecord(msgspec.Struct, frozen=True, gc=False):
    """A record as it lies in the log. `timestamp_ms` is the producer's or broker's word and never decides anything."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int = 0


class CommittedOffset(msgspec.Struct, frozen=True, gc=False):
    """The next offset a group wants, with up to 4,096 bytes of the group's own metadata."""

    offset: int
    metadata: str = ""


class TopicSpec(msgspec.Struct, frozen=True):
    """A topic as it must be. `config` holds Kafka's topic settings (the embedded log keeps and reports them).

    `replication`: copies of each partition, -1 for the broker's default; only Kafka has any, and only `create` asks."""

    name: str
    partitions: int
    config: Mapping[str, str]
    replication: int = -1


class TopicFacts(msgspec.Struct, frozen=True):
    """A topic as it is. `replication`: how many copies its partitions have at least; 0 where there is no such thing."""

    name: str
    partitions: int
    config: Mapping[str, str]
    replication: int = 0


class Listener(Protocol):
    """Told, inside `Member.poll` and `Member.close` and in their thread, what the member has."""

    def granted(self, partitions: Sequence[TopicPartition]) -> None:
        """These are the member's now. Nothing is delivered from them before `Member.start` names where to begin."""
        ...

    def released(self, partitions: Sequence[TopicPartition], *, lost: bool) -> None:
        """These are no longer the member's on return. `lost`: they already belong to somebody else; commit nothing."""
        ...


class Member(Protocol):
    """One member of a consumer group. Used by one thread."""

    @property
    def name(self) -> str:
        """What `Log.members` calls it, from the first grant on; another one after it lost its place and joined anew."""
        ...

    def poll(self, records_max: int, timeout_s: float) -> list[StoredRecord]:
        """Up to `records_max` committed records, waiting at most `timeout_s` for the first. Calls the listener.

        Raises OffsetOutOfRange, LogUnavailable."""
        ...

    def start(self, positions: Mapping[TopicPartition, int]) -> None:
        """Deliver these granted partitions from these offsets on: the first time, or again (a seek)."""
        ...

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Deliver nothing from these for now."""
        ...

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Go on where `pause` stopped."""
        ...

    def committed(
        self, partitions: Sequence[TopicPartition], timeout_s: float
    ) -> Mapping[TopicPartition, CommittedOffset]:
        """The group's committed offsets; a partition without one is absent. Waits for open transactions' offsets."""
        ...

    def commit(self, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
        """Commit outside of any transaction (workers, consumers). Raises Fenced, LogUnavailable."""
        ...

    def close(self) -> None:
        """Leave the group at once, calling `released` first."""
        ...


class Publisher(Protocol):
    """Appends records outside of transactions, each acknowledged by every in-sync replica."""

    def send(self, record: Record, on_done: Callable[[Exception | None], None] | None = None) -> None:
        """Queue the record; `on_done(None | error)` is called once, from another thread or inside `flush`."""
        ...

    def flush(self, timeout_s: float) -> None:
        """Wait until all that was sent is acknowledged. Raises LogUnavailable when that takes longer."""
        ...

    def close(self) -> None:
        """Flush, within a bound, and let go."""
        ...


class Transactor(Protocol):
    """Appends records and a member's offsets in one transaction. Its steps come in this order, on one thread at a
    time: `begin`, `produce`, `offsets`, then `commit` or `abort`."""

    def recover(self, timeout_s: float) -> None:
        """Fence elder holders of this transactional id and settle what they left open. Needed first, and again after
        OutcomeUnknown."""
        ...

    def begin(self) -> None: ...

    def produce(self, records: Sequence[Record], track: frozenset[TopicPartition] = frozenset()) -> None:
        """Append. For the partitions in `track`, `commit` tells where the last record landed.

        Raises TransactionAborted (call `abort`), RecordTooLarge, UnknownTopic."""
        ...

    def offsets(self, offsets: Mapping[TopicPartition, int], member: Member) -> None:
        """Commit these next offsets in the transaction, fenced by the member's present generation. Never empty.
        They may reach the log ahead of the records: `committed` waits for either.

        Raises Fenced, TransactionAborted."""
        ...

    def commit(self) -> Mapping[TopicPartition, int]:
        """Make all of it visible; returns offset + 1 of the last record for each tracked partition.

        Raises TransactionAborted, Fenced, OutcomeUnknown."""
        ...

    def abort(self) -> None:
        """Make nothing of it visible. Raises OutcomeUnknown when that cannot be known: then `recover`."""
        ...

    def close(self) -> None: ...


class Reader(Protocol):
    """Reads partitions by hand, in no group. Used by one thread."""

    def read(self, records_max: int, timeout_s: float) -> list[StoredRecord]:
        """Committed records as they come, waiting at most `timeout_s` for the first."""
        ...

    def close(self) -> None: ...


class Log(Protocol):
    """A durable, partitioned log."""

    def describe(self, topics: Sequence[str] | None = None) -> Mapping[str, TopicFacts]:
        """The topics that exist (all, or of those named). Raises LogUnavailable."""
        ...

    def create(self, specs: Sequence[TopicSpec]) -> None:
        """Make these topics; one that exists already is left as it is."""
        ...

    def configure(self, topic: str, config: Mapping[str, str]) -> None:
        """Change these of a topic's settings, leaving the others."""
        ...

    def ends(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        """First offset kept and next offset (counting uncommitted records) of each partition."""
        ...

    def trim(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Delete the records below these offsets."""
        ...

    def read_to_end(self, topic: str, partition: int, start: int, timeout_s: float) -> Iterator[list[StoredRecord]]:
        """Every committed record from `start` to the end as it is now, in batches; then stop.

        The end counts records of open transactions: reading waits for those to be settled. Raises OffsetOutOfRange
        (start is below what is kept, or beyond the end), LogUnavailable (longer than `timeout_s` without progress)."""
        ...

    def reader(self, positions: Mapping[TopicPartition, int]) -> Reader:
        """Read from these offsets on; -1 means from the end as it is now."""
        ...

    def publisher(self) -> Publisher: ...

    def join(self, group: str, topics: Sequence[str], listener: Listener) -> Member:
        """Become a member of a group over these topics, which have equally many partitions."""
        ...

    def members(self, group: str) -> frozenset[str]:
        """The names of the group's present members; one that died is among them until its session is over.

        Raises LogUnavailable."""
        ...

    def transactor(self, transactional_id: str) -> Transactor: ...

    def close(self) -> None: ...
