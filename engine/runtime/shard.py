"""One partition of every co-partitioned topic: its runs, decided one input at a time.

Sans-IO: records and clock readings go in, a Layer (rows, outputs, offsets) comes out. The caller (driver.py, or the
simulator) takes inputs as they arrive, seals the layer that they make, commits it, writes it to the store and calls
`confirm`; or it calls `discard`, and the shard is where its store is. There are at most two layers: one committing, one
open.

    take: read → forward, refuse, or process (step.py) → answer       seal: due timers, BLOCKED runs, expiry
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import structlog

from penstock.engine.audit import message_of
from penstock.engine.core.catalogue import READS, ROW_READS
from penstock.engine.core.decision import Decision, GiveUpCommand, KeepCommand, Rejection
from penstock.engine.core.evolve import write_shard
from penstock.engine.core.expiry import Expiry
from penstock.engine.core.hosted import Hosted
from penstock.engine.core.keys import DAY_MS, NEVER_MS, SHARD_KEY
from penstock.engine.core.log_clock import LogClock
from penstock.engine.core.machines.kept import KEPT_KINDS
from penstock.engine.core.machines.query import is_late
from penstock.engine.core.machines.run import update_of
from penstock.engine.core.rows import Mark, ShardRow, unpack_shard
from penstock.engine.core.statuses import HALTED
from penstock.engine.runtime.answers import Answers
from penstock.engine.runtime.blocked import REFUSED_RECORD, TRIED_MAX, BlockedRuns
from penstock.engine.runtime.due import DUE_MAX, DueTimers
from penstock.engine.runtime.encode import Encoder
from penstock.engine.runtime.overlay import Layer, Overlay
from penstock.engine.runtime.pace import Room
from penstock.engine.runtime.read import Forward, read, stray
from penstock.engine.runtime.row_reads import RowReads
from penstock.engine.runtime.run_cache import RUN_CACHE_BYTES, MemoryBudget, RunCache
from penstock.engine.runtime.step import ENGINE_ERROR, TIMER, Step
from penstock.engine.runtime.suspicion import key_of
from penstock.engine.store.changelog import to_records
from penstock.engine.store.store import StoreReader
from penstock.schemas.errors import UnknownSchema
from penstock.schemas.records.decisions import Trigger
from penstock.schemas.records.kinds import NO_REPLY
from penstock.schemas.records.run import StartWorkflow, WorkflowBlocked
from penstock.schemas.values.tokens import token_keys
from penstock.topics.decoding import placed
from penstock.topics.log import Record, StoredRecord

logger = structlog.get_logger(__name__)

COMMANDS, RESULTS = "commands", "results"
"""Topics of inputs, as `Trigger.topic` names them."""

_NEVER_COMMITS = Rejection(
    "engine_error", "It kept its transaction from committing; the processor's log has the reason."
)
_REFUSED = "The log refused a record of this decision; mend the code, then run `penstock unblock`. The log said: "


CLOSED_KEPT_MS = 7 * DAY_MS
"""How long closed runs are kept by default."""


class ShardLimits(msgspec.Struct, frozen=True):
    """Bounds of one shard.

    `closed_kept_ms`: how long closed runs can be read and are recognised, unless their type says otherwise,
    `closed_kept_by_status`: those with that status. `run_cache_bytes`: memory for runs, of all shards of the process
    together. `token_keys`: by which tokens of attempts are signed; by default the namespace's."""

    closed_kept_ms: int = CLOSED_KEPT_MS
    run_cache_bytes: int = RUN_CACHE_BYTES
    token_keys: tuple[bytes, ...] = ()
    closed_kept_by_status: Mapping[str, int] = {}


class Refusal(NamedTuple):
    """What blocks the run of an input that the log refused. `by_code`: the code that received it may have caused that,
    since more than the record of the input was written."""

    problem: WorkflowBlocked
    by_code: bool


