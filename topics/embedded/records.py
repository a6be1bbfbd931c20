"""Records in the file: appending to partitions, and reading from them."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping, Sequence

from penstock.schemas.errors import OffsetOutOfRange, RecordTooLarge, UnknownTopic
from penstock.topics.catalogue import creation_advice
from penstock.topics.embedded.database import OFFSET_BITS, Database
from penstock.topics.log import Record, StoredRecord, TopicDescription, TopicPartition

OFFSET_MASK = (1 << OFFSET_BITS) - 1
ROWS_AT_ONCE = 128
FETCH_BYTES_MAX = 16 * 1024 * 1024
MESSAGE_BYTES_DEFAULT = 1_048_588
# What Kafka adds to a single record: a batch header of 61 bytes and some lengths. Counted here too, so that both logs
# accept the same records.
OVERHEAD_BYTES = 90
CATALOGUE_AGE_S_MAX = 1.0


def append(connection: sqlite3.Connection, records: Sequence[Record]) -> dict[TopicPartition, int]:
    """Append the records; returns the next offset of each partition appended to. Raises UnknownTopic."""
    now_ms = time.time_ns() // 1_000_000
    places: dict[TopicPartition, int] = {}
    rows = []
    for record in records:
        where = (record.topic, record.partition)
        place = places.get(where)
        if place is None:
            place = _next_place(connection, where)
        rows.append((place, record.key, record.value, now_ms))
        places[where] = place + 1
    connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?)", rows)
    ends = [(place & OFFSET_MASK, place >> OFFSET_BITS) for place in places.values()]
    connection.executemany("UPDATE partitions SET next = ? WHERE id = ?", ends)
    return {where: place & OFFSET_MASK for where, place in places.items()}


def fetch(
    connection: sqlite3.Connection, where: TopicPartition, offsets: range, *, partition: int, records_max: int
) -> list[StoredRecord]:
    """Up to `records_max` records (and about 16 MiB at most) at these offsets; `partition` is the partition's id."""
    base = partition << OFFSET_BITS
    topic, number = where
    found: list[StoredRecord] = []
    size = 0
    cursor = connection.execute(
        "SELECT place, key, value, at_ms FROM records WHERE place >= ? AND place < ? ORDER BY place LIMIT ?",
        (base + offsets.start, base + offsets.stop, records_max),
    )
    while size < FETCH_BYTES_MAX and (rows := cursor.fetchmany(ROWS_AT_ONCE)):
        found += [StoredRecord(topic, number, place - base, key, value, at_ms) for place, key, value, at_ms in rows]
        size += sum([len(row[2]) for row in rows if row[2] is not None])
    cursor.close()
    return found


def ends(connection: sqlite3.Connection, where: TopicPartition) -> tuple[int, int, int]:
    """The partition's id, first offset kept and next offset. Raises UnknownTopic."""
    row = connection.execute("SELECT id, first, next FROM partitions WHERE topic = ? AND number = ?", where).fetchone()
    if row is None:
        raise UnknownTopic(f"topic {where[0]} has no partition {where[1]}: {creation_advice(where[0])}")
    return int(row[0]), int(row[1]), int(row[2])


def require_in_range(where: TopicPartition, offset: int, first: int, following: int) -> None:
    """Raise OffsetOutOfRange unless reading can start at the offset."""
    if not first <= offset <= following:
        raise OffsetOutOfRange(
            f"{where[0]}[{where[1]}] has offsets {first} to {following}, so it cannot be read from {offset} on"
        )


def _next_place(connection: sqlite3.Connection, where: TopicPartition) -> int:
    partition, _, following = ends(connection, where)
    return (partition << OFFSET_BITS) + following


