"""What does one shard do with a batch of records? Decides it into a layer; acts on nothing itself.

Sans-IO: records, clock readings and topic facts come in, a Layer goes out (rows, outputs, offsets). The caller
(driver.py, or the simulator) lets inputs be taken as they arrive, seals the layer that they make, and commits it in a
transaction; then it writes it to the store and calls `confirm`. Or it calls `discard`, and the shard is where its store
is. There are at most two layers: one committing, one open.

    take a record: decode → forward or refuse → decide → check → evolve and encode into the layer
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import structlog

from penstock.engine.core.decide import TOO_LARGE, as_failed, decide, rejected_child
from penstock.engine.core.decision import Decision, FireTimer, Rejection, RetryActivity
from penstock.engine.core.effects import Effects, cause
from penstock.engine.core.evolve import evolve, remember_message, write_header
from penstock.engine.core.machines.run import BLOCKED, CLOSED
from penstock.engine.core.rows import (
    DAY_MS,
    NEVER_MS,
    SHARD_KEY,
    RunRow,
    ShardRow,
    due_bound,
    due_key,
    message_key,
    pack,
    parse_due_key,
    unpack_shard,
)
from penstock.engine.execution.program import ORDERS
from penstock.engine.runtime import read as intake
from penstock.engine.runtime import retention
from penstock.engine.runtime.encode import Outputs
from penstock.engine.runtime.overlay import Layer, Overlay
from penstock.engine.runtime.run_cache import Definitions, LiveRun, RunCache
from penstock.engine.store.changelog import to_records
from penstock.engine.store.store import StoreReader
from penstock.schemas.records import commands as c
from penstock.schemas.records import events as e
from penstock.schemas.records.decisions import Trigger
from penstock.schemas.records.replies import Accepted, Rejected
from penstock.topics.catalogue import Topics
from penstock.topics.log import StoredRecord

log = structlog.get_logger(__name__)

DUE_MAX = 1_000
REASON_CHARS_MAX = 2_000
_REMEMBERED = frozenset({c.SignalWorkflow, c.CancelWorkflow, c.TerminateWorkflow, c.RetryWorkflow, c.StartWorkflow})
_TIMER = Trigger()
_NEVER_COMMITS = Rejection("engine_error", "It kept its transaction from committing; look at the processor's log.")
_ENGINE_ERROR = Rejection("engine_error", "Deciding it failed inside Penstock; the processor's log has the traceback.")
_ENGINE_FAILED = e.WorkflowBlocked(reason=_ENGINE_ERROR.reason, message=_ENGINE_ERROR.message)
AGAIN_MS = 60_000


class _Unrecordable(Exception):
    """What reached a run can be neither recorded nor sent, even when the run is parked."""

    def __init__(self, problem: e.WorkflowBlocked) -> None:
        super().__init__(problem.message)
        self.problem = problem


class ShardLimits(msgspec.Struct, frozen=True):
    """Bounds of one shard. `runs_max`: coroutines kept in memory, of 8 kB each (beyond it a turn of many runs costs
    seven times as much, for each is rebuilt from its history); `closed_kept_ms`: how long closed runs are told apart
    from unknown ones and can be read here."""

    runs_max: int = 25_000
    closed_kept_ms: int = 86_400_000


class Shard:
    """One partition of every co-partitioned topic: its runs, decided one input at a time."""

    def __init__(
        self,
        number: int,
        shards: int,
        topics: Topics,
        store: StoreReader,
        definitions: Definitions,
        outputs: Outputs,
        limits: ShardLimits = ShardLimits(),
    ) -> None:
        self.number, self.shards, self.topics = number, shards, topics
        self._outputs, self._limits = outputs, limits
        self._overlay = Overlay(store)
        self.runs = RunCache(self._overlay, definitions, limits.runs_max)
        self.next_due_ms = self._fired_ms = 0
        self._decided = self._now_ms = self._transaction = self._swept_day = 0
        self._offsets: dict[str, int] = {}
        self._open: Layer | None = None
        self._blocked: list[str] = []
        self._set_aside: set[tuple[str, int]] = set()
        self._load()
        self.retry_blocked()

    # The caller's verbs.

    def take(self, records: Iterable[StoredRecord], clock_ms: int) -> None:
        """Decide these inputs into the open layer; where there is none, one is opened at that reading of the clock
        (epoch ms)."""
        layer = self._open_at(clock_ms)
        for record in records:
            if record.offset >= self._offsets.get(record.topic, 0):
                if (record.topic, record.offset) in self._set_aside:
                    self._dead_letter(layer, record, _NEVER_COMMITS, layer.now_ms)
                else:
                    self._take(layer, record, layer.now_ms)
                layer.offsets[record.topic] = self._offsets[record.topic] = record.offset + 1

    def seal(self, clock_ms: int, *, alone: bool = False) -> Layer | None:
        """Add what happens without a record, and end the open layer; None if there is nothing to commit.

        `alone`: leave timers and BLOCKED runs for later, so that all that was decided comes from the inputs."""
        layer = self._open_at(clock_ms)
        self._open = None
        now_ms = layer.now_ms
        if now_ms >= self.next_due_ms and not alone:
            self._fire_due(layer, now_ms)
        if self._blocked and not alone:
            self._try_blocked(layer, now_ms)
        self._swept_day = retention.sweep(layer, self._overlay, self._swept_day, now_ms, self._limits.closed_kept_ms)
        if not layer.offsets and not layer.writes and not layer.records:
            self._overlay.layers.pop()
            return None
        self._finish(layer, now_ms)
        return layer

    def decide(self, records: Iterable[StoredRecord], clock_ms: int, *, alone: bool = False) -> Layer | None:
        """`take` and `seal`: a whole layer at once."""
        self.take(records, clock_ms)
        return self.seal(clock_ms, alone=alone)

    def confirm(self, layer: Layer) -> None:
        """The layer is committed and in the store."""
        assert self._overlay.layers and self._overlay.layers[0] is layer, "layers are confirmed in their order"
        self._overlay.layers.pop(0)

    def discard(self) -> None:
        """No open layer will be committed, or nobody knows: go back to where the store is."""
        for layer in self._overlay.layers:
            for workflow_id in layer.touched:
                self.runs.evict(workflow_id)
        self._overlay.layers.clear()
        self._open = None
        self._load()
        self.retry_blocked()

    def close(self) -> None:
        """Let go of all runs in memory. A coroutine that is merely dropped would clean up whenever it is collected."""
        self.runs.clear()

    def is_due(self, clock_ms: int) -> bool:
        """Whether there is something to decide without a record."""
        return clock_ms >= self.next_due_ms or bool(self._blocked)

    @property
    def is_open(self) -> bool:
        """Whether inputs were taken that are in no sealed layer."""
        return self._open is not None

    def positions(self) -> dict[str, int]:
        """The next offset to read of `commands` and `results`, as decided so far; absent: from the first."""
        return dict(self._offsets)

    def committed_positions(self) -> dict[str, int]:
        """As `positions`, but as the store has them: inputs below these will never be read again."""
        data = self._overlay.store.get(SHARD_KEY)
        return dict(unpack_shard(data).offsets) if data is not None else {}

    def retry_blocked(self, reason: str = "") -> None:
        """Try BLOCKED runs (of that reason) again with the next batch: new code or new topics may help them."""
        rows = self._overlay.scan(b"B", b"C")
        self._blocked = [key[1:].decode() for key, value in rows if not reason or value == reason.encode()]

    def set_aside(self, record: StoredRecord) -> None:
        """From now on this record goes to `dead-letters`: it keeps its transaction from committing."""
        self._set_aside.add((record.topic, record.offset))

    # One record.

    def _open_at(self, clock_ms: int) -> Layer:
        if self._open is None:
            self._now_ms = max(clock_ms, self._now_ms)
            self._open = Layer(self.number, self._now_ms)
            self._overlay.layers.append(self._open)
        return self._open

    def _take(self, layer: Layer, record: StoredRecord, now_ms: int) -> None:
        taken = intake.read(record, self.topics, self.number, self.shards)
        if isinstance(taken, Rejection):
            self._dead_letter(layer, record, taken, now_ms)
            return
        if isinstance(taken, intake.Forward):
            layer.records.append(self._outputs.command(taken.command))
            return
        trigger = Trigger(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            message_id=getattr(taken, "message_id", ""),
        )
        decision = self._carry_out(layer, taken, trigger, now_ms)
        if decision is None:
            self._dead_letter(layer, record, _ENGINE_ERROR, now_ms)
            decision = Decision(run_id="", rejection=msgspec.structs.replace(_ENGINE_ERROR, keep=False))
        self._answer(layer, record, taken, decision, now_ms)

    def _carry_out(self, layer: Layer, command: Any, trigger: Trigger, now_ms: int) -> Decision | None:
        """Decide and record. An error of the engine itself harms this run alone: it is parked, and None returned."""
        workflow_id = command.workflow_id
        attempts = 2
        while attempts:
            attempts -= 1
            try:
                return self._decide_and_record(layer, command, trigger, now_ms)
            except _Unrecordable as found:
                self.runs.evict(workflow_id)
                return self._turn_down(layer, command, found.problem, trigger, now_ms)
            except (Exception, SystemExit):  # what user code raises where nobody expects it ends no processor
                log.exception("deciding failed", workflow_id=workflow_id, command=type(command).__name__)
                self.runs.evict(workflow_id)
            if attempts == 0 and self._block(layer, workflow_id, _ENGINE_FAILED, now_ms):
                attempts = 1  # a BLOCKED run only takes note: its code will hear of it when it is retried
        return None

    def _block(self, layer: Layer, workflow_id: str, problem: e.WorkflowBlocked, now_ms: int) -> bool:
        """Park the run, if it is open and not parked yet; whether it was."""
        run = self.runs.get(workflow_id)
        if run.row is None or run.row.status in CLOSED or run.row.status == BLOCKED:
            return False
        self._record(layer, run, Decision(run_id=run.run_id, events=[problem]), _TIMER, now_ms)
        return True

    def _turn_down(
        self, layer: Layer, command: Any, problem: e.WorkflowBlocked, trigger: Trigger, now_ms: int
    ) -> Decision | None:
        """The input itself cannot be recorded, whatever the code orders. Code that waits for it hears of a failure."""
        if isinstance(command, RetryActivity):
            self._block(layer, command.workflow_id, problem, now_ms)
            return None
        failed = as_failed(command)
        if failed is not None and failed != command:
            return self._carry_out(layer, failed, trigger, now_ms)
        run = self.runs.get(command.workflow_id)
        rejection = Rejection("too_large", TOO_LARGE, run.run_id)
        decision = Decision(run_id=run.run_id, ignored=TOO_LARGE, rejection=rejection)
        self._record(layer, run, decision, trigger, now_ms)
        return decision

    def _decide_and_record(self, layer: Layer, command: Any, trigger: Trigger, now_ms: int) -> Decision:
        run = self.runs.get(command.workflow_id)
        before = run.row
        remembered = type(command) in _REMEMBERED and command.message_id != ""
        seen = self._seen(command, before, now_ms) if remembered and before is not None else None
        earlier_run = before.run_id if before is not None else ""
        decision = _repeated(run, command, seen) if seen is not None else decide(run, command, now_ms)
        if len(decision.ignored) > REASON_CHARS_MAX:
            decision = _shortened(decision)
        self._record(layer, run, decision, trigger, now_ms)
        if remembered and not decision.ignored:
            self._remember(layer, command, earlier_run, now_ms)
        elif remembered and seen is None and _joined(command, decision):
            remember_message(layer.writes, now_ms, command.workflow_id, command.message_id, decision.run_id)
        return decision

    def _seen(self, command: Any, before: RunRow, now_ms: int) -> bytes | None:
        """The run in which this very message took effect before."""
        if isinstance(command, c.StartWorkflow) and command.message_id == before.run_id:
            return before.run_id.encode()
        today = self._overlay.get(message_key(now_ms, command.workflow_id, command.message_id))
        if today is not None:
            return today
        return self._overlay.get(message_key(now_ms - DAY_MS, command.workflow_id, command.message_id))

    def _remember(self, layer: Layer, command: Any, earlier_run: str, now_ms: int) -> None:
        """Keep that a message took effect. A start is known by its run, until another run takes the id over."""
        if not isinstance(command, c.StartWorkflow):
            remember_message(layer.writes, now_ms, command.workflow_id, command.message_id, earlier_run)
        elif earlier_run:
            remember_message(layer.writes, now_ms, command.workflow_id, earlier_run, earlier_run)

    # From a decision to the layer.

    def _record(self, layer: Layer, run: LiveRun, decision: Decision, trigger: Trigger, now_ms: int) -> None:
        """Evolve the run by the decision and put all that it causes into the layer: wholly, or as BLOCKED."""
        if decision.ignored:
            if trigger is _TIMER:  # a timer of a run that went on without it: nothing to tell
                return
            ignored = [e.InputIgnored(record=trigger.message_id or trigger.topic, reason=decision.ignored)]
            self._decided += 1
            layer.records.append(
                self._outputs.unnumbered(run.workflow_id, decision.run_id, ignored, self._decided, trigger, now_ms)
            )
        else:
            self._apply(layer, run, decision, trigger, now_ms)
        layer.touched.add(run.workflow_id)
        layer.decisions += 1
        if run.row is None or run.row.status in CLOSED:
            self.runs.evict(run.workflow_id)
        elif run.row.status == BLOCKED:
            run.forget()

    def _apply(self, layer: Layer, run: LiveRun, decision: Decision, trigger: Trigger, now_ms: int) -> None:
        starts = isinstance(decision.events[0], e.WorkflowStarted)
        if starts:
            run.run_id = decision.run_id  # not that of an earlier run of the id
        first = run.row.next_number if run.row is not None and not starts else 1
        found = Effects()
        for event in decision.events:
            cause(found, run, event, self.number, now_ms)
            evolve(run, event, now_ms)
        write_header(run, 0 if decision.unnumbered else len(decision.events), run.listening())
        problem = self._outputs.problem(found) if found.tasks else None
        if problem is None:
            made = self._outputs.records(run, decision, found, first, self._decided + 1, trigger, now_ms)
            problem = self._outputs.too_large(made)
        if problem is not None:
            self._park(layer, run.workflow_id, decision, problem, trigger, now_ms)
            return
        self._decided += 1
        self._merge(layer, run)
        layer.records.extend(made)
        if type(decision.events[-1]) in _TOLD:
            _tell(run.workflow_id, decision.events[-1])

    def _merge(self, layer: Layer, run: LiveRun) -> None:
        """The run's savepoint becomes part of the layer."""
        self.next_due_ms = min(self.next_due_ms, run.due_ms)
        run.due_ms = NEVER_MS
        layer.writes.update(run.writes)
        run.writes.clear()

    def _park(
        self,
        layer: Layer,
        workflow_id: str,
        decision: Decision,
        problem: e.WorkflowBlocked,
        trigger: Trigger,
        now_ms: int,
    ) -> None:
        """What the code ordered cannot be done: record what reached it, and that the run is BLOCKED."""
        self.runs.evict(workflow_id)
        run = self.runs.get(workflow_id)
        facts = [event for event in decision.events if type(event) not in ORDERS]
        if len(facts) == len(decision.events):  # no order is to blame
            raise _Unrecordable(problem)
        if any(isinstance(event, e.WorkflowUnblocked) for event in facts) and run.row is not None:
            facts = [event for event in facts if not isinstance(event, e.WorkflowUnblocked)]
            facts.insert(0, e.WorkflowUnblocked(by="a retry"))
        parked = Decision(run_id=decision.run_id, events=[*facts, problem], reply=decision.reply)
        self._apply(layer, run, parked, trigger, now_ms)

    def _answer(self, layer: Layer, record: StoredRecord, command: Any, decision: Decision, now_ms: int) -> None:
        """Whoever asked is told; what nobody asked about goes to `dead-letters`."""
        rejection = decision.rejection
        if rejection is None and decision.reply is None:
            return
        reply_to = getattr(command, "reply_to", c.NO_REPLY)
        if rejection is None:
            if reply_to != c.NO_REPLY:
                layer.records.extend(self._outputs.reply(reply_to, decision.reply))
            return
        if isinstance(command, c.StartWorkflow) and command.parent_workflow_id:
            layer.records.append(self._outputs.command(rejected_child(command, rejection)))
        elif reply_to != c.NO_REPLY:
            answer = Rejected(
                message_id=command.message_id,
                workflow_id=command.workflow_id,
                reason=rejection.reason,
                message=rejection.message,
                run_id=rejection.run_id,
            )
            layer.records.extend(self._outputs.reply(reply_to, answer))
        elif rejection.keep:
            self._dead_letter(layer, record, rejection, now_ms)

    def _dead_letter(self, layer: Layer, record: StoredRecord, rejection: Rejection, now_ms: int) -> None:
        log.warning(
            "dead letter",
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            reason=rejection.reason,
            message=rejection.message,
        )
        layer.records.append(self._outputs.dead_letter(record, rejection, now_ms))

    # What happens without a record.

    def _fire_due(self, layer: Layer, now_ms: int) -> None:
        """Decide the timers that are due, the earliest first, at most DUE_MAX of them."""
        due: list[bytes] = []
        self.next_due_ms = NEVER_MS
        bound = due_bound(now_ms + 1)
        # From the last look on: nothing is ever due earlier, and a scan over fired timers' tombstones is slow.
        for key, _ in self._overlay.scan(due_bound(self._fired_ms), b"U"):
            if key >= bound or len(due) == DUE_MAX:
                self.next_due_ms = int.from_bytes(key[1:9], "big")
                break
            due.append(key)
        self._fired_ms = min(now_ms, self.next_due_ms)
        for key in due:
            self._fire(layer, key, now_ms)

    def _fire(self, layer: Layer, key: bytes, now_ms: int) -> None:
        found = parse_due_key(key)
        order = FireTimer if found.kind == "t" else RetryActivity
        command = order(workflow_id=found.workflow_id, run_id=found.run_id, sequence=found.sequence)
        layer.writes[key] = None
        layer.touched.add(found.workflow_id)
        if self._carry_out(layer, command, _TIMER, now_ms) is None:  # its run is parked; the timer is not lost
            later_ms = now_ms + AGAIN_MS
            layer.writes[due_key(later_ms, found.kind, found.workflow_id, found.run_id, found.sequence)] = b""
            self.next_due_ms = min(self.next_due_ms, later_ms)

    def _try_blocked(self, layer: Layer, now_ms: int) -> None:
        """Retry parked runs, a few each time; one that would be parked again stays as it is, without a record."""
        batch, self._blocked = self._blocked[:100], self._blocked[100:]
        for workflow_id in batch:
            run = self.runs.get(workflow_id)
            if run.row is None or run.row.status != BLOCKED:
                continue
            if not self._would_park(run, now_ms):
                self._carry_out(layer, c.RetryWorkflow(workflow_id=workflow_id), _TIMER, now_ms)

    def _would_park(self, run: LiveRun, now_ms: int) -> bool:
        """Try it in thought: the code that this moves is forgotten again."""
        try:
            events = decide(run, c.RetryWorkflow(workflow_id=run.workflow_id), now_ms).events
        except Exception:
            log.exception("retrying a parked run failed", workflow_id=run.workflow_id)
            return True
        finally:
            run.forget()
        if any(isinstance(event, e.WorkflowBlocked) for event in events):
            return True
        scheduled = (event for event in events if isinstance(event, e.ActivityScheduled))
        return any(self._outputs.partitions(self.topics.tasks(event.queue)) is None for event in scheduled)

    # The shard's own row.

    def _load(self) -> None:
        data = self._overlay.get(SHARD_KEY)
        row = unpack_shard(data) if data is not None else ShardRow()
        self._decided, self._now_ms, self._transaction = row.decision, row.now_ms, row.transaction
        self._offsets, self._swept_day = dict(row.offsets), row.swept_day
        self.next_due_ms = self._fired_ms = 0

    def _finish(self, layer: Layer, now_ms: int) -> None:
        """Add the shard's own row and the changelog."""
        self._transaction += 1
        layer.writes[SHARD_KEY] = pack(
            ShardRow(
                decision=self._decided,
                now_ms=now_ms,
                transaction=self._transaction,
                offsets=self._offsets,
                swept_day=self._swept_day,
            )
        )
        layer.records.extend(to_records(layer.writes, self.topics.state_changelog, self.number))


