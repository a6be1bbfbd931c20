"""Pauses of a run: an operator halts it, and lets it go on.

A paused run is treated as a BLOCKED one: what comes is recorded, and reaches its code when it is resumed, in order. In
addition no attempt of an activity begins; those that run go on, and their results are recorded. Its code answers
queries, and updates are held. A run that is BLOCKED may be paused: it is no longer tried, and resuming it tries it.
"""

from __future__ import annotations

from penstock.engine.core.activation import released
from penstock.engine.core.answers import accepted, accepted_reply, ignored, kept_text, open_row, rejected
from penstock.engine.core.decision import Decision, Rejection
from penstock.engine.core.keys import blocked_key
from penstock.engine.core.machine import Cause, EventRule, InputRule, Machine, Table, advance
from penstock.engine.core.machines import activity
from penstock.engine.core.messages import PAUSE, RESUME, remember_cause
from penstock.engine.core.rows import PauseRow
from penstock.engine.core.statuses import BLOCKED, PAUSED, RUNNING
from penstock.engine.core.view import RunView
from penstock.engine.core.working import WorkingRun
from penstock.schemas.records.pause import PauseWorkflow, ResumeWorkflow, WorkflowPaused, WorkflowResumed

TRANSITIONS: Table = {
    (RUNNING, WorkflowPaused): PAUSED,
    (BLOCKED, WorkflowPaused): PAUSED,
    (PAUSED, WorkflowResumed): RUNNING,
}
"""Unblocking a paused run is refused: it is resumed instead."""


# Decide.


def _pause(run: RunView, command: PauseWorkflow, now_ms: int) -> Decision:
    row = open_row(run, command.run_id, keep=False)
    if isinstance(row, Decision):
        return row
    if row.status == PAUSED:
        return ignored(row.run_id, "paused before", reply=accepted_reply(run.workflow_id, row, command.message_id))
    return accepted(run, command, [WorkflowPaused(by=kept_text(command.by), reason=kept_text(command.reason))])


def _resume(run: RunView, command: ResumeWorkflow, now_ms: int) -> Decision:
    row = open_row(run, command.run_id, keep=False)
    if isinstance(row, Decision):
        return row
    if row.status != PAUSED:
        remedy = "; `penstock unblock` tries it again" if row.status == BLOCKED else ""
        message = f"{run.workflow_id} is {row.status}; only a paused run can be resumed{remedy}."
        return rejected(Rejection("not_paused", message, row.run_id, keep=False))
    resumed = WorkflowResumed(by=kept_text(command.by), reason=kept_text(command.reason))
    return accepted(run, command, [resumed, *released(run, row, now_ms)])


# Evolve.


def _on_paused(run: WorkingRun, event: WorkflowPaused, cause: Cause) -> None:
    row = run.header
    if row.status == BLOCKED:
        run.writes[blocked_key(run.workflow_id)] = None
    row.status = advance(TRANSITIONS, row.status, event, run.workflow_id)
    row.pause = PauseRow(cause.now_ms, event.by, event.reason)
    activity.hold_attempts(run)
    remember_cause(run, cause, PAUSE)


def _on_resumed(run: WorkingRun, event: WorkflowResumed, cause: Cause) -> None:
    row = run.header
    row.status = advance(TRANSITIONS, row.status, event, run.workflow_id)
    row.pause = None
    row.blocked_reason = row.blocked_message = ""
    activity.release_attempts(run)
    remember_cause(run, cause, RESUME)


MACHINE = Machine(
    name="pause",
    transitions=TRANSITIONS,
    inputs={
        PauseWorkflow: InputRule(_pause, deduplicates=True),
        ResumeWorkflow: InputRule(_resume, deduplicates=True),
    },
    events={
        WorkflowPaused: EventRule(evolve=_on_paused),
        WorkflowResumed: EventRule(evolve=_on_resumed),
    },
)
