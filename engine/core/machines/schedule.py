"""Schedules: each is an entity on the shard of its id, with rows and without a history.

A due tick and the start of its run are one decision, so that a tick starts one run however often its processor dies;
the run's ids follow from schedule and tick. A run reports its end to its schedule as a child does to its parent: its
parent fields name the schedule."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.engine.core.answers import ignored, kept_text
from penstock.engine.core.decision import Decision, FireSchedule, Rejection
from penstock.engine.core.keys import SCHEDULE_DUE, SCHEDULED, schedule_key, scheduled_key
from penstock.engine.core.limits import SCHEDULE_RECENT_MAX
from penstock.engine.core.machine import Cause, Effects, EventRule, InputRule, Machine, Table, advance
from penstock.engine.core.machines import schedule_commands
from penstock.engine.core.machines.schedule_commands import CHANGE, action_of, new_row, plan_of, remaining_after
from penstock.engine.core.messages import remember_change
from penstock.engine.core.rows import (
    RecentRow,
    RunRow,
    ScheduledRunRow,
    ScheduleRow,
    WaitingRow,
    pack,
)
from penstock.engine.core.schedule_plan import (
    Plan,
)
from penstock.engine.core.view import RunView
from penstock.engine.core.working import WorkingRun
from penstock.schemas.ids import SCHEDULE_PREFIX
from penstock.schemas.records.kinds import Event
from penstock.schemas.records.run import CancelWorkflow, StartWorkflow, TerminateWorkflow
from penstock.schemas.records.schedule import (
    BackfillSchedule,
    CreateSchedule,
    DeleteSchedule,
    PauseSchedule,
    ReportScheduled,
    ResumeSchedule,
    ScheduleAdvanced,
    ScheduleBackfilled,
    ScheduleCreated,
    ScheduleDeleted,
    ScheduledRunClosed,
    ScheduledRunDropped,
    ScheduledRunStarted,
    ScheduledRunStopped,
    ScheduledRunWaits,
    SchedulePaused,
    ScheduleResumed,
    ScheduleTriggered,
    ScheduleUpdated,
    TriggerSchedule,
    UpdateSchedule,
)
from penstock.schemas.values.schedule import schedule_name

ABSENT, ACTIVE, PAUSED, DELETED = "absent", "active", "paused", "deleted"

_INSIDE = (
    ScheduleUpdated,
    ScheduleTriggered,
    ScheduleBackfilled,
    ScheduleAdvanced,
    ScheduledRunStarted,
    ScheduledRunWaits,
    ScheduledRunDropped,
    ScheduledRunStopped,
    ScheduledRunClosed,
)

TRANSITIONS: Table = {
    (ABSENT, ScheduleCreated): ACTIVE,
    (ACTIVE, SchedulePaused): PAUSED,
    (PAUSED, ScheduleResumed): ACTIVE,
    (ACTIVE, ScheduleDeleted): DELETED,
    (PAUSED, ScheduleDeleted): DELETED,
    **{(state, event): state for state in (ACTIVE, PAUSED) for event in _INSIDE},
}

# Decide: ticks, and reports of runs.


def _fire(run: RunView, due: FireSchedule, now_ms: int) -> Decision:
    row = run.schedule()
    if row is None or not 0 < row.due_ms <= now_ms:
        return ignored("", "the schedule is not due")
    plan = plan_of(run, row, now_ms)
    plan.start_waiting()
    plan.take_due()
    return Decision(run_id="", events=plan.decided(), unnumbered=True)


def _report(run: RunView, command: ReportScheduled, now_ms: int) -> Decision:
    row = run.schedule()
    runs = run.scheduled_runs() if row is not None else []
    if row is None or all(found.run_id != command.run_id for found in runs):
        return ignored("", "its schedule no longer knows this run")
    plan = Plan(run.workflow_id, row, runs, now_ms)
    plan.close(command.run_id)
    closed = ScheduledRunClosed(run_id=command.run_id, status=command.status, message=kept_text(command.message))
    events: list[Event] = [closed]
    if row.spec.pause_on_failure and command.status == "failed" and not row.paused:
        plan.pause()
        events.append(SchedulePaused(note=f"{command.run_workflow_id} failed"))
    plan.start_waiting()
    return Decision(run_id="", events=[*events, *plan.decided()], unnumbered=True)


# Evolve.


def _on_created(run: WorkingRun, event: ScheduleCreated, cause: Cause) -> None:
    advance(TRANSITIONS, _state(run.schedule()), event, run.workflow_id)
    _put(run, new_row(event, cause.now_ms))
    remember_change(run, cause, CHANGE)


def _on_updated(run: WorkingRun, event: ScheduleUpdated, cause: Cause) -> None:
    row = _row_for(run, event)
    _put(
        run,
        msgspec.structs.replace(
            row,
            spec=event.spec,
            action=action_of(event),
            updated_ms=cause.now_ms,
            by_code=event.by_code,
            remaining=remaining_after(row.spec, event.spec, row.remaining),
        ),
    )
    remember_change(run, cause, CHANGE)


def _on_paused(run: WorkingRun, event: SchedulePaused, cause: Cause) -> None:
    _put(run, msgspec.structs.replace(_row_for(run, event), paused=True, note=event.note))
    remember_change(run, cause, CHANGE)


def _on_resumed(run: WorkingRun, event: ScheduleResumed, cause: Cause) -> None:
    _put(run, msgspec.structs.replace(_row_for(run, event), paused=False, note=event.note))
    remember_change(run, cause, CHANGE)


def _on_asked(run: WorkingRun, event: ScheduleTriggered | ScheduleBackfilled, cause: Cause) -> None:
    _row_for(run, event)
    remember_change(run, cause, CHANGE)


def _on_advanced(run: WorkingRun, event: ScheduleAdvanced, cause: Cause) -> None:
    row = _row_for(run, event)
    if row.due_ms:
        run.drop_due(row.due_ms, SCHEDULE_DUE, 0)
    if event.due_ms:
        run.put_due(event.due_ms, SCHEDULE_DUE, 0)
    _put(
        run,
        msgspec.structs.replace(
            row,
            last_ms=event.last_ms,
            next_ms=event.next_ms,
            due_ms=event.due_ms,
            skipped=row.skipped + event.skipped,
            missed=row.missed + event.missed,
        ),
    )


def _on_started(run: WorkingRun, event: ScheduledRunStarted, cause: Cause) -> None:
    row = _row_for(run, event)
    recent = RecentRow(
        tick_ms=event.tick_ms,
        workflow_id=event.run_workflow_id,
        run_id=event.run_id,
        started_ms=cause.now_ms,
        by_hand=event.by_hand,
    )
    started = ScheduledRunRow(
        tick_ms=event.tick_ms, workflow_id=event.run_workflow_id, run_id=event.run_id, started_ms=cause.now_ms
    )
    run.writes[scheduled_key(run.workflow_id, event.run_id)] = pack(started)
    takes = not event.by_hand and not event.waited and row.remaining > 0
    _put(
        run,
        msgspec.structs.replace(
            row,
            remaining=row.remaining - takes,
            running=row.running + 1,
            started=row.started + 1,
            waiting=_without(row.waiting, event.run_id) if event.waited else row.waiting,
            recent=(*row.recent, recent)[-SCHEDULE_RECENT_MAX:],
        ),
    )


def _on_waits(run: WorkingRun, event: ScheduledRunWaits, cause: Cause) -> None:
    row = _row_for(run, event)
    waiting = WaitingRow(
        tick_ms=event.tick_ms,
        workflow_id=event.run_workflow_id,
        run_id=event.run_id,
        overlap=event.overlap,
        by_hand=event.by_hand,
    )
    takes = not event.by_hand and row.remaining > 0
    _put(run, msgspec.structs.replace(row, remaining=row.remaining - takes, waiting=(*row.waiting, waiting)))


def _on_dropped(run: WorkingRun, event: ScheduledRunDropped, cause: Cause) -> None:
    row = _row_for(run, event)
    dropped = next(found for found in row.waiting if found.run_id == event.run_id)
    gives = not dropped.by_hand and row.remaining >= 0
    _put(
        run,
        msgspec.structs.replace(row, remaining=row.remaining + gives, waiting=_without(row.waiting, event.run_id)),
    )


def _without(waiting: tuple[WaitingRow, ...], run_id: str) -> tuple[WaitingRow, ...]:
    return tuple(row for row in waiting if row.run_id != run_id)


def _on_stopped(run: WorkingRun, event: ScheduledRunStopped, cause: Cause) -> None:
    _row_for(run, event)
    key, found = scheduled_key(run.workflow_id, event.run_id), run.scheduled_run(event.run_id)
    assert found is not None, "only an open run is stopped"
    run.writes[key] = pack(msgspec.structs.replace(found, stopping=event.how))


def _on_closed(run: WorkingRun, event: ScheduledRunClosed, cause: Cause) -> None:
    row = _row_for(run, event)
    run.writes[scheduled_key(run.workflow_id, event.run_id)] = None
    recent = tuple(
        msgspec.structs.replace(found, status=event.status, closed_ms=cause.now_ms, message=event.message)
        if found.run_id == event.run_id
        else found
        for found in row.recent
    )
    _put(run, msgspec.structs.replace(row, running=row.running - 1, recent=recent))


def _on_deleted(run: WorkingRun, event: ScheduleDeleted, cause: Cause) -> None:
    row = _row_for(run, event)
    if row.due_ms:
        run.drop_due(row.due_ms, SCHEDULE_DUE, 0)
    run.drop_rows(SCHEDULED)
    run.writes[schedule_key(run.workflow_id)] = None
    remember_change(run, cause, CHANGE)


def _row_for(run: WorkingRun, event: Any) -> ScheduleRow:
    """The row of the schedule, which the table allows this event."""
    row = run.schedule()
    advance(TRANSITIONS, _state(row), event, run.workflow_id)
    assert row is not None, "the table allows all other events for a schedule that exists"
    return row


def _state(row: ScheduleRow | None) -> str:
    return ABSENT if row is None else PAUSED if row.paused else ACTIVE


def _put(run: WorkingRun, row: ScheduleRow) -> None:
    run.writes[schedule_key(run.workflow_id)] = pack(row)


# Effects.


def _start_run(found: Effects, run: WorkingRun, event: ScheduledRunStarted, shard: int) -> None:
    row = run.schedule()
    assert row is not None, "a schedule that starts a run exists"
    action = row.action
    found.commands.append(
        StartWorkflow(
            workflow_id=event.run_workflow_id,
            message_id=event.run_id,
            workflow_type=action.workflow_type,
            input=action.input,
            on_existing="restart_closed",
            parent_workflow_id=run.workflow_id,
            parent_sequence=event.tick_ms,
            headers=action.headers,
            run_timeout_ms=action.run_timeout_ms,
            execution_timeout_ms=action.execution_timeout_ms,
            retry=action.retry,
            memo=action.memo,
            search=action.search,
        )
    )


def _stop_run(found: Effects, run: WorkingRun, event: ScheduledRunStopped, shard: int) -> None:
    stopped = run.scheduled_run(event.run_id)
    assert stopped is not None, "only an open run is stopped"
    command = TerminateWorkflow if event.how == "terminate" else CancelWorkflow
    found.commands.append(
        command(
            workflow_id=stopped.workflow_id,
            run_id=event.run_id,
            reason=f"its schedule {schedule_name(run.workflow_id)} starts another run",
            message_id=f"{event.run_id}-{event.how}",
        )
    )


def is_scheduled(parent_workflow_id: str) -> bool:
    """Whether a run with this parent was started by a schedule."""
    return parent_workflow_id.startswith(SCHEDULE_PREFIX)


def report_of(row: RunRow, workflow_id: str, message: str) -> ReportScheduled:
    """Report of a closed run to its schedule."""
    run_id = row.first_run_id or row.run_id
    return ReportScheduled(
        workflow_id=row.parent_workflow_id,
        run_workflow_id=workflow_id,
        run_id=run_id,
        status=row.status,
        message=kept_text(message),
        message_id=f"{row.run_id}-scheduled",
    )


def rejected_run(command: StartWorkflow, rejection: Rejection) -> ReportScheduled:
    """Report to the schedule that its run did not start."""
    return ReportScheduled(
        workflow_id=command.parent_workflow_id,
        run_workflow_id=command.workflow_id,
        run_id=command.message_id,
        status="rejected",
        message=kept_text(rejection.message),
        message_id=f"{command.message_id}-rejected",
    )


MACHINE = Machine(
    name="schedule",
    transitions=TRANSITIONS,
    inputs={
        CreateSchedule: InputRule(schedule_commands.create),
        UpdateSchedule: InputRule(schedule_commands.update),
        PauseSchedule: InputRule(schedule_commands.pause),
        ResumeSchedule: InputRule(schedule_commands.resume),
        TriggerSchedule: InputRule(schedule_commands.trigger),
        BackfillSchedule: InputRule(schedule_commands.backfill),
        DeleteSchedule: InputRule(schedule_commands.delete),
        ReportScheduled: InputRule(_report),
        FireSchedule: InputRule(_fire),
    },
    events={
        ScheduleCreated: EventRule(evolve=_on_created),
        ScheduleUpdated: EventRule(evolve=_on_updated),
        SchedulePaused: EventRule(evolve=_on_paused),
        ScheduleResumed: EventRule(evolve=_on_resumed),
        ScheduleTriggered: EventRule(evolve=_on_asked),
        ScheduleBackfilled: EventRule(evolve=_on_asked),
        ScheduleAdvanced: EventRule(evolve=_on_advanced),
        ScheduledRunStarted: EventRule(evolve=_on_started, effects=_start_run),
        ScheduledRunWaits: EventRule(evolve=_on_waits),
        ScheduledRunDropped: EventRule(evolve=_on_dropped),
        ScheduledRunStopped: EventRule(evolve=_on_stopped, effects=_stop_run),
        ScheduledRunClosed: EventRule(evolve=_on_closed),
        ScheduleDeleted: EventRule(evolve=_on_deleted),
    },
)
