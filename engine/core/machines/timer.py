"""Timers of workflow code."""

from __future__ import annotations

from penstock.engine.core.activation import activated
from penstock.engine.core.answers import ignored
from penstock.engine.core.decision import Decision, FireTimer
from penstock.engine.core.keys import TIMER, TIMER_DUE
from penstock.engine.core.machine import Cause, EventRule, InputRule, Machine, Table, advance
from penstock.engine.core.rows import TimerRow, pack
from penstock.engine.core.statuses import CLOSED
from penstock.engine.core.view import RunView
from penstock.engine.core.working import WorkingRun
from penstock.schemas.records.timer import TimerCancelled, TimerFired, TimerStarted

ABSENT, PENDING, FIRED, CANCELLED = "absent", "pending", "fired", "cancelled"

TRANSITIONS: Table = {
    (ABSENT, TimerStarted): PENDING,
    (PENDING, TimerFired): FIRED,
    (PENDING, TimerCancelled): CANCELLED,
}


def _fire(run: RunView, due: FireTimer, now_ms: int) -> Decision:
    row = run.row
    if row is None or row.run_id != due.run_id or row.status in CLOSED or run.timer(due.sequence) is None:
        return ignored(due.run_id, "its run no longer waits")
    return Decision(run_id=row.run_id, events=activated(run, row, [TimerFired(sequence=due.sequence)], now_ms))


def _on_started(run: WorkingRun, event: TimerStarted, cause: Cause) -> None:
    advance(TRANSITIONS, ABSENT, event, run.workflow_id)
    run.header.pending_timers += 1
    run.writes[run.key(TIMER, event.sequence)] = pack(TimerRow(sequence=event.sequence, due_ms=event.due_ms))
    run.put_due(event.due_ms, TIMER_DUE, event.sequence)


def _on_ended(run: WorkingRun, event: TimerFired | TimerCancelled, cause: Cause) -> None:
    timer = run.timer(event.sequence)
    advance(TRANSITIONS, ABSENT if timer is None else PENDING, event, run.workflow_id)
    assert timer is not None, "the table allows these events for pending timers alone"
    run.header.pending_timers -= 1
    run.writes[run.key(TIMER, event.sequence)] = None
    run.drop_due(timer.due_ms, TIMER_DUE, event.sequence)


MACHINE = Machine(
    name="timer",
    transitions=TRANSITIONS,
    inputs={FireTimer: InputRule(_fire)},
    events={
        TimerStarted: EventRule(evolve=_on_started, is_request=True, payload=lambda event: str(event.due_ms).encode()),
        TimerFired: EventRule(evolve=_on_ended, deliver=lambda code, event: code.fire(event.sequence)),
        TimerCancelled: EventRule(evolve=_on_ended, is_request=True),
    },
)
