"""How do a store's writes become changelog records, and the records a store again?

A record's key is the store's key, its value the row (None deletes), its partition the shard. Keys that begin with NUL
are local: they say what this copy of the store has seen, and never enter the changelog. The one that this file owns,
CHANGELOG_OFFSET_KEY, is written in one batch with the rows that it speaks of (DESIGN, invariant 2).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping

import msgspec

from penstock.engine.store.store import Store, StoreReader
from penstock.schemas.errors import StoreAheadOfLog, Undecodable
from penstock.topics.log import Log, Record, StoredRecord

LOCAL_PREFIX = b"\x00"
CHANGELOG_OFFSET_KEY = b"\x00changelog"
KEY_BYTES_MAX = 1024
BEHIND_ALL_KEYS = b"\xff" * KEY_BYTES_MAX  # the stop of a scan over everything


class RestoreReport(msgspec.Struct, frozen=True):
    """What a restore did: the offsets it read from and to (next), how many records, and whether it wiped first."""

    from_offset: int
    to_offset: int
    records: int
    wiped: bool


def restore(
    log: Log,
    topic: str,
    shard: int,
    store: Store,
    *,
    timeout_s: float,
    on_progress: Callable[[int, int], None] | None = None,
    distrusted: bool = False,
) -> RestoreReport:
    """Bring `store` up to the end of its changelog; `on_progress(next offset, end offset)` is told after each batch.

    Starts at the offset in the store. Wipes first when that is missing although there are rows, when the changelog no
    longer reaches back to it, or when the store is `distrusted`: a store that was away for longer than the changelog
    keeps its deletions (delete.retention.ms) may have missed some for good.

    Raises StoreAheadOfLog; LogUnavailable after `timeout_s` without progress; Undecodable; StoreError."""
    begin, end = log.ends([(topic, shard)])[(topic, shard)]
    seen = stored_offset(store)
    if seen is not None and seen > end:
        raise _ahead_of_log(topic, shard, end, seen, store)
    wiped = (distrusted or seen is None or seen < begin) and not is_empty(store)
    if wiped:
        store.wipe()
    start = begin if wiped or seen is None else seen
    offset, records = start, 0
    store.write(offset_row(start))
    for batch in log.read_to_end(topic, shard, start, timeout_s):
        if batch:
            offset = batch[-1].offset + 1
            records += len(batch)
            store.write({**rows_of(batch), **offset_row(offset)})
            if on_progress is not None:
                on_progress(offset, end)
    return RestoreReport(from_offset=start, to_offset=offset, records=records, wiped=wiped)


def to_records(rows: Mapping[bytes, bytes | None], topic: str, shard: int) -> list[Record]:
    """The changelog records of one write, in its order; local rows are left out."""
    return [Record(topic, shard, key, value) for key, value in rows.items() if not key.startswith(LOCAL_PREFIX)]


def rows_of(records: Iterable[StoredRecord]) -> dict[bytes, bytes | None]:
    """The write that these changelog records amount to: the last one for each key counts.

    Raises Undecodable for a record that no write can have made: skipping it might hide a lost row."""
    rows: dict[bytes, bytes | None] = {}
    for record in records:
        if not record.key or record.key.startswith(LOCAL_PREFIX):
            raise Undecodable(
                "a changelog record needs a key that does not begin with NUL: something else than a processor wrote it",
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
            )
        rows[record.key] = record.value
    return rows


def offset_row(offset: int) -> dict[bytes, bytes | None]:
    """The local row that says: this store holds the changelog below `offset`. Write it with the rows it speaks of."""
    return {CHANGELOG_OFFSET_KEY: offset.to_bytes(8, "big")}


def stored_offset(store: StoreReader) -> int | None:
    """The next changelog offset that this store wants, or None when it never had one."""
    value = store.get(CHANGELOG_OFFSET_KEY)
    return None if value is None else int.from_bytes(value, "big")


def is_empty(store: StoreReader) -> bool:
    """Whether the store has no row at all, local ones included."""
    return next(iter(store.scan(b"", BEHIND_ALL_KEYS)), None) is None


def checksum(store: StoreReader) -> str:
    """SHA-256, in hex, of all rows except local ones: equal for equal rows, however they came to be."""
    return _checksum_of(store.scan(b"\x01", BEHIND_ALL_KEYS))


def checksum_of_changelog(log: Log, topic: str, shard: int, *, timeout_s: float = 60.0) -> str:
    """The checksum that a store restored from nothing would have. Holds all rows in memory.

    Raises LogUnavailable after `timeout_s` without progress; Undecodable."""
    begin, _ = log.ends([(topic, shard)])[(topic, shard)]
    rows: dict[bytes, bytes] = {}
    for batch in log.read_to_end(topic, shard, begin, timeout_s):
        for key, value in rows_of(batch).items():
            if value is None:
                rows.pop(key, None)
            else:
                rows[key] = value
    return _checksum_of(sorted(rows.items()))


def _checksum_of(rows: Iterable[tuple[bytes, bytes]]) -> str:
    """Lengths go in as well, so that no two sets of rows share one stream of bytes."""
    digest = hashlib.sha256()
    for key, value in rows:
        digest.update(len(key).to_bytes(4, "big") + key + len(value).to_bytes(8, "big") + value)
    return digest.hexdigest()


def _ahead_of_log(topic: str, shard: int, end: int, seen: int, store: Store) -> StoreAheadOfLog:
    path = getattr(store, "path", None)
    return StoreAheadOfLog(
        f"the changelog {topic}[{shard}] ends at {end}, but this store has seen it up to {seen}: look whether this is "
        f"the right log, and if the log was really lost, delete the store's directory{f' {path}' if path else ''}"
    )
