"""Periodic work on the embedded log: renewal of leases, expiry of old records, compaction of topics."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping

from penstock.schemas.errors import LogError
from penstock.topics.catalogue import DELETE_RETENTION_MS
from penstock.topics.embedded.database import OFFSET_BITS, Database
from penstock.topics.embedded.group import beat
from penstock.topics.embedded.records import OFFSET_MASK, Catalogue
from penstock.topics.log import TopicDescription

BEAT_S = 0.75
EXPIRE_S, EXPIRE_S_FIRST = 60.0, 10.0
DELETED_AT_ONCE = 5_000
COMPACT_RECORDS_MIN = 10_000

logger = logging.getLogger(__name__)


class Upkeep:
    """Thread that renews the leases of `members` every 0.75 s and expires records once a minute."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        members: Callable[[], Mapping[int, str]],
        is_gone: Callable[[int], bool],
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._is_gone = is_gone
        self._members = members
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Start the thread. Idempotent."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="penstock-upkeep", daemon=True)
                self._thread.start()

    def end(self) -> None:
        """Stop the thread and wait for it."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10.0)

    def _run(self) -> None:
        expire_s = time.monotonic() + EXPIRE_S_FIRST
        while not self._stop.wait(BEAT_S):
            try:
                if members := self._members():
                    with self._database.write() as connection:
                        beat(connection, members, self._is_gone)
                if time.monotonic() > expire_s:
                    expire_s = time.monotonic() + EXPIRE_S
                    self._expire_if_due()
            except LogError:
                # Tried again at the next beat; `Member.poll` detects a lease that expired in between.
                logger.warning("upkeep of the embedded log failed, trying again", exc_info=True)

    def _expire_if_due(self) -> None:
        """Expire records unless another process has done so recently."""
        now_ms = time.time_ns() // 1_000_000
        with self._database.write() as connection:
            row = connection.execute("SELECT at_ms FROM upkeep WHERE name = 'expire'").fetchone()
            due = row is None or not 0 <= now_ms - row[0] < EXPIRE_S * 500
            if due:
                connection.execute("INSERT OR REPLACE INTO upkeep VALUES ('expire', ?)", (now_ms,))
        if due:
            expire(self._database, self._catalogue, now_ms)


def expire(database: Database, catalogue: Catalogue, now_ms: int) -> None:
    """Delete records by their topic's `cleanup.policy`.

    `delete`: those older than `retention.ms`; `compact`: those superseded by a later record of the same key."""
    for topic in catalogue.read().values():
        policies = topic.config.get("cleanup.policy", "delete").split(",")
        retention_ms = int(topic.config.get("retention.ms", "604800000"))
        for number in range(topic.partitions):
            if "delete" in policies and retention_ms >= 0:
                _expire_partition(database, topic.name, number, now_ms - retention_ms)
            if "compact" in policies:
                _compact_partition(database, topic, number, now_ms)
    database.checkpoint()


def trim(database: Database, topic: str, number: int, offset: int) -> None:
    """Delete a partition's records below the offset, in portions so that other writers are not blocked for long."""
    with database.write() as connection:
        connection.execute(
            "UPDATE partitions SET first = max(first, min(next, ?)) WHERE topic = ? AND number = ?",
            (offset, topic, number),
        )
        base, _, _ = _bounds(connection, topic, number)
    below = base + offset
    portion = (
        "DELETE FROM records WHERE place IN "
        "(SELECT place FROM records WHERE place >= ? AND place < ? ORDER BY place LIMIT ?)"
    )
    deleted = DELETED_AT_ONCE
    while deleted == DELETED_AT_ONCE:
        with database.write() as connection:
            deleted = connection.execute(portion, (base, below, DELETED_AT_ONCE)).rowcount


def _expire_partition(database: Database, topic: str, number: int, before_ms: int) -> None:
    with database.read() as connection:
        base, first, following = _bounds(connection, topic, number)
        places = (base + first, base + following)
        row = connection.execute(
            "SELECT place FROM records WHERE place >= ? AND place < ? AND at_ms >= ? ORDER BY place LIMIT 1",
            (*places, before_ms),
        ).fetchone()
    keep_from = row[0] & OFFSET_MASK if row else following
    if keep_from > first:
        trim(database, topic, number, keep_from)


def _compact_partition(database: Database, topic: TopicDescription, number: int, now_ms: int) -> None:
    """Delete superseded records, once as many were written as the last compaction kept."""
    with database.read() as connection:
        base, first, following = _bounds(connection, topic.name, number)
        compacted, kept = connection.execute(
            "SELECT compacted, kept FROM partitions WHERE topic = ? AND number = ?", (topic.name, number)
        ).fetchone()
        if following - compacted < max(COMPACT_RECORDS_MIN, kept):
            return
        tombstones_before_ms = now_ms - int(topic.config.get("delete.retention.ms", DELETE_RETENTION_MS))
        superseded = _superseded(connection, base + first, base + following, tombstones_before_ms)
    for start in range(0, len(superseded), DELETED_AT_ONCE):
        with database.write() as connection:
            portion = superseded[start : start + DELETED_AT_ONCE]
            connection.executemany("DELETE FROM records WHERE place = ?", portion)
    with database.write() as connection:
        connection.execute(
            "UPDATE partitions SET compacted = ?, kept = (SELECT count(*) FROM records WHERE place >= ? AND place < ?)"
            " WHERE topic = ? AND number = ?",
            (following, base + first, base + following, topic.name, number),
        )


def _superseded(connection: sqlite3.Connection, start: int, stop: int, tombstones_before_ms: int) -> list[tuple[int]]:
    """Places of records that have a later record of the same key, and of tombstones older than the given time.

    A tombstone stays for as long as an earlier record of its key exists: a reader may be between the two, and the
    process may end between two portions of the deletion. A later compaction deletes it."""
    return connection.execute(
        "SELECT place FROM (SELECT place, value, at_ms, row_number() OVER (PARTITION BY key ORDER BY place DESC)"
        " AS age, count(*) OVER (PARTITION BY key) AS records"
        " FROM records WHERE place >= ? AND place < ? AND key IS NOT NULL)"
        " WHERE age > 1 OR (records = 1 AND value IS NULL AND at_ms < ?) ORDER BY place",
        (start, stop, tombstones_before_ms),
    ).fetchall()


def _bounds(connection: sqlite3.Connection, topic: str, number: int) -> tuple[int, int, int]:
    """The place of the partition's offset 0, its first offset kept and its next offset."""
    row = connection.execute(
        "SELECT id, first, next FROM partitions WHERE topic = ? AND number = ?", (topic, number)
    ).fetchone()
    return int(row[0]) << OFFSET_BITS, int(row[1]), int(row[2])
