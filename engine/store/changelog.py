"""Conversion of a store's writes into changelog records, and of a changelog into a store.

A record's key is the store's key, its value the row (None deletes), its partition the shard. Keys that begin with NUL
are local: they describe this copy of the store and never enter the changelog. CHANGELOG_OFFSET_KEY, which this file
owns, is written in one batch with the rows that it covers (docs/ARCHITECTURE.md, invariant 2).
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
BEHIND_ALL_KEYS = b"\xff" * KEY_BYTES_MAX  # stop of a scan over all rows


class RestoreReport(msgspec.Struct, frozen=True):
    """Outcome of a restore: first and next offset, number of records and the key of the last one, and whether the store
    was wiped first."""

    from_offset: int
    to_offset: int
    records: int
    wiped: bool
    last_key: bytes | None = None


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
    """Bring `store` to the end of its changelog, calling `on_progress(next offset, end offset)` after each batch.

    Starts at the offset in the store. Wipes the store first if it has rows but no offset, if the changelog no longer
    reaches back to its offset, or if it is `distrusted`: a store that was unused for longer than the changelog keeps
    deletions (delete.retention.ms) may have missed some.

    Raises StoreAheadOfLog; LogUnavailable after `timeout_s` without progress; Undecodable; StoreError."""
    begin, end = log.ends([(topic, shard)])[(topic, shard)]
    seen = stored_offset(store)
    if seen is not None and seen > end:
        raise _ahead_of_log(topic, shard, end, seen, store)
    wiped = (distrusted or seen is None or seen < begin) and not is_empty(store)
    if wiped:
        store.wipe()
    start = begin if wiped or seen is None else seen
    offset, records, last_key = start, 0, None
    store.write(offset_row(start))
    for batch in log.read_to_end(topic, shard, start, timeout_s):
        if batch:
            offset, last_key = batch[-1].offset + 1, batch[-1].key
            records += len(batch)
            store.write({**rows_of(batch), **offset_row(offset)})
            if on_progress is not None:
                on_progress(offset, end)
    return RestoreReport(from_offset=start, to_offset=offset, records=records, wiped=wiped, last_key=last_key)


def to_records(rows: Mapping[bytes, bytes | None], topic: str, shard: int) -> list[Record]:
    """Changelog records of one write, in its order, without local rows."""
    return [Record(topic, shard, key, value) for key, value in rows.items() if not key.startswith(LOCAL_PREFIX)]


def rows_of(records: Iterable[StoredRecord]) -> dict[bytes, bytes | None]:
    """Rows that these changelog records write: the last record of each key counts.

    Raises Undecodable for a record that no write can have made; skipping it could hide a lost row."""
    rows: dict[bytes, bytes | None] = {}
    for record in records:
        if not record.key or record.key.startswith(LOCAL_PREFIX):
            raise Undecodable(
                "a changelog record needs a key that does not begin with NUL; this one was not written by a processor",
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
            )
        rows[record.key] = record.value
    return rows


def offset_row(offset: int) -> dict[bytes, bytes | None]:
    """Local row that marks the store as holding the changelog below `offset`; to be written with the rows it covers."""
    return {CHANGELOG_OFFSET_KEY: offset.to_bytes(8, "big")}


def stored_offset(store: StoreReader) -> int | None:
    """Next changelog offset that this store needs; None if it has none."""
    value = store.get(CHANGELOG_OFFSET_KEY)
    return None if value is None else int.from_bytes(value, "big")


def is_empty(store: StoreReader) -> bool:
    """Whether the store has no row at all, local ones included."""
    return next(iter(store.scan(b"", BEHIND_ALL_KEYS)), None) is None


def checksum(store: StoreReader) -> str:
    """SHA-256, in hex, of all rows except local ones; it depends on the rows alone, not on their history."""
    return _checksum_of(store.scan(b"\x01", BEHIND_ALL_KEYS))


def checksum_of_changelog(log: Log, topic: str, shard: int, *, timeout_s: float = 60.0) -> str:
    """Checksum of a store that would be restored from nothing. Holds all rows in memory.

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
    """Checksum of rows. Lengths are included, so that no two sets of rows give the same stream of bytes."""
    digest = hashlib.sha256()
    for key, value in rows:
        digest.update(len(key).to_bytes(4, "big") + key + len(value).to_bytes(8, "big") + value)
    return digest.hexdigest()


def _ahead_of_log(topic: str, shard: int, end: int, seen: int, store: Store) -> StoreAheadOfLog:
    path = getattr(store, "path", None)
    return StoreAheadOfLog(
        f"the changelog {topic}[{shard}] ends at {end}, but this store has applied it up to {seen}: check that "
        f"this is the right log; if the log was lost, delete the store's directory{f' {path}' if path else ''}"
    )