class Shard:
    """Decides inputs into layers, and follows what becomes of them.

    `floor_ms_max`: a clock (epoch) that the stored one is set back to, if a wrong clock had put it ahead.
    `owner`: names this owner of the shard in marks; another start of the process is another owner.
    `positions`: of the inputs by topic, which the first layer puts in the place of the stored ones."""

    def __init__(
        self,
        store: StoreReader,
        hosted: Hosted,
        encoder: Encoder,
        limits: ShardLimits = ShardLimits(),
        budget: MemoryBudget | None = None,
        *,
        floor_ms_max: int = NEVER_MS,
        owner: str = "",
        positions: Mapping[str, int] = {},
    ) -> None:
        self.number, self.shards, self.topics = encoder.shard, encoder.shards, encoder.topics
        self._floor_ms_max, self._owner = floor_ms_max, owner
        self._token_keys = limits.token_keys or token_keys("", self.topics.prefix, self.topics.namespace)
        self._imposed = positions
        self.mark = Mark()
        self._overlay = Overlay(store)
        self.runs = RunCache(self._overlay, hosted, budget or MemoryBudget(limits.run_cache_bytes))
        self._step = Step(self.runs, encoder)
        self._encoder, self._answers = encoder, Answers(encoder)
        self._row_reads = RowReads(self._overlay, hosted)
        self._due = DueTimers(self._overlay)
        self.blocked = BlockedRuns(self._overlay, self.runs, encoder)
        self._expiry = Expiry(self._overlay, limits.closed_kept_ms, message_of, limits.closed_kept_by_status)
        self._log_clock = LogClock()
        self._now_ms = self._transaction = self._read_to_ms = 0
        self._offsets: dict[str, int] = {}
        self._open: Layer | None = None
        self._set_aside: set[tuple[str, int]] = set()
        self._refused: dict[bytes | str | tuple[str, int], Refusal] = {}
        self._deadly: set[bytes | tuple[str, int]] = set()
        self._load()
        self.blocked.try_again()

    def take(self, records: Sequence[StoredRecord], clock_ms: int, room: Room | None = None) -> int:
        """Decide these inputs into the open layer until its room is used; returns how many were taken.

        A layer is opened at `clock_ms` (epoch) with that room if there is none. At least one input is taken.

        Raises UnknownSchema, with the place of the input, for one that a newer build wrote or whose run it wrote to.
        What was taken before it stays in the layer, and can be sealed without timers and retries."""
        layer = self._open_at(clock_ms, room)
        taken, offsets, room = 0, self._offsets, layer.room
        self._read_to_ms = records[-1].timestamp_ms if records else 0
        for record in records:
            if record.offset >= offsets.get(record.topic, 0):
                if self._set_aside and (record.topic, record.offset) in self._set_aside:
                    self._answers.dead_letter(layer, record, _NEVER_COMMITS)
                else:
                    try:
                        self._take(layer, record)
                    except UnknownSchema as error:
                        raise placed(error, record) from error
                if 0 < record.timestamp_ms < layer.appended_ms:
                    layer.appended_ms = record.timestamp_ms
                layer.offsets[record.topic] = offsets[record.topic] = record.offset + 1
            taken += 1
            if room.is_used:
                break
        return taken

    def seal(
        self, clock_ms: int, *, timers: int = DUE_MAX, retries: int = TRIED_MAX, room: Room | None = None
    ) -> Layer | None:
        """End the open layer, after adding what happens without a record; None if there is nothing to commit.

        `timers`, `retries`: at most so many due timers and BLOCKED runs; none of both leaves a layer all of whose
        outputs come from its inputs. `room`: of the layer, if none is open. Raises UnknownSchema for a run that a newer
        build wrote to; the layer is to be discarded then."""
        layer = self._open_at(clock_ms, room)
        self._open = None
        self._step.appended_ms = self._log_clock.now_ms
        if timers:
            self._fire_due(layer, timers)
        if retries:
            self._retry_blocked(layer, retries)
        self._log_clock.note(layer.appended_ms)
        for workflow_id, writes in self._expiry.sweep(self._log_clock.now_ms, len(layer.writes)).items():
            layer.change(workflow_id, writes)
        if not layer.offsets and not layer.writes and not layer.outputs and not self._imposed:
            self._overlay.layers.pop()
            return None
        self._finish(layer)
        return layer

    def decide(self, records: Sequence[StoredRecord], clock_ms: int) -> Layer | None:
        """`take` and `seal`: a whole layer at once."""
        taken = self.take(records, clock_ms)
        assert taken == len(records), "a layer without bounds takes every input"
        return self.seal(clock_ms)

    def confirm(self, layer: Layer) -> None:
        """The layer is committed and in the store."""
        assert self._overlay.layers and self._overlay.layers[0] is layer, "layers are confirmed in their order"
        self._overlay.layers.pop(0)
        self._imposed = {}

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
        return clock_ms >= self.next_due_ms or bool(self.blocked.waiting) or bool(self._imposed)

    @property
    def next_due_ms(self) -> int:
        """When the next timer is due (epoch); NEVER_MS without any."""
        return self._due.next_ms

    @property
    def now_ms(self) -> int:
        """The shard's clock (epoch), which decisions do not go back behind."""
        return self._now_ms

    @property
    def transaction(self) -> int:
        """Number of the layer that was sealed last, in its row and in the group's offsets."""
        return self._transaction

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

    def announce(self, suspect: StoredRecord | bytes | None, clock_ms: int) -> Layer | None:
        """A layer that says that this input, the timer with this key, or None is decided next; None if that was said.

        An input that was announced by two owners that died is to be refused instead (`deaths`)."""
        if not self.mark_next(suspect):
            return None
        layer = self._open_at(clock_ms, None)
        self._open = None
        self._finish(layer)
        return layer

    def mark_next(self, suspect: StoredRecord | bytes | None) -> bool:
        """Let the open layer announce what is decided next; returns whether that is new."""
        mark = Mark() if suspect is None else Mark(key_of(suspect), self._owner, self.deaths(suspect))
        is_new, self.mark = mark != self.mark, mark
        return is_new

    def deaths(self, suspect: StoredRecord | bytes) -> int:
        """Number of owners that died with this input announced."""
        mark = self.mark
        if mark.key != key_of(suspect):
            return 0
        return mark.deaths + (mark.by != self._owner)

    def block_deadly(self, suspect: StoredRecord | bytes) -> None:
        """From now on, this input blocks its run instead of reaching its code."""
        self._deadly.add(suspect if isinstance(suspect, bytes) else (suspect.topic, suspect.offset))

    def first_due(self, due_ms: int) -> bytes | None:
        """Key of the first timer due at that time (epoch); None without one."""
        return self._due.first(due_ms)

    def refuse(self, suspect: StoredRecord | bytes | str, error: str, layer: Layer | None = None) -> None:
        """The log refused what this input, the timer with this key, or the retry of this run, caused on its own.

        From now on it blocks its run instead, or is recorded as usual by a run that has been halted since, if more than
        its record was refused (`layer`). If that is refused as well, a failure takes its place; then the input goes to
        `dead-letters`, and the timer is postponed."""
        key = (suspect.topic, suspect.offset) if isinstance(suspect, StoredRecord) else suspect
        known = self._refused.get(key)
        if known is None or known.by_code:
            events = self.topics.events
            by_code = known is None and layer is not None and any(one.topic != events for one in layer.outputs)
            problem = WorkflowBlocked(reason=REFUSED_RECORD, message=f"{_REFUSED}{error}")
            self._refused[key] = Refusal(problem, by_code)
        elif isinstance(key, bytes):
            self._due.postpone(key, self._now_ms)
        elif isinstance(key, tuple):
            self._set_aside.add(key)

    def _open_at(self, clock_ms: int, room: Room | None) -> Layer:
        if self._open is None:
            self._now_ms = max(clock_ms, self._now_ms)
            self._open = Layer(self.number, self._now_ms, room or Room())
            self._overlay.layers.append(self._open)
        return self._open

    def _take(self, layer: Layer, record: StoredRecord) -> None:
        input = self._read(record)
        kind = type(input)
        if kind is Rejection:
            self._answers.dead_letter(layer, record, input)
        elif kind is Record:
            layer.add(input)
        else:
            self._step.appended_ms = record.timestamp_ms
            if record.topic == self.topics.results:
                self._take_result(layer, record, input)
            elif kind not in READS:
                self._take_command(layer, record, input)
            elif not is_late(input, record.timestamp_ms, self._read_to_ms):
                self._take_read(layer, record, input)
            if self._step.due_ms != NEVER_MS:
                self._note_due()

    def _read(self, record: StoredRecord) -> Any:
        """The input in a record, the record that forwards it to its shard, or the Rejection that says what is wrong.

        Whatever a foreign record holds, the shard goes on: one that cannot be read or forwarded is a dead letter."""
        outgrown = self.runs.hosted.is_outgrown
        try:
            input = read(record, self.topics, self.number, self.shards, outgrown=outgrown, token_keys=self._token_keys)
            return self._encoder.command(input.command) if type(input) is Forward else input
        except UnknownSchema:
            raise
        except Exception:
            logger.exception("reading a record failed", topic=record.topic, offset=record.offset)
            return ENGINE_ERROR

    def _take_result(self, layer: Layer, record: StoredRecord, input: Any) -> None:
        trigger = Trigger(topic=RESULTS, partition=record.partition, offset=record.offset)
        decision = self._decide(layer, record, input, trigger)
        if decision.ignored:
            strayed = stray(input, self.number, self.shards)
            if strayed is not None:
                self._answers.dead_letter(layer, record, strayed)
        self._answer(layer, record, input, decision)

    def _take_read(self, layer: Layer, record: StoredRecord, input: Any) -> None:
        if type(input) in ROW_READS:
            self._answers.read(layer, record, input, self._row_reads.found(input, layer.room))
        else:
            trigger = _trigger_of(record, input)
            self._answer(layer, record, input, self._decide(layer, record, input, trigger))

    def _take_command(self, layer: Layer, record: StoredRecord, input: Any) -> None:
        if type(input) in KEPT_KINDS and input.reply_to == NO_REPLY and self.runs.get(input.workflow_id).row is None:
            input = _kept(input, record)
        trigger = _trigger_of(record, input)
        decision = self._decide(layer, record, input, trigger)
        if type(input) is StartWorkflow and input.update and decision.rejection is None:
            input = update_of(input)
            decision = self._decide(layer, record, input, trigger)
        if type(input) is KeepCommand or input.workflow_id in self.runs.kept:
            self.runs.kept.refresh(input.workflow_id)
        self._answer(layer, record, input, decision)

    def _decide(self, layer: Layer, record: StoredRecord, input: Any, trigger: Trigger) -> Decision:
        """Decide the input of a record; what cannot be decided becomes a dead letter."""
        if self._refused or self._deadly:
            decision = self._process(layer, input, trigger, (record.topic, record.offset))
        else:
            decision = self._step.process(layer, input, trigger)
        if decision is None:
            self._answers.dead_letter(layer, record, ENGINE_ERROR)
            decision = Decision(run_id="", rejection=msgspec.structs.replace(ENGINE_ERROR, keep=False))
        return decision

    def _answer(self, layer: Layer, record: StoredRecord, input: Any, decision: Decision) -> None:
        if decision.reply is not None or decision.rejection is not None:
            self._answers.answer(layer, record, input, decision)

    def _process(self, layer: Layer, input: Any, trigger: Trigger, key: bytes | tuple[str, int]) -> Decision | None:
        """Decide an input that may be refused or deadly. `key`: as in `_refused` and `_deadly`."""
        refused = self._refusal(input.workflow_id, key)
        if key not in self._deadly:
            return self._step.process(layer, input, trigger, refused)
        self.runs.withheld = input.workflow_id
        try:
            return self._step.process(layer, input, trigger, refused)
        finally:
            self.runs.withheld = ""

    def _refusal(self, workflow_id: str, key: bytes | tuple[str, int]) -> WorkflowBlocked | None:
        """What blocks the run of an input that the log refused; None if its code, which caused that, is not run now."""
        refusal = self._refused.get(key)
        if refusal is None:
            return None
        row = self.runs.get(workflow_id).row if refusal.by_code else None
        return None if row is not None and row.status in HALTED else refusal.problem

    def _fire_due(self, layer: Layer, count: int) -> None:
        if layer.now_ms < self._due.next_ms:
            return
        due = self._due.take(layer.now_ms, count)
        for index, (key, input) in enumerate(due):
            layer.fired.append(key)
            if self._process(layer, input, TIMER, key) is None:
                self._due.postpone(key, layer.now_ms)
            if type(input) is GiveUpCommand:
                self.runs.kept.refresh(input.workflow_id)
            if layer.room.is_used:
                self._due.put_back([key for key, _ in due[index + 1 :]])
                break
        self._note_due()

    def _retry_blocked(self, layer: Layer, count: int) -> None:
        if self.blocked.waiting:
            for command in self.blocked.take(layer.now_ms, count):
                layer.retried.append(command.workflow_id)
                refusal = self._refused.pop(command.workflow_id, None)
                self._step.process(layer, command, TIMER, refusal.problem if refusal is not None else None)
                if layer.room.is_used:
                    break
            self._note_due()

    def _note_due(self) -> None:
        self._due.note(self._step.due_ms)
        self._step.due_ms = NEVER_MS

    def _load(self) -> None:
        data = self._overlay.get(SHARD_KEY)
        row = unpack_shard(data) if data is not None else ShardRow()
        self._step.decided, self._transaction = row.decision, row.transaction
        self._now_ms = min(row.now_ms, self._floor_ms_max)
        self.mark = row.mark
        self._offsets = {**row.offsets, **self._imposed}
        self._expiry.reset(row.swept_hour)
        self._log_clock = LogClock(row.log_ms, row.last_ms, row.leap_ms)
        self._due.reset()
        self.runs.kept.reset()

    def _finish(self, layer: Layer) -> None:
        """Add the shard's own row and the changelog."""
        self._transaction += 1
        if self._imposed:
            layer.offsets = {**self._imposed, **layer.offsets}  # the group's are of transactions that are lost
        row = ShardRow(
            decision=self._step.decided,
            now_ms=layer.now_ms,
            transaction=self._transaction,
            offsets=self._offsets,
            swept_hour=self._expiry.swept_hour,
            mark=self.mark,
            log_ms=self._log_clock.now_ms,
            last_ms=self._log_clock.last_ms,
            leap_ms=self._log_clock.leap_ms,
        )
        write_shard(layer.writes, row)
        self.runs.renew_sizes(layer.touched)
        layer.changelog = to_records(layer.writes, self.topics.state_changelog, self.number)


def _trigger_of(record: StoredRecord, command: Any) -> Trigger:
    return Trigger(topic=COMMANDS, partition=record.partition, offset=record.offset, message_id=command.message_id)


def _kept(command: Any, record: StoredRecord) -> KeepCommand:
    """The input that a command is whose id has no run."""
    return KeepCommand(
        command=command,
        partition=record.partition,
        offset=record.offset,
        key=record.key or b"",
        value=record.value or b"",
    )
