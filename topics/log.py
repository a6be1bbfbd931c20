"""Contract of a log, implemented by the Kafka and the embedded adapter.

Code outside of `topics` depends on these protocols only. Contract (tests/contract/test_log.py, test_log_groups.py):

1. A record published with an explicit partition gets the next offset there; offsets only grow (gaps are allowed:
   each control record of Kafka takes an offset).
2. A transaction's records and offsets become visible together or not at all.
3. A transaction by a member that no longer owns the partitions of its offsets raises Fenced and leaves nothing.
4. `Transactor.recover` aborts transactions that an earlier holder of the same transactional id left open, and fences
   that holder.
5. A committed read never returns records of an open or aborted transaction, nor records behind an open one.
6. No two members of a group are granted the same partition at once, and a member gets `commands-i` and `results-i`
   together. `released` is called before another member is granted the released partitions, unless they are `lost`.
7. Every wait is bounded by a timeout that the caller gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

TopicPartition = tuple[str, int]


class Record(msgspec.Struct, frozen=True, gc=False):
    """A record to append. `partition` is always explicit (see partitioner.py)."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None


class StoredRecord(msgspec.Struct, frozen=True, gc=False):
    """A record of the log. `timestamp_ms` is set by the producer or broker; no decision depends on it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int = 0


class CommittedOffset(msgspec.Struct, frozen=True, gc=False):
    """The next offset that a group reads, with up to 4,096 bytes of the group's own metadata."""

    offset: int
    metadata: str = ""


class TopicSpec(msgspec.Struct, frozen=True):
    """Required state of a topic. `config` holds Kafka's topic settings (the embedded log stores and reports them).

    `replication`: replicas of each partition, -1 for the broker's default; used by `create`, and only on Kafka."""

    name: str
    partitions: int
    config: Mapping[str, str]
    replication: int = -1


class TopicDescription(msgspec.Struct, frozen=True):
    """Actual state of a topic. `replication`: least number of replicas of a partition; 0 without replication."""

    name: str
    partitions: int
    config: Mapping[str, str]
    replication: int = 0


class Listener(Protocol):
    """Callbacks of a member, called within `Member.poll` and `Member.close`, in their thread."""

    def granted(self, partitions: Sequence[TopicPartition]) -> None:
        """The member now owns these partitions. Nothing is delivered from them before `Member.start` sets offsets."""
        ...

    def released(self, partitions: Sequence[TopicPartition], *, lost: bool) -> None:
        """The member's ownership of these partitions ends on return.

        `lost`: they may already belong to another member, so nothing can be committed for them."""
        ...


