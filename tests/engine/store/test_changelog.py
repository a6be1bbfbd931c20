"""Tests of changelogs: a store rebuilt from one equals the store that wrote it, also after interruptions."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from penstock.engine.store.changelog import (
    CHANGELOG_OFFSET_KEY,
    RestoreChecks,
    checksum,
    checksum_of_changelog,
    offset_row,
    restore,
    restored_since_ms,
    restoring,
    rows_of,
    stored_offset,
    to_records,
)
from penstock.engine.store.memory import MemoryStore
from penstock.engine.store.rocks import RocksStore
from penstock.engine.store.store import Store
from penstock.schemas.errors import OffsetOutOfRange, StateMismatch, StoreAheadOfLog, Undecodable
from penstock.topics.log import Record, StoredRecord

TOPIC = "penstock.default.state-changelog"
SHARD = 2


class FakeLog:
    """One partition that can be trimmed and compacted, with gaps like those that control records leave."""

    def __init__(self, *, batch_size: int = 7, gap_every: int = 0) -> None:
        self.records: list[StoredRecord] = []
        self.begin = 0
        self.end = 0
        self.batch_size = batch_size
        self.gap_every = gap_every
        self.at_ms = 0

    def append(self, records: Sequence[Record]) -> int:
        """Append as one transaction; returns the next offset as a commit reports it."""
        for record in records:
            assert (record.topic, record.partition) == (TOPIC, SHARD)
            self.records.append(StoredRecord(TOPIC, SHARD, self.end, record.key, record.value, self.at_ms))
            self.end += 1
        committed = self.end
        if self.gap_every:
            self.end += self.gap_every
        return committed

    def trim(self, offset: int) -> None:
        self.begin = offset
        self.records = [record for record in self.records if record.offset >= offset]

    def compact(self) -> None:
        newest = {record.key: record.offset for record in self.records}
        self.records = [record for record in self.records if newest[record.key] == record.offset]

    def ends(self, partitions: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], tuple[int, int]]:
        assert list(partitions) == [(TOPIC, SHARD)]
        return {(TOPIC, SHARD): (self.begin, self.end)}

    def read_to_end(self, topic: str, partition: int, start: int, timeout_s: float) -> Iterator[list[StoredRecord]]:
        assert (topic, partition) == (TOPIC, SHARD)
        assert timeout_s > 0
        if not self.begin <= start <= self.end:
            raise OffsetOutOfRange(f"{start} is not within {self.begin}..{self.end}")
        wanted = [record for record in self.records if record.offset >= start]
        for at in range(0, len(wanted), self.batch_size):
            yield wanted[at : at + self.batch_size]


def bring_up(log: Any, store: Store, **options: Any) -> Any:
    return restore(log, TOPIC, SHARD, store, timeout_s=5.0, **options)


def commit(log: FakeLog, store: Store, rows: dict[bytes, bytes | None]) -> None:
    """Commit as a shard does: changelog first, then rows and offset in one batch."""
    offset = log.append(to_records(rows, TOPIC, SHARD))
    store.write({**rows, **offset_row(offset)})


def random_rows(chance: random.Random) -> dict[bytes, bytes | None]:
    return {
        b"k%02d" % chance.randrange(60): chance.choice([None, chance.randbytes(5), b""])
        for _ in range(chance.randint(1, 20))
    }


def test_records_carry_key_value_and_shard() -> None:
    """A write becomes records in its order: store key, row or None, explicit partition; local rows stay out."""
    rows = {b"b": b"1", b"a": None, CHANGELOG_OFFSET_KEY: b"x", b"\x00seen": b"y"}
    assert to_records(rows, TOPIC, SHARD) == [Record(TOPIC, SHARD, b"b", b"1"), Record(TOPIC, SHARD, b"a", None)]


def test_the_last_record_of_a_key_counts() -> None:
    """Within one batch a later record of the same key replaces an earlier one, deletions included."""
    values = [(b"a", b"1"), (b"b", b"1"), (b"a", None), (b"b", b"2")]
    records = [StoredRecord(TOPIC, SHARD, at, key, value) for at, (key, value) in enumerate(values)]
    assert rows_of(records) == {b"a": None, b"b": b"2"}


def test_the_offset_row_is_eight_bytes_big_endian() -> None:
    """The stored form of the offset is fixed: stores on disk outlive releases."""
    assert offset_row(258) == {b"\x00changelog": b"\x00\x00\x00\x00\x00\x00\x01\x02"}


@pytest.mark.parametrize("gap_every", [0, 1])
@pytest.mark.parametrize("seed", range(4))
def test_a_restored_store_equals_the_one_that_wrote(seed: int, gap_every: int) -> None:
    """A store rebuilt from nothing, from a compacted changelog too, has the checksum of the live one and of the log."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    log, live, rebuilt, late = FakeLog(gap_every=gap_every), MemoryStore(), MemoryStore(), MemoryStore()
    for _ in range(40):
        commit(log, live, random_rows(chance))
    bring_up(log, rebuilt)
    assert checksum(rebuilt) == checksum(live) == checksum_of_changelog(log, TOPIC, SHARD)
    log.compact()
    bring_up(log, late)
    assert checksum(late) == checksum(live) == checksum_of_changelog(log, TOPIC, SHARD)


