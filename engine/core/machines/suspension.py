"""Activations that make more requests than one transaction takes: they are suspended, and go on in the next decision.

The execution says where (it counts its requests); inputs that arrive meanwhile are delivered in their order, and let it
go on as well."""

from __future__ import annotations

from penstock.engine.core.activation import activated
from penstock.engine.core.answers import ignored
from penstock.engine.core.decision import Decision, ResumeActivation
from penstock.engine.core.keys import ACTIVATION_DUE
from penstock.engine.core.machine import Cause, EventRule, InputRule, Machine, Table, advance
from penstock.engine.core.statuses import CLOSED
from penstock.engine.core.view import RunView
from penstock.engine.core.working import WorkingRun
from penstock.schemas.records.suspension import ActivationResumed, ActivationSuspended

IDLE, SUSPENDED = "idle", "suspended"

TRANSITIONS: Table = {
    (IDLE, ActivationSuspended): SUSPENDED,
    (SUSPENDED, ActivationSuspended): SUSPENDED,
    (SUSPENDED, ActivationResumed): IDLE,
}


def _resume(run: RunView, due: ResumeActivation, now_ms: int) -> Decision:
    row = run.row
    if row is None or row.run_id != due.run_id or row.status in CLOSED or not row.resume_ms:
        return ignored(due.run_id, "its activation has ended")
    return Decision(run_id=row.run_id, events=activated(run, row, [ActivationResumed(resume_ms=row.resume_ms)], now_ms))


def _on_suspended(run: WorkingRun, event: ActivationSuspended, cause: Cause) -> None:
    advance(TRANSITIONS, _state_of(run), event, run.workflow_id)
    drop(run)
    run.header.resume_ms = cause.now_ms + 1  # not in the same transaction
    run.put_due(cause.now_ms + 1, ACTIVATION_DUE, 0)


def _on_resumed(run: WorkingRun, event: ActivationResumed, cause: Cause) -> None:
    advance(TRANSITIONS, _state_of(run), event, run.workflow_id)
    drop(run)


def _state_of(run: WorkingRun) -> str:
    return SUSPENDED if run.header.resume_ms else IDLE


def drop(run: WorkingRun) -> None:
    """Remove a run's suspension, if it has one."""
    row = run.header
    if row.resume_ms:
        run.drop_due(row.resume_ms, ACTIVATION_DUE, 0)
        row.resume_ms = 0


MACHINE = Machine(
    name="suspension",
    transitions=TRANSITIONS,
    inputs={ResumeActivation: InputRule(_resume)},
    events={
        ActivationSuspended: EventRule(evolve=_on_suspended, is_request=True),
        ActivationResumed: EventRule(evolve=_on_resumed, deliver=lambda code, event: None),
    },
)