class Member(Protocol):
    """Member of a consumer group. Used by one thread."""

    @property
    def name(self) -> str:
        """The member's name in `Log.members`, set from the first grant on; it changes when the member has to rejoin."""
        ...

    @property
    def session_timeout_s(self) -> float:
        """How long the member may be out of contact before the group gives its partitions to others."""
        ...

    def poll(self, records_max: int, timeout_s: float) -> list[StoredRecord]:
        """Up to `records_max` committed records, waiting at most `timeout_s` for the first. Calls the listener.

        Raises OffsetOutOfRange, LogUnavailable."""
        ...

    def start(self, positions: Mapping[TopicPartition, int]) -> None:
        """Deliver these granted partitions from these offsets on, also as a later seek."""
        ...

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Deliver nothing from these partitions until `resume`."""
        ...

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Continue delivery where `pause` stopped it."""
        ...

    def committed(
        self, partitions: Sequence[TopicPartition], timeout_s: float
    ) -> Mapping[TopicPartition, CommittedOffset]:
        """The group's committed offsets, without partitions that have none. Waits for offsets of open transactions."""
        ...

    def commit(self, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
        """Commit outside of transactions. Raises Fenced, LogUnavailable."""
        ...

    def close(self) -> None:
        """Call `released`, then leave the group at once."""
        ...


class Publisher(Protocol):
    """Publisher of records outside of transactions, each acknowledged by every in-sync replica."""

    def send(self, record: Record, on_done: Callable[[Exception | None], None] | None = None) -> None:
        """Queue the record; `on_done(None | error)` is called once, from another thread or inside `flush`."""
        ...

    def flush(self, timeout_s: float) -> None:
        """Wait until all sent records are acknowledged. Raises LogUnavailable after `timeout_s`."""
        ...

    def close(self) -> None:
        """Flush within a bounded time and release resources."""
        ...


class Transactor(Protocol):
    """Transactions of records and a member's offsets.

    The steps of a transaction are `begin`, `produce`, `offsets`, then `commit` or `abort`, on one thread at a time."""

    def recover(self, timeout_s: float) -> None:
        """Fence earlier holders of this transactional id and settle the transactions they left open.

        Required before the first transaction, and again after OutcomeUnknown. Raises LogUnavailable."""
        ...

    def begin(self) -> None: ...

    def produce(self, records: Sequence[Record], track: frozenset[TopicPartition] = frozenset()) -> None:
        """Append records. `commit` returns the end offsets of the partitions in `track`.

        Raises TransactionAborted (call `abort`), RecordTooLarge, UnknownTopic."""
        ...

    def offsets(self, offsets: Mapping[TopicPartition, CommittedOffset], member: Member) -> None:
        """Commit these next offsets in the transaction, fenced by the member's current generation. Never empty.

        They may reach the log before the records; `Member.committed` waits for open transactions in either case.

        Raises Fenced, TransactionAborted."""
        ...

    def commit(self) -> Mapping[TopicPartition, int]:
        """Make the transaction visible; returns offset + 1 of the last record for each tracked partition.

        Raises TransactionAborted, Fenced, OutcomeUnknown."""
        ...

    def abort(self) -> None:
        """Discard the transaction. Raises OutcomeUnknown if its outcome cannot be determined; call `recover` then."""
        ...

    def close(self) -> None: ...


class Reader(Protocol):
    """Reader of partitions without a group. Used by one thread."""

    def read(self, records_max: int, timeout_s: float) -> list[StoredRecord]:
        """Up to `records_max` committed records, waiting at most `timeout_s` for the first."""
        ...

    def close(self) -> None: ...


class Log(Protocol):
    """Durable, partitioned log.

    `creates_topics`: whether a program that needs a topic creates it, as no operator does it."""

    creates_topics: bool

    def describe(self, topics: Sequence[str] | None = None) -> Mapping[str, TopicDescription]:
        """The existing topics by name, all or those of `topics`. Raises LogUnavailable."""
        ...

    def create(self, specs: Sequence[TopicSpec]) -> None:
        """Create these topics; existing ones are left unchanged."""
        ...

    def configure(self, topic: str, config: Mapping[str, str]) -> None:
        """Change these settings of a topic; others keep their values."""
        ...

    def ends(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        """First offset kept and next offset (including uncommitted records) of each partition."""
        ...

    def trim(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Delete the records below these offsets."""
        ...

    def read_to_end(self, topic: str, partition: int, start: int, timeout_s: float) -> Iterator[list[StoredRecord]]:
        """Every committed record from `start` to the end at the time of the call, in batches.

        The end includes records of open transactions; reading waits until those are settled. Raises OffsetOutOfRange
        if `start` is below the first offset kept or beyond the end, LogUnavailable after `timeout_s` without
        progress."""
        ...

    def reader(self, positions: Mapping[TopicPartition, int]) -> Reader:
        """A reader from these offsets on; -1 means the end at the time of the call."""
        ...

    def publisher(self) -> Publisher: ...

    def join(self, group: str, topics: Sequence[str], listener: Listener) -> Member:
        """Join a consumer group over these topics, which must have equal numbers of partitions."""
        ...

    def members(self, group: str) -> frozenset[str]:
        """Names of the group's current members, including dead ones until their session expires.

        Raises LogUnavailable."""
        ...

    def transactor(self, transactional_id: str) -> Transactor: ...

    def wake(self) -> None:
        """End the waits of this log's polls and reads early, where the adapter can: a caller is about to stop."""
        ...

    def close(self) -> None: ...