def test_only_the_tail_is_replayed() -> None:
    """A store that knows its offset reads from there, so a crash after the commit costs one layer, not a rebuild."""
    log, store = FakeLog(), MemoryStore()
    for number in range(10):
        commit(log, store, {b"k": b"%d" % number})
    log.append(to_records({b"k": b"lost by a crash", b"l": b"1"}, TOPIC, SHARD))
    report = bring_up(log, store)
    assert (report.from_offset, report.to_offset, report.records, report.wiped) == (10, 12, 2, False)
    assert store.get(b"k") == b"lost by a crash"
    again = bring_up(log, store)
    assert (again.from_offset, again.to_offset, again.records, again.wiped) == (12, 12, 0, False)


def test_rows_and_offset_are_one_write() -> None:
    """Each batch is one write that holds its rows and its offset, so that no crash separates the two."""

    class Watched(MemoryStore):
        writes: list[dict[bytes, bytes | None]] = []

        def write(self, rows: Mapping[bytes, bytes | None]) -> None:
            self.writes.append(dict(rows))
            super().write(rows)

    log, store = FakeLog(batch_size=2), Watched()
    log.append([Record(TOPIC, SHARD, b"k%d" % number, b"v") for number in range(5)])
    bring_up(log, store)
    assert store.writes == [
        offset_row(0),
        {b"k0": b"v", b"k1": b"v", **offset_row(2)},
        {b"k2": b"v", b"k3": b"v", **offset_row(4)},
        {b"k4": b"v", **offset_row(5)},
    ]


@pytest.mark.parametrize("seed", range(4))
def test_an_interrupted_restore_is_continued(seed: int) -> None:
    """A crash at any write of a restore, a wipe's included, leaves a store that the next restore completes."""
    print(f"seed {seed}")

    class Crash(Exception):
        pass

    class Crashing(MemoryStore):
        writes_left = 0

        def write(self, rows: Mapping[bytes, bytes | None]) -> None:
            if self.writes_left == 0:
                raise Crash
            self.writes_left -= 1
            super().write(rows)

    chance = random.Random(seed)
    log, live = FakeLog(batch_size=3), MemoryStore()
    for _ in range(10):
        commit(log, live, random_rows(chance))
    store = Crashing()
    MemoryStore.write(store, {b"stale": b"of unknown origin"})
    finished = False
    for _ in range(1000):
        store.writes_left = chance.randrange(6)
        try:
            bring_up(log, store)
        except Crash:
            continue
        finished = True
        break
    assert finished
    assert checksum(store) == checksum(live)


def test_rows_without_an_offset_are_wiped() -> None:
    """A store that has rows but not the offset they belong to is rebuilt from the start."""
    log, store = FakeLog(), MemoryStore()
    log.append([Record(TOPIC, SHARD, b"k", b"v")])
    store.write({b"stale": b"1"})
    report = bring_up(log, store)
    assert report.wiped
    assert list(store.scan(b"\x01", b"\xff")) == [(b"k", b"v")]


def test_an_empty_store_is_not_reported_as_wiped() -> None:
    """A fresh store is filled from the first kept offset, and an empty changelog leaves it with that offset."""
    log, store = FakeLog(), MemoryStore()
    report = bring_up(log, store)
    assert (report.from_offset, report.to_offset, report.records, report.wiped) == (0, 0, 0, False)
    assert stored_offset(store) == 0
    log.append([Record(TOPIC, SHARD, b"k%d" % number, b"v") for number in range(9)])
    log.trim(4)
    assert bring_up(log, MemoryStore()).from_offset == 4


def test_a_store_older_than_the_changelog_is_wiped() -> None:
    """A store whose offset was trimmed away may have missed deletions: it is rebuilt from the first kept offset."""
    log, store = FakeLog(), MemoryStore()
    commit(log, store, {b"deleted": b"1"})
    log.append([Record(TOPIC, SHARD, b"deleted", None), Record(TOPIC, SHARD, b"k", b"v")])
    log.trim(2)
    report = bring_up(log, store)
    assert (report.from_offset, report.to_offset, report.wiped) == (2, 3, True)
    assert store.get(b"deleted") is None
    assert checksum(store) == checksum_of_changelog(log, TOPIC, SHARD)


