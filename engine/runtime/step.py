"""One input of a shard, from decision to layer.

    deduplicate → decide → evolve → encode → merge

A decision that cannot be sent is reduced, in this order: its run is BLOCKED without the requests that cannot be sent; a
failure takes the place of a result that is too large; the input is refused. An error inside the engine blocks the run.
"""

from __future__ import annotations

from typing import Any

import msgspec
import structlog

from penstock.engine.core.catalogue import REQUESTS
from penstock.engine.core.decide import TOO_LARGE, decide, substitute
from penstock.engine.core.decision import Decision, Rejection, ResumeActivation, RetryActivity
from penstock.engine.core.effects import evolve_with_effects
from penstock.engine.core.evolve import begin, finish, keep_history
from penstock.engine.core.hosted import UNHOSTED_TYPE
from penstock.engine.core.keys import NEVER_MS
from penstock.engine.core.machine import Cause, Effects
from penstock.engine.core.statuses import ABSENT, HALTED, PAUSED, RUNNING
from penstock.engine.runtime.deduplicate import DEDUPLICATED, repetition
from penstock.engine.runtime.encode import Encoder, size_of
from penstock.engine.runtime.overlay import Layer
from penstock.engine.runtime.run_cache import CachedRun, RunCache
from penstock.schemas.errors import UnknownSchema
from penstock.schemas.records.decisions import Listening, Trigger
from penstock.schemas.records.kinds import Event
from penstock.schemas.records.reset import WorkflowForked
from penstock.schemas.records.retention import WorkflowDeleted
from penstock.schemas.records.run import (
    HistoryExceeded,
    InputIgnored,
    StartWorkflow,
    WorkflowBlocked,
    WorkflowFailed,
    WorkflowStarted,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from penstock.topics.catalogue import RECORD_BYTES_MAX
from penstock.topics.log import Record

logger = structlog.get_logger(__name__)

ATTEMPTS = 2

READABLE = frozenset({RUNNING, PAUSED})
"""Statuses of a run that is kept in memory after a query."""
TIMER = Trigger()
"""Trigger of decisions that no record causes."""

ENGINE_ERROR = Rejection(
    "engine_error", "Deciding it failed with an error inside Penstock; the processor's log has the traceback."
)
_ENGINE_FAILED = WorkflowBlocked(reason=ENGINE_ERROR.reason, message=ENGINE_ERROR.message)


class Draft(msgspec.Struct, frozen=True, gc=False):
    """The records of a decision, and their bytes together with those of its rows."""

    records: list[Record]
    size: int


class Step:
    """Decides the inputs of one shard into its open layer. `decided`: number of the shard's last decision.

    `due_ms`: earliest due time that was merged since the caller last reset it. `appended_ms`: append time of the input,
    set by the caller."""

    def __init__(self, runs: RunCache, encoder: Encoder) -> None:
        self._runs, self._encoder, self._hosted = runs, encoder, runs.hosted
        self.decided = 0
        self.due_ms = NEVER_MS
        self.appended_ms = 0

    def process(
        self, layer: Layer, input: Any, trigger: Trigger, refused: WorkflowBlocked | None = None
    ) -> Decision | None:
        """Decide an input and merge what it causes. None if that failed; its run, if it has one, is BLOCKED then.

        `refused`: the log refused what the input caused, so its run is BLOCKED by this event instead."""
        for attempt in range(ATTEMPTS + 1):
            if attempt == ATTEMPTS and not self._block_by_error(layer, input):
                break
            try:
                found = self._try(layer, input, trigger, refused)
                return found if isinstance(found, Decision) else self._reduce(layer, input, trigger, found)
            except UnknownSchema as error:  # a newer program wrote it: no run is at fault, and the shard cannot go on
                self._runs.evict(input.workflow_id)
                raise UnknownSchema(
                    f"The run {input.workflow_id} has a record of a newer build. {error.detail}"
                ) from error
            except (Exception, SystemExit):  # user code may raise either where none is expected
                logger.exception("deciding failed", workflow_id=input.workflow_id, input=type(input).__name__)
                self._runs.evict(input.workflow_id)
        return None

    def block(self, layer: Layer, workflow_id: str, problem: WorkflowBlocked) -> bool:
        """Block the id's run if it is running; returns whether it was."""
        run = self._runs.get(workflow_id)
        if run.row is None or run.row.status != RUNNING:
            return False
        decision = Decision(run_id=run.run_id, events=[problem])
        draft = self._draft(run, decision, TIMER, layer.now_ms)
        assert isinstance(draft, Draft), "a blocking event alone fits a record"
        self._merge(layer, run, decision, draft)
        return True

    def _block_by_error(self, layer: Layer, input: Any) -> bool:
        """Block the run of an input, which then only records it. A start concerns a run of its own."""
        return not isinstance(input, StartWorkflow) and self.block(layer, input.workflow_id, _ENGINE_FAILED)

    def _reduce(self, layer: Layer, input: Any, trigger: Trigger, problem: WorkflowBlocked) -> Decision | None:
        """Decide an input that cannot be recorded as it is: block its run, put a failure in its place, or refuse it."""
        if isinstance(input, RetryActivity | ResumeActivation):
            self.block(layer, input.workflow_id, problem)
            return None
        smaller = substitute(input)
        if smaller is not None:
            found = self._try(layer, smaller, trigger)
            if isinstance(found, Decision):
                return found
        return self._refuse(layer, input, trigger)

    def _try(
        self, layer: Layer, input: Any, trigger: Trigger, refused: WorkflowBlocked | None = None
    ) -> Decision | WorkflowBlocked:
        """Decide and merge, if need be as BLOCKED; else nothing is changed and the problem returned."""
        run = self._runs.get(input.workflow_id)
        now_ms = layer.now_ms
        decision = repetition(self._runs.reader, run.row, input) if type(input) in DEDUPLICATED else None
        if decision is None:
            decision = decide(run, input, now_ms)
        if decision.is_read:
            if run.row is None or run.row.status not in READABLE or run.hosted.strict_inputs:
                self._runs.evict(run.workflow_id)  # a closed run; in tests, a read must leave no trace
            return decision
        if decision.ignored:
            self._record_ignored(layer, run, decision, trigger)
            return decision
        if refused is not None and type(decision.events[-1]) is WorkflowBlocked:
            refused = None  # for another reason: what the log refused was requested by the code, which now was not run
        draft = refused or self._draft(run, decision, trigger, now_ms)
        if not isinstance(draft, Draft):
            self._runs.evict(run.workflow_id)
            reduced = _without_requests(decision, draft)
            if reduced is None:
                return draft
            run, decision = self._runs.get(run.workflow_id), reduced
            draft = self._draft(run, decision, trigger, now_ms)
            if not isinstance(draft, Draft):
                self._runs.evict(run.workflow_id)
                return draft
        self._merge(layer, run, decision, draft)
        return decision

    def _draft(self, run: CachedRun, decision: Decision, trigger: Trigger, now_ms: int) -> Draft | WorkflowBlocked:
        """Apply a decision to the run's savepoint and encode what it causes."""
        found = Effects()
        records: list[Record] = []
        for earlier in decision.before:
            ended = Decision(run_id=earlier.run_id, events=earlier.events)
            self._apply(records, found, run, ended, None, trigger, now_ms)
        terminated = type(decision.events[-1]) in _ENDED_FROM_OUTSIDE  # its code is not there to say that it ended
        # A run that is BLOCKED at its start: the code that `run` may have is its predecessor's.
        unbegun = type(decision.events[0]) in _BEGINNINGS and type(decision.events[-1]) is WorkflowBlocked
        listening = None if terminated or unbegun else run.listening()
        self._apply(records, found, run, decision, listening, trigger, now_ms)
        encoder = self._encoder
        problem = encoder.effects(records, run.workflow_id, found)
        if problem is not None:
            return problem
        size = size_of(records, run.writes)
        if size > RECORD_BYTES_MAX and (problem := encoder.too_large(records, run.writes)) is not None:
            return problem
        return Draft(records, size)

    def _apply(
        self,
        records: list[Record],
        found: Effects,
        run: CachedRun,
        decision: Decision,
        listening: Listening | None,
        trigger: Trigger,
        now_ms: int,
    ) -> None:
        """Evolve one run by a decision's events, collect their effects in `found`, and encode them into `records`."""
        events = decision.events
        first = begin(run, decision.run_id, events)
        cause = Cause(now_ms, trigger.message_id, self.appended_ms)
        evolve_with_effects(found, run, events, cause, self._encoder.shard)
        finish(run, 0 if decision.unnumbered else len(events), listening)
        number, first = self.decided + 1, 0 if decision.unnumbered else first
        encoded = self._encoder.decision(
            run.workflow_id, decision.run_id, events, first, number, now_ms, trigger, listening, self.appended_ms
        )
        for sequence, record in encoded:
            if sequence:
                keep_history(run, sequence, record.value or b"")
            records.append(record)

    def _merge(self, layer: Layer, run: CachedRun, decision: Decision, draft: Draft) -> None:
        """Make the run's savepoint and the records part of the layer."""
        self.decided += 1
        layer.room.use(len(draft.records) + len(run.writes), draft.size)
        if run.due_ms < self.due_ms:
            self.due_ms = run.due_ms
        run.due_ms = NEVER_MS
        layer.change(run.workflow_id, run.writes)
        run.writes = {}
        layer.outputs.extend(draft.records)
        self._note_touched(layer, run)
        if type(decision.events[-1]) in _LOGGED:
            _log_ending(run.workflow_id, decision.events[-1])
        row, long = run.row, run.hosted.history_long
        if row is not None and row.next_number > long >= row.next_number - len(decision.events):
            _log_length(run.workflow_id, row.next_number - 1, run.hosted.history_max)

    def _note_touched(self, layer: Layer, run: CachedRun) -> None:
        layer.touched.setdefault(run.workflow_id, {})
        layer.decisions += 1
        status = run.row.status if run.row is not None else ABSENT
        if status == self._hosted.kept_status:
            return
        if status in HALTED:
            run.forget()
        else:
            self._runs.evict(run.workflow_id)

    def _record_ignored(self, layer: Layer, run: CachedRun, decision: Decision, trigger: Trigger) -> None:
        """Record an input without effect; a timer of a run that no longer waits leaves no record."""
        if trigger is TIMER:
            return
        self.decided += 1
        event: Event = InputIgnored(record=trigger.message_id or trigger.topic, reason=decision.ignored)
        for _, record in self._encoder.decision(
            run.workflow_id,
            decision.run_id,
            [event],
            0,
            self.decided,
            layer.now_ms,
            trigger,
            appended_ms=self.appended_ms,
        ):
            layer.add(record)
        self._note_touched(layer, run)

    def _refuse(self, layer: Layer, input: Any, trigger: Trigger) -> Decision:
        run = self._runs.get(input.workflow_id)
        rejection = Rejection("too_large", TOO_LARGE, run.run_id)
        decision = Decision(run_id=run.run_id, ignored=TOO_LARGE, rejection=rejection)
        self._record_ignored(layer, run, decision, trigger)
        return decision


def _without_requests(decision: Decision, problem: WorkflowBlocked) -> Decision | None:
    """The decision reduced to its inputs, with the run BLOCKED; None if it has no requests to remove."""
    inputs = [event for event in decision.events if type(event) not in REQUESTS]
    if len(inputs) == len(decision.events):
        if not decision.before or decision.before[-1].run_id == decision.run_id:
            return None
        ended = decision.before[-1]  # a run that another follows: it does not, so the chain does not go on
        whole = Decision(run_id=ended.run_id, events=ended.events, before=decision.before[:-1], reply=decision.reply)
        return _without_requests(whole, problem)
    return msgspec.structs.replace(decision, events=[*inputs, problem])


_BEGINNINGS = frozenset({WorkflowStarted, WorkflowForked})
_LOGGED = frozenset({WorkflowFailed, WorkflowTimedOut, HistoryExceeded, WorkflowBlocked})
_ENDED_FROM_OUTSIDE = frozenset({WorkflowTerminated, WorkflowTimedOut, HistoryExceeded, WorkflowDeleted})


def _log_length(workflow_id: str, length: int, limit: int) -> None:
    """Log a run whose history has become long."""
    logger.warning(
        "a run's history is long: let it continue as new, since replay takes time and it fails at its limit",
        workflow_id=workflow_id,
        events=length,
        limit=limit,
    )


def _log_ending(workflow_id: str, last: WorkflowFailed | WorkflowTimedOut | HistoryExceeded | WorkflowBlocked) -> None:
    """Log a run that failed or was BLOCKED."""
    if isinstance(last, WorkflowFailed | WorkflowTimedOut | HistoryExceeded):
        logger.warning("run failed", workflow_id=workflow_id, error=last.failure.type, message=last.failure.message)
    else:
        what = "run waits for a processor with its type" if last.reason == UNHOSTED_TYPE else "run blocked"
        line = last.message.partition("\n")[0]  # `show` has the traceback
        logger.warning(what, workflow_id=workflow_id, reason=last.reason, message=line)