def _tell(workflow_id: str, last: e.WorkflowFailed | e.WorkflowBlocked) -> None:
    """A line of log about a run whose operator may have something to mend."""
    if isinstance(last, e.WorkflowFailed):
        log.warning("run failed", workflow_id=workflow_id, error=last.failure.type, message=last.failure.message)
    else:
        log.warning("run blocked", workflow_id=workflow_id, reason=last.reason, message=last.message)


_TOLD = frozenset({e.WorkflowFailed, e.WorkflowBlocked})


def _repeated(run: LiveRun, command: Any, seen: bytes) -> Decision:
    """The same message came again."""
    assert run.row is not None
    return Decision(
        run_id=seen.decode(),
        ignored="this message took effect before",
        reply=Accepted(
            message_id=command.message_id,
            workflow_id=run.workflow_id,
            run_id=seen.decode(),
            existing=not isinstance(command, c.StartWorkflow) or seen.decode() != command.message_id,
            status=run.row.status,
        ),
    )


def _joined(command: Any, decision: Decision) -> bool:
    """Whether a start that may restart a closed run joined one that was open: said again later, it must not restart."""
    return (
        isinstance(command, c.StartWorkflow)
        and command.on_existing == "restart_closed"
        and isinstance(decision.reply, Accepted)
        and decision.reply.existing
    )


def _shortened(decision: Decision) -> Decision:
    """A refusal that quotes an input without bounds is itself bounded."""
    rejection = decision.rejection
    if rejection is not None:
        rejection = msgspec.structs.replace(rejection, message=f"{rejection.message[:REASON_CHARS_MAX]}…")
    return msgspec.structs.replace(decision, ignored=f"{decision.ignored[:REASON_CHARS_MAX]}…", rejection=rejection)


def by_shard(records: Iterable[StoredRecord]) -> dict[int, list[StoredRecord]]:
    """Group records by the shard they lie on, keeping their order."""
    found: dict[int, list[StoredRecord]] = {}
    for record in records:
        found.setdefault(record.partition, []).append(record)
    return found