def always_stale(asked: list[int]) -> RestoreChecks:
    """Checks that call every store stale, and note the append time that they are asked about."""

    def is_stale(last_ms: int) -> bool:
        asked.append(last_ms)
        return True

    return RestoreChecks(is_stale)


def test_a_stale_store_is_wiped() -> None:
    """A store that is behind and stale is rebuilt, although the log has its offset; what it has last is asked about."""
    log, store, asked = FakeLog(), MemoryStore(), []
    log.at_ms = 70
    commit(log, store, {b"deleted": b"1", b"kept": b"1"})
    log.at_ms = 90
    log.append([Record(TOPIC, SHARD, b"deleted", None)])
    report = bring_up(log, store, checks=always_stale(asked))
    assert (report.from_offset, report.wiped, report.records, asked) == (0, True, 3, [70])
    assert store.get(b"deleted") is None


@pytest.mark.parametrize("gap_every", [0, 1])
def test_a_current_store_is_never_stale(gap_every: int) -> None:
    """A store that has all records is used whatever its age: an idle shard is not rebuilt."""
    log, store, asked = FakeLog(gap_every=gap_every), MemoryStore(), []
    commit(log, store, {b"k": b"1"})
    report = bring_up(log, store, checks=always_stale(asked))
    assert (report.wiped, report.records, asked) == (False, 0, [])


def test_a_store_behind_a_compacted_record_has_no_known_age() -> None:
    """If the store's last record was compacted away, its append time is 0."""
    log, store, asked = FakeLog(), MemoryStore(), []
    log.at_ms = 70
    commit(log, store, {b"k": b"1"})
    commit(log, MemoryStore(), {b"k": b"2"})
    log.compact()
    bring_up(log, store, checks=always_stale(asked))
    assert asked == [0]


@pytest.mark.parametrize("batch_size", [1, 7])
def test_an_overwritten_record_is_noticed(batch_size: int, tmp_path: Path) -> None:
    """If the log has another record than the store's last one at its offset, the store is refused and not changed."""
    log, store = FakeLog(batch_size=batch_size), RocksStore(tmp_path / "shard-2")
    commit(log, store, {b"a": b"1", b"k": b"1"})
    log.records[-1] = StoredRecord(TOPIC, SHARD, 1, b"k", b"of another transaction")
    log.append([Record(TOPIC, SHARD, b"k", b"2")])
    with pytest.raises(StateMismatch) as refused:
        bring_up(log, store)
    for words in (f"{TOPIC}[{SHARD}] has other records below offset 2", str(tmp_path), "once with --accept-loss"):
        assert words in str(refused.value)
    assert store.get(b"k") == b"1"
    store.close()


def test_a_lost_record_that_nothing_replaced_is_noticed() -> None:
    """If neither the store's last record nor one behind it is in the log, although its end is, the store is refused."""
    log, store = FakeLog(), MemoryStore()
    commit(log, store, {b"k": b"1"})
    del log.records[-1]  # the log was cut off, and took aborted records since
    log.end += 3
    with pytest.raises(StateMismatch, match="other records below offset 1"):
        bring_up(log, store)


class OvertakenLog(FakeLog):
    """A log that is written and compacted between the listing of its end and the first read, `times` times."""

    times = 1

    def read_to_end(self, topic: str, partition: int, start: int, timeout_s: float) -> Iterator[list[StoredRecord]]:
        end = self.end
        if self.times:
            self.times -= 1
            self.append([Record(TOPIC, SHARD, b"k", b"later")])
            self.compact()
        for batch in super().read_to_end(topic, partition, start, timeout_s):
            if found := [record for record in batch if record.offset < end]:
                yield found


@pytest.mark.parametrize("times", [1, 3])
def test_a_record_that_is_compacted_while_it_is_read_is_no_loss(times: int) -> None:
    """If compaction drops the store's last record after the end was listed, what replaced it is read and applied."""
    log, store = OvertakenLog(), MemoryStore()
    commit(log, store, {b"k": b"1"})
    log.times = times
    report = bring_up(log, store)
    assert (report.wiped, report.records, store.get(b"k")) == (False, 1, b"later")


