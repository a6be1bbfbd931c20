"""Delayed starts: a run that exists, takes signals and updates, and whose code begins later."""

from __future__ import annotations

from penstock.engine.core.activation import activated
from penstock.engine.core.answers import ignored
from penstock.engine.core.decision import BeginRun, Decision
from penstock.engine.core.keys import START_DUE
from penstock.engine.core.machine import Cause, EventRule, InputRule, Machine, Table, advance
from penstock.engine.core.statuses import CLOSED
from penstock.engine.core.view import RunView
from penstock.engine.core.working import WorkingRun
from penstock.schemas.records.run import StartDelayEnded

DELAYED, BEGUN = "delayed", "begun"

TRANSITIONS: Table = {(DELAYED, StartDelayEnded): BEGUN}


def _begin(run: RunView, due: BeginRun, now_ms: int) -> Decision:
    row = run.row
    if row is None or row.run_id != due.run_id or row.status in CLOSED or not row.begins_ms:
        return ignored(due.run_id, "it has begun")
    return Decision(run_id=row.run_id, events=activated(run, row, [StartDelayEnded(begins_ms=row.begins_ms)], now_ms))


def put(run: WorkingRun, begins_ms: int) -> None:
    """Let a run that starts begin at that time (epoch). For evolve functions."""
    run.header.begins_ms = begins_ms
    run.put_due(begins_ms, START_DUE, 0)


def drop(run: WorkingRun) -> None:
    """Remove a run's delay, if it still has one. For evolve functions."""
    row = run.header
    if row.begins_ms:
        run.drop_due(row.begins_ms, START_DUE, 0)
        row.begins_ms = 0


def _on_ended(run: WorkingRun, event: StartDelayEnded, cause: Cause) -> None:
    advance(TRANSITIONS, DELAYED if run.header.begins_ms else BEGUN, event, run.workflow_id)
    drop(run)


MACHINE = Machine(
    name="delay",
    transitions=TRANSITIONS,
    inputs={BeginRun: InputRule(_begin)},
    events={StartDelayEnded: EventRule(evolve=_on_ended, deliver=lambda code, event: code.begin())},
)
