"""Disks of simulated processes: the rows of each shard, and copies that may be restored later.

Every write is compared with the log: a store holds exactly the rows of the committed changelog up to the offset in
the store (docs/ARCHITECTURE.md, invariant 2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from penstock.engine.store.changelog import CHANGELOG_OFFSET_KEY, LOCAL_PREFIX
from penstock.engine.store.memory import MemoryStore
from penstock.topics.log import TopicPartition
from tests.simulation.broker import Broker
from tests.simulation.story import Violation


class Directory:
    """Rows of a shard, and the expected ones: the changelog's up to the offset `seen`."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.expected: dict[bytes, bytes] = {}
        self.seen = 0

    def copy(self) -> Directory:
        made = Directory()
        made.rows, made.expected, made.seen = dict(self.rows), dict(self.expected), self.seen
        return made


class Disk:
    """Directories of one process slot, by shard."""

    def __init__(self) -> None:
        self.directories: dict[int, Directory] = {}

    def directory(self, shard: int) -> Directory:
        return self.directories.setdefault(shard, Directory())

    def copy(self) -> Disk:
        made = Disk()
        made.directories = {shard: directory.copy() for shard, directory in self.directories.items()}
        return made


class SimStore(MemoryStore):
    """MemoryStore on a Directory. `before_write` and `after_write` may raise."""

    def __init__(
        self,
        directory: Directory,
        broker: Broker,
        changelog: TopicPartition,
        before_write: Callable[[], None],
        after_write: Callable[[], None],
    ) -> None:
        super().__init__()
        self._directory, self._broker, self._changelog = directory, broker, changelog
        self._before_write, self._after_write = before_write, after_write
        self._rows = directory.rows
        self._keys = sorted(directory.rows)

    def write(self, rows: Mapping[bytes, bytes | None]) -> None:
        self._must_be_open()
        self._before_write()
        super().write(rows)
        self._compare()
        self._after_write()

    def wipe(self) -> None:
        super().wipe()
        self._directory.expected, self._directory.seen = {}, 0

    def close(self) -> None:
        """Release the rows; they stay on disk."""
        self._rows = {}
        super().close()

    def _compare(self) -> None:
        """Check that the store's rows are the committed changelog's up to the offset in the store."""
        directory = self._directory
        stored = directory.rows.get(CHANGELOG_OFFSET_KEY)
        if stored is None:
            raise Violation("S (store)", f"{self._changelog} was written without its changelog offset")
        end = int.from_bytes(stored, "big")
        partition = self._broker.partition(self._changelog)
        if end < directory.seen or end > len(partition.entries):
            raise Violation("S (store)", f"the store of {self._changelog} moved from offset {directory.seen} to {end}")
        for entry in partition.entries[directory.seen : end]:
            if entry.was_committed:
                assert entry.key is not None
                if entry.value is None:
                    directory.expected.pop(entry.key, None)
                else:
                    directory.expected[entry.key] = entry.value
        directory.seen = end
        directory.expected |= {key: row for key, row in directory.rows.items() if key.startswith(LOCAL_PREFIX)}
        if directory.rows != directory.expected:
            replaced = {entry.key for entry in partition.entries[end:] if entry.was_committed}
            compacted = {entry.key for entry in partition.entries[:end] if entry.gone}
            wrong = _differing(directory, compacted & replaced)
            if wrong:
                raise Violation("S (store)", f"{self._changelog} at offset {end}: {_words(directory, wrong)}")


def _differing(directory: Directory, compacted: set[bytes | None]) -> list[bytes]:
    """Keys of rows that differ from the expected ones. A row whose record was compacted away may be present or not, if
    the record that replaced it comes later."""
    keys = sorted(directory.rows.keys() | directory.expected.keys())
    wrong = [key for key in keys if directory.rows.get(key) != directory.expected.get(key)]
    return [key for key in wrong if key not in compacted]


def _words(directory: Directory, wrong: list[bytes]) -> str:
    shown = "; ".join(
        f"{key!r} is {directory.rows.get(key)!r:.80}, the committed changelog says {directory.expected.get(key)!r:.80}"
        for key in wrong[:3]
    )
    return f"{len(wrong)} rows differ: {shown}"