def test_records_are_examined_before_they_are_written() -> None:
    """The caller's check sees the store as it was, and nothing of a refused batch is written."""

    def refuse(store: Any, records: Sequence[StoredRecord]) -> None:
        assert store.get(b"k") == b"1"
        raise StateMismatch(f"{len(records)} records")

    log, store = FakeLog(), MemoryStore()
    commit(log, store, {b"k": b"1"})
    log.append([Record(TOPIC, SHARD, b"k", b"2")])
    with pytest.raises(StateMismatch, match="1 records"):
        bring_up(log, store, checks=RestoreChecks(examine=refuse))
    assert store.get(b"k") == b"1"


def test_a_restore_can_be_interrupted_between_batches() -> None:
    """A restore in steps stops after any batch; the next one goes on there, and the store knows when it began."""
    log, store = FakeLog(batch_size=2), MemoryStore()
    log.append([Record(TOPIC, SHARD, b"k%d" % number, b"v") for number in range(6)])
    steps = restoring(log, TOPIC, SHARD, store, timeout_s=5.0, since_ms=77)  # type: ignore[arg-type]
    assert [next(steps), next(steps)] == [(2, 6), (4, 6)]
    steps.close()
    report = bring_up(log, store)
    assert (report.from_offset, report.records, restored_since_ms(store)) == (4, 2, 77)
    assert checksum(store) == checksum_of_changelog(log, TOPIC, SHARD)  # type: ignore[arg-type]


def test_a_store_ahead_of_its_log_is_refused(tmp_path: Path) -> None:
    """A store whose offset is beyond the log's end is not changed; the error says what to check and to do."""
    log, store = FakeLog(), RocksStore(tmp_path / "shard-2")
    store.write({b"k": b"v", **offset_row(42)})
    log.append([Record(TOPIC, SHARD, b"k", b"other")])
    with pytest.raises(StoreAheadOfLog) as refused:
        bring_up(log, store)
    for words in (f"{TOPIC}[{SHARD}] ends at 1", "applied it up to 42", str(tmp_path), "once with --accept-loss"):
        assert words in str(refused.value)
    assert store.get(b"k") == b"v"
    store.close()


@pytest.mark.parametrize("key", [None, b"", CHANGELOG_OFFSET_KEY, b"\x00other"])
def test_a_record_that_no_write_made_stops_the_restore(key: bytes | None) -> None:
    """A changelog record without a key, or with a local one, raises Undecodable with its place."""
    log, store = FakeLog(batch_size=1), MemoryStore()
    log.append([Record(TOPIC, SHARD, b"k", b"v")])
    log.records.append(StoredRecord(TOPIC, SHARD, 1, key, b"\x00" * 8))
    log.end = 2
    with pytest.raises(Undecodable, match=r"state-changelog\[2\]@1: a changelog record needs a key"):
        bring_up(log, store)
    assert stored_offset(store) == 1


def test_progress_is_reported_after_each_batch() -> None:
    """on_progress receives the next offset and the end, once for each batch applied."""
    log, reported = FakeLog(batch_size=4), []
    log.append([Record(TOPIC, SHARD, b"k%d" % number, b"v") for number in range(10)])
    bring_up(log, MemoryStore(), on_progress=lambda offset, end: reported.append((offset, end)))
    assert reported == [(4, 10), (8, 10), (10, 10)]


def test_the_checksum_differs_between_stores() -> None:
    """One differing key, value or boundary between the two changes the checksum; local rows and history do not."""
    rows: list[dict[bytes, bytes | None]] = [
        {},
        {b"a": b""},
        {b"a": b"b"},
        {b"ab": b""},
        {b"a": b"c"},
        {b"a": b"b", b"c": b""},
        {b"a": b"", b"b": b"c"},
    ]
    sums = []
    for each in rows:
        store = MemoryStore()
        store.write({b"gone": b"1"})
        store.write({**each, b"gone": None, b"\x00local": b"%d" % len(sums)})
        sums.append(checksum(store))
    assert len(set(sums)) == len(rows)
    again = MemoryStore()
    again.write(rows[-1])
    assert checksum(again) == sums[-1]


def test_both_stores_have_one_checksum(tmp_path: Path) -> None:
    """The same changelog gives the same checksum in memory and on disk, before and after reopening."""
    log, chance = FakeLog(batch_size=50), random.Random(3)
    for _ in range(30):
        log.append(to_records(random_rows(chance), TOPIC, SHARD))
    memory, rocks = MemoryStore(), RocksStore(tmp_path)
    bring_up(log, memory)
    bring_up(log, rocks)
    assert checksum(rocks) == checksum(memory)
    rocks.close()
    reopened = RocksStore(tmp_path)
    assert checksum(reopened) == checksum(memory)
    assert bring_up(log, reopened).records == 0
    reopened.close()
