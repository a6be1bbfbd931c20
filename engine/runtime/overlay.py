"""Rows as the next decision sees them: the store under the layers that are not yet committed."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from penstock.engine.core.keys import NEVER_MS, after
from penstock.engine.runtime.pace import Room
from penstock.engine.store.store import StoreReader
from penstock.topics.log import Record

Writes = dict[bytes, bytes | None]


class Layer:
    """What one transaction changes in one shard, all of it decided at `now_ms`.

    `writes`: rows, and `changelog` the same as records; `outputs`: records that leave the shard; `offsets`: next offset
    of each input topic; `touched`: the writes of each run that was decided, by its id; `room`: what the turn may still
    take; `fired`: keys of the timers that were due; `retried`: ids of BLOCKED runs that were tried again;
    `appended_ms`: earliest append time of its inputs."""

    __slots__ = (
        "appended_ms",
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
        self.writes: Writes = {}
        self.outputs: list[Record] = []
        self.changelog: list[Record] = []
        self.offsets: dict[str, int] = {}
        self.touched: dict[str, Writes] = {}
        self.decisions = 0
        self.appended_ms = NEVER_MS

    def change(self, workflow_id: str, writes: Writes) -> None:
        """Add rows of a run; the layer keeps `writes`."""
        self.writes.update(writes)
        known = self.touched.get(workflow_id)
        if known is None:
            self.touched[workflow_id] = writes
        else:
            known.update(writes)

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
        return self._scan(start, stop, [layer.writes for layer in self.layers])

    def of_run(self, workflow_id: str, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows of a run of that id whose keys begin with `prefix`, in order.

        Of each layer only the run's own writes are looked through: with thousands of runs in a layer, all writes would
        cost more than the rest of a decision."""
        return self.scan_run(workflow_id, prefix, after(prefix))

    def scan_run(self, workflow_id: str, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """As `of_run`, rows with start <= key < stop."""
        touched = [layer.touched[workflow_id] for layer in self.layers if workflow_id in layer.touched]
        return self._scan(start, stop, touched)

    def _scan(self, start: bytes, stop: bytes, written: list[Writes]) -> Iterator[tuple[bytes, bytes]]:
        above: Writes = {}
        for writes in written:
            above.update((key, value) for key, value in writes.items() if start <= key < stop)
        if not above:
            return iter(self.store.scan(start, stop))
        below = ((key, value) for key, value in self.store.scan(start, stop) if key not in above)
        added = sorted((key, value) for key, value in above.items() if value is not None)
        return heapq.merge(below, added)
