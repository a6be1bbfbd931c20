"""Rows as the next decision sees them: the store under the layers that are not yet committed."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from penstock.engine.core.keys import after
from penstock.engine.runtime.pace import Room
from penstock.engine.store.store import StoreReader
from penstock.topics.log import Record


class Layer:
    """What one transaction changes in one shard, all of it decided at `now_ms`.

    `writes`: rows, and `changelog` the same as records; `outputs`: records that leave the shard; `offsets`: next offset
    of each input topic; `touched`: ids of runs with changed rows; `room`: what the turn may still take; `fired`: keys
    of the timers that were due; `retried`: ids of BLOCKED runs that were tried again."""

    __slots__ = (
        "changelog",
        "decisions",
        "fired",
        "now_ms",
        "offsets",
        "outputs",
        "retried",
        "room",
        "shard",
        "touched",
        "writes",
    )

    def __init__(self, shard: int, now_ms: int, room: Room) -> None:
        self.shard, self.now_ms, self.room = shard, now_ms, room
        self.fired: list[bytes] = []
        self.retried: list[str] = []
        self.writes: dict[bytes, bytes | None] = {}
        self.outputs: list[Record] = []
        self.changelog: list[Record] = []
        self.offsets: dict[str, int] = {}
        self.touched: set[str] = set()
        self.decisions = 0

    def add(self, record: Record) -> None:
        """Add a record that leaves the shard without a decision."""
        self.outputs.append(record)
        self.room.use(1, len(record.value or b""))


class Overlay:
    """RowScanner over a store and the layers on top of it, oldest first."""

    def __init__(self, store: StoreReader) -> None:
        self.store = store
        self.layers: list[Layer] = []

    def get(self, key: bytes) -> bytes | None:
        """The row's value, or None."""
        for layer in reversed(self.layers):
            if key in layer.writes:
                return layer.writes[key]
        return self.store.get(key)

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < stop, in order."""
        return self._scan(start, stop, self.layers)

    def of_run(self, workflow_id: str, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows of a run of that id whose keys begin with `prefix`, in order.

        Layers that did not touch the run are skipped: looking through their writes would cost more than the rest of
        rebuilding a run (307 against 601 µs)."""
        return self._scan(prefix, after(prefix), [layer for layer in self.layers if workflow_id in layer.touched])

    def _scan(self, start: bytes, stop: bytes, layers: list[Layer]) -> Iterator[tuple[bytes, bytes]]:
        above: dict[bytes, bytes | None] = {}
        for layer in layers:
            above.update((key, value) for key, value in layer.writes.items() if start <= key < stop)
        if not above:
            return iter(self.store.scan(start, stop))
        below = ((key, value) for key, value in self.store.scan(start, stop) if key not in above)
        added = sorted((key, value) for key, value in above.items() if value is not None)
        return heapq.merge(below, added)
