"""Conversion of a store's writes into changelog records, and of a changelog into a store.

A record's key is the store's key, its value the row (None deletes), its partition the shard. Keys that begin with NUL
are local: they describe this copy of the store and never enter the changelog. CHANGELOG_OFFSET_KEY, which this file
owns, is written in one batch with the rows that it covers (docs/ARCHITECTURE.md, invariant 2).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import itemgetter

import msgspec

from penstock.engine.store.store import Store, StoreReader
from penstock.schemas.errors import StateMismatch, StoreAheadOfLog, Undecodable
from penstock.topics.log import Log, Record, StoredRecord

LOCAL_PREFIX = b"\x00"
CHANGELOG_OFFSET_KEY = b"\x00changelog"
SINCE_KEY = b"\x00since"
KEY_BYTES_MAX = 1024
_CHECK = (
    "check that this is the right log; if it has lost records, restore the topics from a backup, or start the "
    "processor once with --accept-loss (see the guide to operating)"
)
BEHIND_ALL_KEYS = b"\xff" * KEY_BYTES_MAX  # stop of a scan over all rows


class RestoreReport(msgspec.Struct, frozen=True):
    """Outcome of a restore: first and next offset, number of records and the key of the last one, and whether the store
    was wiped first."""

    from_offset: int
    to_offset: int
    records: int
    wiped: bool
    last_key: bytes | None = None


class RestoreChecks(msgspec.Struct, frozen=True):
    """What a restore asks about a store.

    `is_stale(last_ms)`: whether the changelog may have dropped deletions that the store does not have; asked if it is
    behind. `last_ms`: append time of the last record that it has, 0 if that was compacted away. `examine(store,
    records)`: raises StateMismatch if these records cannot follow what the store has."""

    is_stale: Callable[[int], bool] = lambda last_ms: False
    examine: Callable[[StoreReader, Sequence[StoredRecord]], None] = lambda store, records: None


Restoring = Generator[tuple[int, int], None, RestoreReport]
"""A restore in steps: yields the next offset and the end after each batch."""


def restore(
    log: Log,
    topic: str,
    shard: int,
    store: Store,
    *,
    timeout_s: float,
    on_progress: Callable[[int, int], None] | None = None,
    checks: RestoreChecks = RestoreChecks(),
) -> RestoreReport:
    """All of `restoring` at once, calling `on_progress(next offset, end offset)` after each batch."""
    steps = restoring(log, topic, shard, store, timeout_s=timeout_s, checks=checks)
    while True:
        try:
            progress = next(steps)
        except StopIteration as end:
            report: RestoreReport = end.value
            return report
        if on_progress is not None:
            on_progress(*progress)


def restoring(
    log: Log,
    topic: str,
    shard: int,
    store: Store,
    *,
    timeout_s: float,
    checks: RestoreChecks = RestoreChecks(),
    since_ms: int = 0,
) -> Restoring:
    """Bring `store` to the end of its changelog, one batch a step.

    Starts at the offset in the store. Wipes the store first if it has rows but no offset, if the changelog no longer
    reaches back to its offset, or if it is behind and stale. A store that is restored from the first record on keeps
    `since_ms`, the time at which that began.

    Raises StoreAheadOfLog; StateMismatch if the changelog has other records than the store; LogUnavailable after
    `timeout_s` without progress; Undecodable; StoreError."""
    begin, end = log.ends([(topic, shard)])[(topic, shard)]
    seen = stored_offset(store)
    if seen is not None and seen > end:
        raise _ahead_of_log(topic, shard, end, seen, store)
    wiped = (seen is None or seen < begin) and not is_empty(store)
    if seen is not None and not wiped:
        following = _following(log, topic, shard, store, (begin, seen, end), timeout_s)
        first, last_ms = next(following)
        wiped = bool(first) and checks.is_stale(last_ms)
        if not wiped:
            return (yield from _apply(store, chain([first], map(itemgetter(0), following)), (seen, end), checks))
        following.close()
    if wiped:
        store.wipe()
    store.write({**offset_row(begin), **({SINCE_KEY: since_ms.to_bytes(8, "big")} if since_ms else {})})
    batches = log.read_to_end(topic, shard, begin, timeout_s)
    return (yield from _apply(store, batches, (begin, end), checks, wiped=wiped))


def _apply(
    store: Store,
    batches: Iterable[Sequence[StoredRecord]],
    bounds: tuple[int, int],
    checks: RestoreChecks,
    *,
    wiped: bool = False,
) -> Restoring:
    start, end = bounds
    offset, records, last_key = start, 0, None
    for batch in batches:
        if batch:
            checks.examine(store, batch)
            offset, last_key = batch[-1].offset + 1, batch[-1].key
            records += len(batch)
            store.write({**rows_of(batch), **offset_row(offset)})
            yield offset, end
    return RestoreReport(from_offset=start, to_offset=offset, records=records, wiped=wiped, last_key=last_key)


def _following(
    log: Log, topic: str, shard: int, store: Store, bounds: tuple[int, int, int], timeout_s: float
) -> Generator[tuple[Sequence[StoredRecord], int], None, None]:
    """Batches of what follows the store's offset, each with the append time of the record before that (0: compacted).

    The first is empty if nothing follows. Raises StateMismatch if the record before the offset is not the store's: the
    log has lost records that the store has, and others were written in their place."""
    begin, seen, end = bounds
    last_ms, is_known, is_first = 0, seen <= begin, True
    for batch in _read_on(log, topic, shard, (max(begin, seen - 1), end), timeout_s):
        rest = batch
        if batch and batch[0].offset < seen:
            last, rest = batch[0], batch[1:]
            if last.key is None or store.get(last.key) != last.value:
                raise _overwritten(topic, shard, seen, store)
            last_ms = last.timestamp_ms
        is_known = is_known or bool(batch)
        if rest:
            yield rest, last_ms
            is_first = False
    if not is_known:  # its last record is gone, and none that could have replaced it is there
        raise _overwritten(topic, shard, seen, store)
    if is_first:
        yield [], last_ms


def _read_on(
    log: Log, topic: str, shard: int, bounds: tuple[int, int], timeout_s: float
) -> Iterator[Sequence[StoredRecord]]:
    """Batches from the first of these offsets on; the second is the end as listed. Others may write meanwhile.

    If nothing is there and the log has grown since its end was listed, what was there was replaced: read on."""
    start, end = bounds
    while True:
        is_empty = True
        for batch in log.read_to_end(topic, shard, start, timeout_s):
            is_empty = is_empty and not batch
            yield batch
        if not is_empty:
            return
        _, listed = log.ends([(topic, shard)])[(topic, shard)]
        if listed == end:
            return
        end = listed


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


def restored_since_ms(store: StoreReader) -> int:
    """When the restore began that filled this store from the first record on (epoch); 0 if that is not known."""
    value = store.get(SINCE_KEY)
    return 0 if value is None else int.from_bytes(value, "big")


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
    return StoreAheadOfLog(
        f"the changelog {topic}[{shard}] ends at {end}, but this store{_path_of(store)} has applied it up to {seen}: "
        f"{_CHECK}"
    )


def _overwritten(topic: str, shard: int, seen: int, store: Store) -> StateMismatch:
    return StateMismatch(
        f"the changelog {topic}[{shard}] has other records below offset {seen} than this store{_path_of(store)} has "
        f"applied: {_CHECK}"
    )


def _path_of(store: Store) -> str:
    path = getattr(store, "path", None)
    return f" ({path})" if path else ""