class Positions:
    """Next offsets of a reader by partition. Partitions take turns, so that none blocks the others."""

    def __init__(self) -> None:
        self._offsets: dict[TopicPartition, int] = {}
        self._partitions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._turn = 0

    def start(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read these partitions from these offsets on."""
        self._offsets.update(positions)

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Skip these partitions until `resume`."""
        self._paused.update(partitions)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Read these partitions again."""
        self._paused.difference_update(partitions)

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Stop reading these partitions."""
        for where in partitions:
            self._offsets.pop(where, None)
            self._paused.discard(where)

    def take(self, connection: sqlite3.Connection, records_max: int) -> list[StoredRecord]:
        """Up to `records_max` next records; advances the offsets. Raises OffsetOutOfRange, UnknownTopic."""
        taken: list[StoredRecord] = []
        for where in self._in_turn():
            offset = self._offsets[where]
            partition, first, following = self._ends(connection, where)
            require_in_range(where, offset, first, following)
            if offset == following:
                continue
            found = fetch(
                connection, where, range(offset, following), partition=partition, records_max=records_max - len(taken)
            )
            # Compaction leaves gaps, also at the very end.
            self._offsets[where] = found[-1].offset + 1 if found else following
            taken += found
            if len(taken) >= records_max:
                break
        return taken

    def _in_turn(self) -> list[TopicPartition]:
        active = [where for where in self._offsets if where not in self._paused]
        self._turn += 1
        cut = self._turn % len(active) if active else 0
        return active[cut:] + active[:cut]

    def _ends(self, connection: sqlite3.Connection, where: TopicPartition) -> tuple[int, int, int]:
        partition = self._partitions.get(where)
        if partition is None:
            found = ends(connection, where)
            self._partitions[where] = found[0]
            return found
        row = connection.execute("SELECT first, next FROM partitions WHERE id = ?", (partition,)).fetchone()
        return partition, row[0], row[1]


class Catalogue:
    """Existing topics, with limits cached for up to a second: partitions never change, settings rarely."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._limits: dict[str, tuple[int, int]] = {}
        self._read_s = 0.0
        self._lock = threading.Lock()

    def read(self, names: Sequence[str] | None = None) -> dict[str, TopicDescription]:
        """The topics of these names, or all of them, uncached."""
        query = "SELECT name, partitions, config FROM topics"
        with self._database.read() as connection:
            if names is None:
                rows = connection.execute(query).fetchall()
            else:  # one look-up each: the number of parameters of a statement is bounded
                found = [connection.execute(f"{query} WHERE name = ?", (name,)).fetchone() for name in names]
                rows = [row for row in found if row is not None]
        return {name: TopicDescription(name, partitions, json.loads(config)) for name, partitions, config in rows}

    def require_accepted(self, records: Iterable[Record]) -> None:
        """Raise UnknownTopic or RecordTooLarge for the first record that its topic does not accept."""
        if time.monotonic() - self._read_s > CATALOGUE_AGE_S_MAX:
            self.reload()
        limits = self._limits
        for record in records:
            size = len(record.key or b"") + len(record.value or b"") + OVERHEAD_BYTES
            partitions, bytes_max = limits.get(record.topic) or self._limits_of(record.topic)
            if not 0 <= record.partition < partitions:
                raise UnknownTopic(
                    f"topic {record.topic} has partitions 0 to {partitions - 1}, but no partition {record.partition}",
                    topic=record.topic,
                    partition=record.partition,
                )
            if size > bytes_max:
                raise RecordTooLarge(
                    f"a record of {size:,} bytes exceeds the limit of topic {record.topic}, {bytes_max:,}: "
                    "make it smaller or raise the topic's max.message.bytes"
                )

    def reload(self) -> None:
        """Read all topics again."""
        with self._lock:
            self._limits = {
                name: (topic.partitions, int(topic.config.get("max.message.bytes", MESSAGE_BYTES_DEFAULT)))
                for name, topic in self.read().items()
            }
            self._read_s = time.monotonic()

    def _limits_of(self, topic: str) -> tuple[int, int]:
        self.reload()
        if topic not in self._limits:
            raise UnknownTopic(f"topic {topic} does not exist: {creation_advice(topic)}", topic=topic)
        return self._limits[topic]
