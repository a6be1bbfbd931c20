"""Commands to a schedule, as the machine `schedule` decides them."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.engine.core.answers import ignored, kept_text, rejected
from penstock.engine.core.decision import Decision, Rejection
from penstock.engine.core.hosted import UNKNOWN_TYPE
from penstock.engine.core.limits import SCHEDULE_WAITING_MAX
from penstock.engine.core.machines import note
from penstock.engine.core.messages import id_taken
from penstock.engine.core.rows import ScheduleAction, ScheduleRow
from penstock.engine.core.schedule_plan import STARTED, Plan, by_hand_run_id, run_workflow_id
from penstock.engine.core.versions import takeable
from penstock.engine.core.view import RunView
from penstock.schemas.errors import BadInput, BadName
from penstock.schemas.ids import SCHEDULE_PREFIX
from penstock.schemas.records.kinds import Command, Event
from penstock.schemas.records.replies import Accepted
from penstock.schemas.records.schedule import (
    BackfillSchedule,
    CreateSchedule,
    DeleteSchedule,
    PauseSchedule,
    ResumeSchedule,
    ScheduleBackfilled,
    ScheduleCreated,
    ScheduleDeleted,
    SchedulePaused,
    ScheduleResumed,
    ScheduleTriggered,
    ScheduleUpdated,
    TriggerSchedule,
    UpdateSchedule,
)
from penstock.schemas.values.schedule import check_overlap, check_spec, schedule_id, schedule_name
from penstock.schemas.values.schedule_spec import ScheduleSpec
from penstock.schemas.values.ticks import ticks

CHANGE = "change of a schedule"
"""What a message to a schedule was."""


def create(run: RunView, command: CreateSchedule, now_ms: int) -> Decision:
    """Create a schedule, or change the one that is there."""
    row = run.schedule()
    repeated = _repetition(run, command)
    if repeated is not None:
        return repeated
    if row is not None and not command.may_exist:
        message = f"There is a schedule {schedule_name(run.workflow_id)}; change it, or delete it before."
        return rejected(Rejection("already_exists", message))
    problem = _problem_of(run, command, command.spec, is_new=True)
    if problem is not None:
        return problem
    if row is not None:
        return _changed(run, row, command, command.spec, action_of(command), now_ms, by_code=command.by_code)
    created = ScheduleCreated(spec=command.spec, by_code=command.by_code, **msgspec.structs.asdict(action_of(command)))
    new = new_row(created, now_ms)
    events: list[Event] = [created]
    if command.paused:
        events.append(SchedulePaused(note=command.note))
    plan = Plan(run.workflow_id, new, [], now_ms)
    plan.begin(command.spec, new.remaining, paused=command.paused)
    if command.trigger:
        events.append(ScheduleTriggered(overlap=command.spec.overlap))
        _offer_by_hand(plan, command, now_ms, command.spec.overlap)
    return _accepted(command, [*events, *plan.decided()], existing=False)


def update(run: RunView, command: UpdateSchedule, now_ms: int) -> Decision:
    """Change a schedule."""
    row = _present(run, command)
    if isinstance(row, Decision):
        return row
    spec, action = command.spec or row.spec, action_of(command) if command.workflow_type else row.action
    problem = _problem_of(run, command, spec, is_new=bool(command.workflow_type))
    if problem is not None:
        return problem
    return _changed(run, row, command, spec, action, now_ms, by_code=row.by_code)


def _changed(
    run: RunView,
    row: ScheduleRow,
    command: CreateSchedule | UpdateSchedule,
    spec: ScheduleSpec,
    action: ScheduleAction,
    now_ms: int,
    *,
    by_code: bool,
) -> Decision:
    """Decide a change: ticks up to now are those of the spec before, also if their jitter is not over."""
    if (spec, action, by_code) == (row.spec, row.action, row.by_code):
        return ignored("", "the schedule is so already", reply=_reply(command))
    plan = plan_of(run, row, now_ms)
    plan.take_past()
    plan.events.append(ScheduleUpdated(spec=spec, by_code=by_code, **msgspec.structs.asdict(action)))
    plan.begin(spec, remaining_after(row.spec, spec, plan.left), paused=row.paused)
    return _accepted(command, plan.decided())


def remaining_after(before: ScheduleSpec, now: ScheduleSpec, left: int) -> int:
    """Ticks to take after a change of the spec: those that are left, if their number was not changed."""
    return left if before.remaining == now.remaining else now.remaining


def pause(run: RunView, command: PauseSchedule, now_ms: int) -> Decision:
    """Pause a schedule."""
    row = _present(run, command)
    if isinstance(row, Decision):
        return row
    if row.paused:
        return ignored("", "paused before", reply=_reply(command))
    plan = plan_of(run, row, now_ms)
    plan.pause()
    return _accepted(command, [SchedulePaused(note=kept_text(command.note)), *plan.decided()])


def resume(run: RunView, command: ResumeSchedule, now_ms: int) -> Decision:
    """Resume a schedule."""
    row = _present(run, command)
    if isinstance(row, Decision):
        return row
    if not row.paused:
        return ignored("", "it is not paused", reply=_reply(command))
    plan = plan_of(run, row, now_ms)
    plan.resume()
    plan.start_waiting()
    return _accepted(command, [ScheduleResumed(note=kept_text(command.note)), *plan.decided()])


def trigger(run: RunView, command: TriggerSchedule, now_ms: int) -> Decision:
    """Decide a run beside the ticks."""
    row = _present(run, command)
    if isinstance(row, Decision):
        return row
    overlap = command.overlap or row.spec.overlap
    try:
        check_overlap(overlap)
    except BadInput as error:
        return rejected(Rejection("bad_input", str(error)))
    plan = plan_of(run, row, now_ms)
    plan.events.append(ScheduleTriggered(overlap=overlap))
    became, run_id, workflow_id = _offer_by_hand(plan, command, now_ms, overlap)
    return _accepted(
        command, plan.decided(), run_id=run_id if became == STARTED else "", status=became, workflow_id=workflow_id
    )


def _offer_by_hand(plan: Plan, command: Command, now_ms: int, overlap: str) -> tuple[str, str, str]:
    """Decide a run that is asked for now: what becomes of it, its run id and its workflow id."""
    run_id = by_hand_run_id(command.workflow_id, command.message_id, now_ms)
    workflow_id = f"{run_workflow_id(command.workflow_id, now_ms - now_ms % 1000)}-{run_id[:6]}"
    return plan.offer(now_ms, workflow_id, run_id, overlap, by_hand=True), run_id, workflow_id


def backfill(run: RunView, command: BackfillSchedule, now_ms: int) -> Decision:
    """Decide the runs of a range of ticks."""
    row = _present(run, command)
    if isinstance(row, Decision):
        return row
    problem = _problem_of_range(command, now_ms)
    if problem:
        return rejected(Rejection("bad_input", problem))
    room = SCHEDULE_WAITING_MAX - len(row.waiting)
    found: list[int] = []
    for tick_ms in ticks(row.spec, command.from_ms - 1, bounded=False):
        if tick_ms > command.until_ms:
            break
        found.append(tick_ms)
        if len(found) > room:
            message = f"The range has more than {room:,} ticks; give a shorter one, then the rest."
            return rejected(Rejection("bad_input", message))
    plan = plan_of(run, row, now_ms)
    plan.events.append(ScheduleBackfilled(from_ms=command.from_ms, until_ms=command.until_ms, overlap=command.overlap))
    for tick_ms in found:
        run_id = by_hand_run_id(run.workflow_id, command.message_id, tick_ms)
        plan.offer(tick_ms, run_workflow_id(run.workflow_id, tick_ms), run_id, command.overlap, by_hand=True)
    return _accepted(command, plan.decided(), note=f"the range has {len(found)} ticks")


def _problem_of_range(command: BackfillSchedule, now_ms: int) -> str:
    if not 0 <= command.from_ms <= command.until_ms:
        return "The range ends before it begins; give the earlier moment first."
    if command.until_ms > now_ms:
        return "The range ends in the future, whose ticks come by themselves; let it end now."
    try:
        check_overlap(command.overlap)
    except BadInput as error:
        return str(error)
    return ""


def delete(run: RunView, command: DeleteSchedule, now_ms: int) -> Decision:
    """Delete a schedule."""
    row = _present(run, command)
    if isinstance(row, Decision):
        return row
    return _accepted(command, [ScheduleDeleted()])


def _present(run: RunView, command: Command) -> ScheduleRow | Decision:
    """The schedule that a command is for; else the answer."""
    repeated = _repetition(run, command)
    if repeated is not None:
        return repeated
    row = run.schedule()
    if row is None:
        message = f"There is no schedule {schedule_name(run.workflow_id)}."
        return rejected(Rejection("not_found", message, keep=not isinstance(command, DeleteSchedule)))
    return row


def _repetition(run: RunView, command: Command) -> Decision | None:
    """The answer to a message that took effect before; None to a new one."""
    known = run.message(command.message_id) if command.message_id else None
    if known is None:
        return None
    if known.what != CHANGE:
        return rejected(Rejection("bad_input", id_taken(command.message_id, known)))
    return ignored("", "this message took effect before", reply=_reply(command))


def _problem_of(
    run: RunView, command: CreateSchedule | UpdateSchedule, spec: ScheduleSpec, *, is_new: bool
) -> Decision | None:
    """The refusal of a schedule that could not start runs; None for a good one. `is_new`: what it starts is given."""
    try:
        if not run.workflow_id.startswith(SCHEDULE_PREFIX):
            raise BadName(
                f"The id of a schedule begins with `{SCHEDULE_PREFIX}`: write it before {run.workflow_id[:40]}."
            )
        schedule_id(schedule_name(run.workflow_id))
        check_spec(spec)
        problem = note.problem_of(command) if is_new else ""
    except (BadInput, BadName) as error:
        problem = str(error)
    if problem:
        return rejected(Rejection("bad_input", problem))
    return _problem_of_input(run, command) if is_new else None


def _problem_of_input(run: RunView, command: CreateSchedule | UpdateSchedule) -> Decision | None:
    """The refusal of an input that a version cannot take which runs of the schedule may have."""
    name, hosted = command.workflow_type, run.hosted
    versions = hosted.versions_for_new(name)
    if not versions:
        return rejected(Rejection(UNKNOWN_TYPE, hosted.unknown(name)))
    for version in takeable(versions, run.shares(name) if len(versions) > 1 else {}):
        definition = hosted.workflow(name, version)
        if definition is None:  # other processors alone have it
            continue
        try:
            definition.check_input(command.input)
        except Exception as error:  # noqa: BLE001 - the user's own validators may raise anything
            which = f"version {version} of {name}, which its runs may have," if len(versions) > 1 else name
            return rejected(Rejection("bad_input", f"{which} cannot take this input: {error}"))
    return None


# Parts that the machine shares.


def plan_of(run: RunView, row: ScheduleRow, now_ms: int) -> Plan:
    """The plan of a decision at `now_ms` (epoch)."""
    return Plan(run.workflow_id, row, run.scheduled_runs() if row.running else [], now_ms)


def action_of(command: CreateSchedule | UpdateSchedule | ScheduleCreated | ScheduleUpdated) -> ScheduleAction:
    """What a schedule starts, by the command or event that says so."""
    return ScheduleAction(
        workflow_type=command.workflow_type,
        input=command.input,
        headers=command.headers,
        memo=command.memo,
        search=command.search,
        run_timeout_ms=command.run_timeout_ms,
        execution_timeout_ms=command.execution_timeout_ms,
        retry=command.retry,
    )


def _accepted(command: Command, events: list[Event], **fields: Any) -> Decision:
    return Decision(run_id="", events=events, unnumbered=True, reply=_reply(command, **fields))


def _reply(command: Command, *, workflow_id: str = "", existing: bool = True, **fields: Any) -> Accepted:
    return Accepted(
        message_id=command.message_id,
        workflow_id=workflow_id or command.workflow_id,
        run_id=fields.pop("run_id", ""),
        existing=existing,
        **fields,
    )


def new_row(event: ScheduleCreated, now_ms: int) -> ScheduleRow:
    """The row of a schedule that was created just now."""
    return ScheduleRow(
        spec=event.spec,
        action=action_of(event),
        created_ms=now_ms,
        updated_ms=now_ms,
        by_code=event.by_code,
        remaining=event.spec.remaining,
    )
