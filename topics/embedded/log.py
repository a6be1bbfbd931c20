"""The log's contract on one SQLite file."""

from __future__ import annotations

import json
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from penstock.schemas.errors import LogUnavailable, OffsetOutOfRange, UnknownTopic
from penstock.topics.catalogue import creation_advice
from penstock.topics.embedded.database import MEMORY, Database
from penstock.topics.embedded.group import EmbeddedMember, member_names
from penstock.topics.embedded.presence import Presence
from penstock.topics.embedded.publisher import EmbeddedPublisher
from penstock.topics.embedded.records import Catalogue, Positions, ends, fetch, require_in_range
from penstock.topics.embedded.transactor import EmbeddedTransactor
from penstock.topics.embedded.upkeep import Upkeep, trim
from penstock.topics.log import Listener, Member, StoredRecord, TopicDescription, TopicPartition, TopicSpec

__all__ = ["MEMORY", "EmbeddedLog"]

READ_RECORDS_MAX = 2_000


class EmbeddedLog:
    """`Log` on SQLite. Raises LogUnavailable if it cannot be opened.

    `path` is a file, shared by any number of processes of one machine, or `":memory:"` for a log that exists in this
    object only, for any number of threads. A committed record is on disk (WAL, `synchronous=FULL`), and uncommitted
    records are never in the file. A folder `…-members` exists beside it while groups have members.

    Limits: the file must be on a local disk (WAL shares memory between processes). A process that is stopped by SIGSTOP
    during a write blocks all other writers, which raise LogUnavailable after 10 s."""

    creates_topics = True

    def __init__(self, path: str = MEMORY) -> None:
        self._database = Database(path)
        self._catalogue = Catalogue(self._database)
        self._members: weakref.WeakSet[EmbeddedMember] = weakref.WeakSet()
        self._publishers: weakref.WeakSet[EmbeddedPublisher] = weakref.WeakSet()
        self._presence = Presence(None if path == MEMORY else Path(f"{path}-members"))
        self._upkeep = Upkeep(self._database, self._catalogue, self._leases, self._presence.is_gone)
        self._closed = False

    def describe(self, topics: Sequence[str] | None = None) -> Mapping[str, TopicDescription]:
        """The existing topics by name, all or those of `topics`."""
        return self._catalogue.read(topics)

    def create(self, specs: Sequence[TopicSpec]) -> None:
        """Create these topics; existing ones are left unchanged."""
        existing = self._catalogue.read()
        if all(spec.name in existing for spec in specs):
            return
        with self._database.write() as connection:
            for spec in specs:
                assert spec.partitions > 0, f"topic {spec.name} needs at least one partition"
                made = connection.execute(
                    "INSERT OR IGNORE INTO topics VALUES (?, ?, ?)",
                    (spec.name, spec.partitions, json.dumps(dict(spec.config))),
                ).rowcount
                connection.executemany(
                    "INSERT INTO partitions (topic, number, first, next, compacted, kept) VALUES (?, ?, 0, 0, 0, 0)",
                    [(spec.name, number) for number in range(spec.partitions if made else 0)],
                )
        self._catalogue.reload()

    def configure(self, topic: str, config: Mapping[str, str]) -> None:
        """Change these settings of a topic; others keep their values. Raises UnknownTopic."""
        with self._database.write() as connection:
            row = connection.execute("SELECT config FROM topics WHERE name = ?", (topic,)).fetchone()
            if row is None:
                raise UnknownTopic(f"topic {topic} does not exist: {creation_advice(topic)}")
            changed = json.dumps({**json.loads(row[0]), **config})
            connection.execute("UPDATE topics SET config = ? WHERE name = ?", (changed, topic))
        self._catalogue.reload()

    def ends(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        """First offset kept and next offset of each partition. Raises UnknownTopic."""
        with self._database.read() as connection:
            return {where: ends(connection, where)[1:] for where in partitions}

    def trim(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Delete the records below these offsets. Raises UnknownTopic, OffsetOutOfRange (beyond the end)."""
        for where, (_, following) in self.ends(list(offsets)).items():
            if offsets[where] > following:
                raise OffsetOutOfRange(f"{where[0]}[{where[1]}] ends at {following}, below {offsets[where]}")
        for (topic, number), offset in offsets.items():
            trim(self._database, topic, number, offset)

    def read_to_end(
        self,
        topic: str,
        partition: int,
        start: int,
        timeout_s: float,  # noqa: ARG002 - no transaction is ever open here
    ) -> Iterator[list[StoredRecord]]:
        """Every committed record from `start` to the end at the time of the call, in batches.

        Raises OffsetOutOfRange, UnknownTopic, LogUnavailable."""
        where = (topic, partition)
        with self._database.read() as connection:
            known, first, end = ends(connection, where)
        require_in_range(where, start, first, end)
        return self._batches(where, known, start, end)

    def reader(self, positions: Mapping[TopicPartition, int]) -> EmbeddedReader:
        """A reader from these offsets on; -1 means the end at the time of the call. Raises UnknownTopic."""
        known = self.ends(list(positions))
        starts = {where: known[where][1] if offset == -1 else offset for where, offset in positions.items()}
        return EmbeddedReader(self._database, starts)

    def publisher(self) -> EmbeddedPublisher:
        """A publisher of records outside of transactions."""
        publisher = EmbeddedPublisher(self._database, self._catalogue)
        self._publishers.add(publisher)
        self._upkeep.begin()
        return publisher

    def join(self, group: str, topics: Sequence[str], listener: Listener) -> Member:
        """Join a consumer group over these topics. Raises UnknownTopic."""
        member = EmbeddedMember(self._database, self._presence, group, topics, listener)
        self._members.add(member)
        self._upkeep.begin()
        return member

    def members(self, group: str) -> frozenset[str]:
        """Names of the group's current members."""
        return member_names(self._database, group)

    def transactor(self, transactional_id: str) -> EmbeddedTransactor:
        """A transactor with this transactional id."""
        self._upkeep.begin()
        return EmbeddedTransactor(self._database, self._catalogue, transactional_id)

    def wake(self) -> None:
        """Let polls and reads that wait for records return now."""
        self._database.changes.wake()

    def close(self) -> None:
        """Flush all publishers, leave all groups, close the file."""
        if self._closed:
            return
        self._closed = True
        for publisher in list(self._publishers):
            publisher.close()
        self._upkeep.end()
        for member in list(self._members):
            member.leave()
        self._database.close()

    def _leases(self) -> dict[int, str]:
        return {member.id: member.group for member in list(self._members) if not member.closed}

    def _batches(self, where: TopicPartition, partition: int, start: int, end: int) -> Iterator[list[StoredRecord]]:
        while start < end:
            with self._database.read() as connection:
                batch = fetch(connection, where, range(start, end), partition=partition, records_max=READ_RECORDS_MAX)
            if not batch:
                return
            yield batch
            start = batch[-1].offset + 1


class EmbeddedReader:
    """`Reader` of the log's contract."""

    def __init__(self, database: Database, positions: Mapping[TopicPartition, int]) -> None:
        self._database = database
        self._positions = Positions()
        self._positions.start(positions)
        self._closed = False

    def read(self, records_max: int, timeout_s: float) -> list[StoredRecord]:
        """Up to `records_max` records, waiting at most `timeout_s` for the first. Raises OffsetOutOfRange."""
        if self._closed:
            raise LogUnavailable("this reader was closed: create another")
        deadline = time.monotonic() + timeout_s
        changes = self._database.changes
        wakes = changes.wakes
        while True:
            seen = changes.count
            with self._database.read() as connection:
                records = self._positions.take(connection, records_max)
            remaining_s = deadline - time.monotonic()
            if records or remaining_s <= 0 or changes.wakes != wakes:
                return records
            changes.wait(seen, remaining_s)

    def close(self) -> None:
        """Refuse further reads."""
        self._closed = True
