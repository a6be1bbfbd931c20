"""One partition of every co-partitioned topic: its runs, decided one input at a time.

Sans-IO: records and clock readings go in, a Layer (rows, outputs, offsets) comes out. The caller (driver.py, or the
simulator) takes inputs as they arrive, seals the layer that they make, commits it, writes it to the store and calls
`confirm`; or it calls `discard`, and the shard is where its store is. There are at most two layers: one committing, one
open.

    take: read → forward, refuse, or process (step.py) → answer       seal: due timers, BLOCKED runs, expiry
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from penstock.engine.core.decision import Decision, Rejection
from penstock.engine.core.evolve import write_shard
from penstock.engine.core.expiry import expire
from penstock.engine.core.hosted import Hosted
from penstock.engine.core.keys import NEVER_MS, SHARD_KEY
from penstock.engine.core.rows import ShardRow, unpack_shard
from penstock.engine.runtime.answers import Answers
from penstock.engine.runtime.blocked import BlockedRuns
from penstock.engine.runtime.due import DueTimers
from penstock.engine.runtime.encode import Encoder
from penstock.engine.runtime.overlay import Layer, Overlay
from penstock.engine.runtime.read import Forward, read
from penstock.engine.runtime.run_cache import RunCache
from penstock.engine.runtime.step import ENGINE_ERROR, TIMER, Step
from penstock.engine.store.changelog import to_records
from penstock.engine.store.store import StoreReader
from penstock.schemas.records.decisions import Trigger
from penstock.topics.log import StoredRecord

COMMANDS, RESULTS = "commands", "results"
"""Topics of inputs, as `Trigger.topic` names them."""

_NEVER_COMMITS = Rejection(
    "engine_error", "It kept its transaction from committing; the processor's log has the reason."
)


class ShardLimits(msgspec.Struct, frozen=True):
    """Bounds of one shard.

    `runs_max`: runs kept in memory, of 8 kB each; beyond it each further run is rebuilt from its history, which costs
    seven times as much. `closed_kept_ms`: how long closed runs can be read and are recognised."""

    runs_max: int = 25_000
    closed_kept_ms: int = 86_400_000


class Shard:
    """Decides inputs into layers, and follows what becomes of them."""

    def __init__(
        self,
        store: StoreReader,
        hosted: Hosted,
        encoder: Encoder,
        limits: ShardLimits = ShardLimits(),
    ) -> None:
        self.number, self.shards, self.topics = encoder.shard, encoder.shards, encoder.topics
        self._limits = limits
        self._sources = {self.topics.commands: COMMANDS, self.topics.results: RESULTS}
        self._overlay = Overlay(store)
        self.runs = RunCache(self._overlay, hosted, limits.runs_max)
        self._step = Step(self.runs, encoder)
        self._encoder, self._answers = encoder, Answers(encoder)
        self._due = DueTimers(self._overlay)
        self.blocked = BlockedRuns(self._overlay, self.runs, encoder)
        self._now_ms = self._transaction = self._swept_day = 0
        self._offsets: dict[str, int] = {}
        self._open: Layer | None = None
        self._set_aside: set[tuple[str, int]] = set()
        self._load()
        self.blocked.try_again()

    def take(self, records: Iterable[StoredRecord], clock_ms: int) -> None:
        """Decide these inputs into the open layer; one is opened at `clock_ms` (epoch) if there is none."""
        layer = self._open_at(clock_ms)
        for record in records:
            if record.offset >= self._offsets.get(record.topic, 0):
                if self._set_aside and (record.topic, record.offset) in self._set_aside:
                    self._answers.dead_letter(layer, record, _NEVER_COMMITS)
                else:
                    self._take(layer, record)
                layer.offsets[record.topic] = self._offsets[record.topic] = record.offset + 1

    def seal(self, clock_ms: int, *, inputs_only: bool = False) -> Layer | None:
        """End the open layer, after adding what happens without a record; None if there is nothing to commit.

        `inputs_only`: leave due timers and BLOCKED runs for later, so that all of the layer comes from its inputs."""
        layer = self._open_at(clock_ms)
        self._open = None
        if not inputs_only:
            self._fire_due(layer)
            self._retry_blocked(layer)
        self._swept_day = expire(
            layer.writes,
            layer.touched,
            self._overlay,
            swept_day=self._swept_day,
            now_ms=layer.now_ms,
            kept_ms=self._limits.closed_kept_ms,
        )
        if not layer.offsets and not layer.writes and not layer.outputs:
            self._overlay.layers.pop()
            return None
        self._finish(layer)
        return layer

    def decide(self, records: Iterable[StoredRecord], clock_ms: int, *, inputs_only: bool = False) -> Layer | None:
        """`take` and `seal`: a whole layer at once."""
        self.take(records, clock_ms)
        return self.seal(clock_ms, inputs_only=inputs_only)

    def confirm(self, layer: Layer) -> None:
        """The layer is committed and in the store."""
        assert self._overlay.layers and self._overlay.layers[0] is layer, "layers are confirmed in their order"
        self._overlay.layers.pop(0)

    def discard(self) -> None:
        """Forget all layers, as they will not be committed or their outcome is unknown: back to the store."""
        for layer in self._overlay.layers:
            for workflow_id in layer.touched:
                self.runs.evict(workflow_id)
        self._overlay.layers.clear()
        self._open = None
        self._load()
        self.blocked.try_again()

    def close(self) -> None:
        """Close all runs in memory: a coroutine that is merely dropped would clean up when it is collected."""
        self.runs.clear()

    def is_due(self, clock_ms: int) -> bool:
        """Whether there is something to decide without a record."""
        return clock_ms >= self.next_due_ms or bool(self.blocked.waiting)

    @property
    def next_due_ms(self) -> int:
        """When the next timer is due (epoch); NEVER_MS without any."""
        return self._due.next_ms

    @property
    def is_open(self) -> bool:
        """Whether inputs were taken that are in no sealed layer."""
        return self._open is not None

    def positions(self) -> dict[str, int]:
        """Next offset of each input topic, as decided so far; a topic is absent until its first record."""
        return dict(self._offsets)

    def committed_positions(self) -> dict[str, int]:
        """As `positions`, as stored: inputs below them will never be read again."""
        data = self._overlay.store.get(SHARD_KEY)
        return dict(unpack_shard(data).offsets) if data is not None else {}

    def set_aside(self, record: StoredRecord) -> None:
        """From now on, send this record to `dead-letters`: it keeps its transaction from committing."""
        self._set_aside.add((record.topic, record.offset))

    def _open_at(self, clock_ms: int) -> Layer:
        if self._open is None:
            self._now_ms = max(clock_ms, self._now_ms)
            self._open = Layer(self.number, self._now_ms)
            self._overlay.layers.append(self._open)
        return self._open

    def _take(self, layer: Layer, record: StoredRecord) -> None:
        input = read(record, self.topics, self.number, self.shards)
        if type(input) is Rejection:
            self._answers.dead_letter(layer, record, input)
            return
        if type(input) is Forward:
            layer.outputs.append(self._encoder.command(input.command))
            return
        source = self._sources[record.topic]
        trigger = Trigger(
            topic=source,
            partition=record.partition,
            offset=record.offset,
            message_id=input.message_id if source == COMMANDS else "",
        )
        decision = self._step.process(layer, input, trigger)
        if decision is None:
            self._answers.dead_letter(layer, record, ENGINE_ERROR)
            decision = Decision(run_id="", rejection=msgspec.structs.replace(ENGINE_ERROR, keep=False))
        if decision.reply is not None or decision.rejection is not None:
            self._answers.answer(layer, record, input, decision)
        if self._step.due_ms != NEVER_MS:
            self._note_due()

    def _fire_due(self, layer: Layer) -> None:
        if layer.now_ms < self._due.next_ms:
            return
        for key, input in self._due.take(layer.now_ms):
            if self._step.process(layer, input, TIMER) is None:
                self._due.postpone(key, layer.now_ms)
        self._note_due()

    def _retry_blocked(self, layer: Layer) -> None:
        if self.blocked.waiting:
            for command in self.blocked.take(layer.now_ms):
                self._step.process(layer, command, TIMER)
            self._note_due()

    def _note_due(self) -> None:
        self._due.note(self._step.due_ms)
        self._step.due_ms = NEVER_MS

    def _load(self) -> None:
        data = self._overlay.get(SHARD_KEY)
        row = unpack_shard(data) if data is not None else ShardRow()
        self._step.decided, self._now_ms, self._transaction = row.decision, row.now_ms, row.transaction
        self._offsets, self._swept_day = dict(row.offsets), row.swept_day
        self._due.reset()

    def _finish(self, layer: Layer) -> None:
        """Add the shard's own row and the changelog."""
        self._transaction += 1
        row = ShardRow(
            decision=self._step.decided,
            now_ms=layer.now_ms,
            transaction=self._transaction,
            offsets=self._offsets,
            swept_day=self._swept_day,
        )
        write_shard(layer.writes, row)
        layer.changelog = to_records(layer.writes, self.topics.state_changelog, self.number)


def by_shard(records: Iterable[StoredRecord]) -> dict[int, list[StoredRecord]]:
    """Records by their partition, in order."""
    found: dict[int, list[StoredRecord]] = {}
    for record in records:
        found.setdefault(record.partition, []).append(record)
    return found
