"""What do a shard's rows look like to the next decision? The store, under the layers that are not yet committed."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from penstock.engine.core.rows import after
from penstock.engine.store.store import StoreReader
from penstock.topics.log import Record


class Layer:
    """What one transaction will change in one shard: rows, outputs, the next input offsets, the runs it touched.

    All of it is decided at `now_ms`."""

    __slots__ = ("decisions", "now_ms", "offsets", "records", "shard", "touched", "writes")

    def __init__(self, shard: int, now_ms: int) -> None:
        self.shard, self.now_ms = shard, now_ms
        self.writes: dict[bytes, bytes | None] = {}
        self.records: list[Record] = []
        self.offsets: dict[str, int] = {}
        self.touched: set[str] = set()
        self.decisions = 0


class Overlay:
    """A RowReader over a store and the layers on top of it, oldest first."""

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
        """As `scan`, for rows of one workflow id's run: layers that did not touch it are passed over, since looking
        through all their writes would cost more than the rest of bringing a run back (307 against 601 µs)."""
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
