"""Property test of compaction in the embedded log: what readers rebuild, whenever it runs and wherever it stops."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from penstock.topics.embedded import EmbeddedLog, upkeep
from penstock.topics.embedded import log as log_module
from penstock.topics.log import Record, StoredRecord, TopicSpec

TOPIC = "compacted"
LATER_MS = 4_000_000_000_000
"""A time at which every deletion is older than it has to be kept."""


class Died(Exception):
    """The process ended between two transactions."""


class Changelog:
    """A compacted partition, what it means, and readers on their way to its end."""

    def __init__(self, chance: random.Random) -> None:
        self.chance, self.rows = chance, {}
        self.log = EmbeddedLog()
        self.log.create([TopicSpec(TOPIC, 1, {"cleanup.policy": "compact", "delete.retention.ms": "0"})])
        self.readers: list[tuple[Iterator[list[StoredRecord]], dict[bytes, bytes], int]] = []

    def write(self) -> None:
        records = []
        for _ in range(self.chance.randint(1, 6)):
            key, value = b"k%d" % self.chance.randrange(5), self.chance.choice([None, self.chance.randbytes(2)])
            records.append(Record(TOPIC, 0, key, value))
            self._apply(self.rows, key, value)
        publisher = self.log.publisher()
        for record in records:
            publisher.send(record)
        publisher.flush(5)
        publisher.close()

    def compact(self, *, may_die: bool = True) -> None:
        for reader in self.readers:  # one compaction during a reading: the next one needs as many records as this keeps
            self.finish(reader)
        self.readers = [self.reader() for _ in range(self.chance.randrange(3))]
        try:
            with self._dying() if may_die and self.chance.random() < 0.5 else _unharmed():
                upkeep.expire(self.log._database, self.log._catalogue, LATER_MS)
        except Died:
            pass

    def reader(self) -> tuple[Iterator[list[StoredRecord]], dict[bytes, bytes], int]:
        """A reader from the beginning, which has read some batches."""
        end = self.log.ends([(TOPIC, 0)])[TOPIC, 0][1]
        batches, rows = self.log.read_to_end(TOPIC, 0, 0, 5), {}
        for _ in range(self.chance.randrange(6)):
            self._take(rows, next(batches, []))
        return batches, rows, end

    def finish(self, reader: tuple[Iterator[list[StoredRecord]], dict[bytes, bytes], int]) -> None:
        """Let a reader read the rest, and what was written since it began."""
        batches, rows, end = reader
        for batch in [*batches, *self.log.read_to_end(TOPIC, 0, end, 5)]:
            self._take(rows, batch)
        assert rows == self.rows

    def _take(self, rows: dict[bytes, bytes], batch: list[StoredRecord]) -> None:
        for record in batch:
            assert record.key is not None
            self._apply(rows, record.key, record.value)

    @staticmethod
    def _apply(rows: dict[bytes, bytes], key: bytes, value: bytes | None) -> None:
        if value is None:
            rows.pop(key, None)
        else:
            rows[key] = value

    @contextmanager
    def _dying(self) -> Iterator[None]:
        """Let the process end before one of the transactions that follow."""
        database, left = self.log._database, self.chance.randrange(6)
        write = database.write

        def dying() -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise Died
            return write()

        database.write = dying  # type: ignore[method-assign]
        try:
            yield
        finally:
            database.write = write  # type: ignore[method-assign]


@contextmanager
def _unharmed() -> Iterator[None]:
    yield


@pytest.mark.parametrize("seed", range(30))
def test_compaction_changes_no_row(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers rebuild the same rows with and without compaction, also beside one, and after one that was cut off."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    monkeypatch.setattr(upkeep, "COMPACT_RECORDS_MIN", 1)
    monkeypatch.setattr(upkeep, "DELETED_AT_ONCE", chance.randint(1, 3))
    monkeypatch.setattr(log_module, "READ_RECORDS_MAX", chance.randint(1, 4))
    changelog = Changelog(chance)
    for _ in range(25):
        chance.choice([changelog.write, changelog.write, changelog.compact])()
        changelog.finish(changelog.reader())
    changelog.log.close()


def test_old_deletions_go_in_the_end() -> None:
    """A deletion whose earlier records are gone is dropped by the next compaction."""
    changelog = Changelog(random.Random(1))
    publisher = changelog.log.publisher()
    for key in (b"deleted", b"kept"):
        publisher.send(Record(TOPIC, 0, key, b"1"))
    publisher.send(Record(TOPIC, 0, b"deleted", None))
    publisher.flush(5)
    publisher.close()
    left = []
    for _ in range(2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(upkeep, "COMPACT_RECORDS_MIN", 0)
            with changelog.log._database.write() as connection:
                connection.execute("UPDATE partitions SET kept = 0")
            upkeep.expire(changelog.log._database, changelog.log._catalogue, LATER_MS)
        left.append([record.key for batch in changelog.log.read_to_end(TOPIC, 0, 0, 5) for record in batch])
    assert left == [[b"kept", b"deleted"], [b"kept"]]
    changelog.log.close()
