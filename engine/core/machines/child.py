"""Child workflows of a run, as the parent knows them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from penstock.engine.core.activation import activated
from penstock.engine.core.answers import closing_failure, found_row, ignored
from penstock.engine.core.decision import Decision, Rejection
from penstock.engine.core.keys import CHILD
from penstock.engine.core.machine import Cause, Effects, EventRule, InputRule, Machine, Table, advance, derived_id
from penstock.engine.core.machines import schedule
from penstock.engine.core.rows import ChildRow, pack, unpack_child
from penstock.engine.core.statuses import CLOSED, RESET, TERMINATED
from penstock.engine.core.statuses import COMPLETED as RUN_COMPLETED
from penstock.engine.core.view import RunView
from penstock.engine.core.working import WorkingRun
from penstock.schemas.errors import ChildWorkflowFailed
from penstock.schemas.failure import Failure
from penstock.schemas.records.child import (
    AdoptChild,
    ChildAdopted,
    ChildCancelRequested,
    ChildCompleted,
    ChildFailed,
    ChildScheduled,
    ChildStarted,
    ChildStopRequested,
    ConfirmChild,
    ParentChanged,
    ResolveChild,
)
from penstock.schemas.records.kinds import Event
from penstock.schemas.records.run import CancelWorkflow, StartWorkflow, TerminateWorkflow, WorkflowStarted
from penstock.schemas.records.schedule import ReportScheduled
from penstock.schemas.values.failure import bounded

ABSENT, PENDING, STARTED, STOPPING = "absent", "pending", "started", "stopping"
COMPLETED, FAILED, CANCELLED = "completed", "failed", "cancelled"

TRANSITIONS: Table = {
    (ABSENT, ChildScheduled): PENDING,
    (PENDING, ChildStarted): STARTED,
    (PENDING, ChildCompleted): COMPLETED,
    (PENDING, ChildFailed): FAILED,
    (PENDING, ChildCancelRequested): CANCELLED,
    (PENDING, ChildStopRequested): STOPPING,
    (STARTED, ChildCompleted): COMPLETED,
    (STARTED, ChildFailed): FAILED,
    (STARTED, ChildCancelRequested): CANCELLED,
    (STOPPING, ChildCompleted): COMPLETED,
    (STOPPING, ChildFailed): FAILED,
    (PENDING, ChildAdopted): PENDING,
    (STARTED, ChildAdopted): STARTED,
    (STOPPING, ChildAdopted): STOPPING,
}
"""Only a child whose start the code awaits becomes `started`; any other one is `pending` until it ends."""

_STOPS: Mapping[str, type[CancelWorkflow | TerminateWorkflow] | None] = {
    "cancel": CancelWorkflow,
    "terminate": TerminateWorkflow,
    "abandon": None,
}
"""What the end of its parent sends to a child."""


# Decide.


def _resolve(run: RunView, command: ResolveChild, now_ms: int) -> Decision:
    return _received(run, command, _ending(command), now_ms)


def _confirm(run: RunView, command: ConfirmChild, now_ms: int) -> Decision:
    child = run.child(command.sequence) if run.row is not None else None
    if child is not None and child.state != PENDING:
        return ignored(command.run_id, "its parent knows that this child has started")
    return _received(run, command, ChildStarted(sequence=command.sequence, child_run_id=command.child_run_id), now_ms)


def _adopt(run: RunView, command: AdoptChild, now_ms: int) -> Decision:
    row = found_row(run, command.run_id, keep=False)
    if isinstance(row, Decision):
        return row
    changed = ParentChanged(parent_run_id=command.parent_run_id, awaits_start=command.awaits_start)
    return Decision(run_id=row.run_id, events=[changed], unnumbered=True)


def _received(run: RunView, command: ResolveChild | ConfirmChild, event: Event, now_ms: int) -> Decision:
    """What a report of a child causes in its parent."""
    row = run.row
    if row is None or row.run_id != command.run_id or row.status in CLOSED or run.child(command.sequence) is None:
        return ignored(command.run_id, "its parent no longer waits for this child")
    return Decision(run_id=row.run_id, events=activated(run, row, [event], now_ms))


def _ending(command: ResolveChild) -> Event:
    if command.status == RUN_COMPLETED:
        return ChildCompleted(sequence=command.sequence, child_run_id=command.child_run_id, result=command.result)
    return ChildFailed(
        sequence=command.sequence,
        child_run_id=command.child_run_id,
        status=command.status,
        failure=bounded(command.failure)
        if command.failure is not None
        else Failure(type="", message=f"child workflow {command.child_workflow_id} was {command.status}"),
    )


# Evolve.


def _on_scheduled(run: WorkingRun, event: ChildScheduled, cause: Cause) -> None:
    advance(TRANSITIONS, ABSENT, event, run.workflow_id)
    run.header.pending_children += 1
    run.writes[run.key(CHILD, event.sequence)] = pack(
        ChildRow(
            sequence=event.sequence,
            workflow_type=event.workflow_type,
            workflow_id=event.workflow_id,
            run_id=derived_id(run, event.sequence, "start"),
            parent_close=event.parent_close,
        )
    )


def _on_started(run: WorkingRun, event: ChildStarted, cause: Cause) -> None:
    _set_state(run, event)


def _on_ended(run: WorkingRun, event: ChildCompleted | ChildFailed | ChildCancelRequested, cause: Cause) -> None:
    child = run.child(event.sequence)
    advance(TRANSITIONS, ABSENT if child is None else child.state, event, run.workflow_id)
    run.header.pending_children -= 1
    run.writes[run.key(CHILD, event.sequence)] = None


def _on_cancel_requested(run: WorkingRun, event: ChildCancelRequested, cause: Cause) -> None:
    child = run.child(event.sequence)
    _on_ended(run, event, cause)
    if child is not None:
        run.dropped_children = (child,)


def _on_stop_requested(run: WorkingRun, event: ChildStopRequested, cause: Cause) -> None:
    run.dropped_children = (_set_state(run, event),)


def _on_adopted(run: WorkingRun, event: ChildAdopted, cause: Cause) -> None:
    child = _set_state(run, event)
    if event.restarts:
        again = msgspec.structs.replace(child, run_id=derived_id(run, event.sequence, "start"))
        run.writes[run.key(CHILD, event.sequence)] = pack(again)


def _on_parent_changed(run: WorkingRun, event: ParentChanged, cause: Cause) -> None:
    run.header.parent_run_id = event.parent_run_id


def _set_state(run: WorkingRun, event: ChildStarted | ChildStopRequested | ChildAdopted) -> ChildRow:
    child = run.child(event.sequence)
    state = advance(TRANSITIONS, ABSENT if child is None else child.state, event, run.workflow_id)
    assert child is not None, "the table allows these events for pending children alone"
    run.writes[run.key(CHILD, event.sequence)] = pack(msgspec.structs.replace(child, state=state))
    return child


def drop_all(run: WorkingRun) -> None:
    """Remove the children of a run that closes."""
    run.dropped_children = [unpack_child(value) for _, value in run.drop_rows(CHILD)]


# Effects.


def _start_child(found: Effects, run: WorkingRun, event: ChildScheduled, shard: int) -> None:
    headers = run.header.headers
    found.commands.append(
        StartWorkflow(
            workflow_id=event.workflow_id,
            workflow_type=event.workflow_type,
            input=event.input,
            message_id=derived_id(run, event.sequence, "start"),
            on_existing="restart_closed",
            parent_workflow_id=run.workflow_id,
            parent_run_id=run.run_id,
            parent_sequence=event.sequence,
            headers={**headers, **event.headers} if event.headers else headers,
            run_timeout_ms=event.run_timeout_ms,
            execution_timeout_ms=event.execution_timeout_ms,
            retry=event.retry,
            parent_awaits_start=event.awaits_start,
            memo=event.memo,
            search=event.search,
            version=event.version or (run.header.version if event.workflow_type == run.header.workflow_type else 0),
        )
    )


def _cancel_child(
    found: Effects, run: WorkingRun, event: ChildCancelRequested | ChildStopRequested, shard: int
) -> None:
    reason = f"its parent {run.workflow_id} no longer waits for it"
    for child in run.dropped_children:
        found.commands.append(_stop(CancelWorkflow, run, child, reason, "cancel"))
    run.dropped_children = ()


def _tell_adopted(found: Effects, run: WorkingRun, event: ChildAdopted, shard: int) -> None:
    """Tell a child that another run of its parent waits for it, or start it again."""
    if event.restarts:
        _start_child(found, run, _scheduled(run, event.sequence), shard)
        return
    child = run.child(event.sequence)
    assert child is not None, "a child that is adopted is pending"
    found.commands.append(
        AdoptChild(
            workflow_id=child.workflow_id,
            run_id=child.run_id,
            parent_workflow_id=run.workflow_id,
            parent_run_id=run.run_id,
            parent_sequence=child.sequence,
            awaits_start=event.awaits_start,
            message_id=derived_id(run, child.sequence, "adopt"),
        )
    )


def _scheduled(run: WorkingRun, sequence: int) -> ChildScheduled:
    """The request of a child, in the run's history."""
    events = (event for decision in run.past(run.run_id) for event in decision.events)
    return next(event for event in events if isinstance(event, ChildScheduled) and event.sequence == sequence)


def _report_again(found: Effects, run: WorkingRun, event: ParentChanged, shard: int) -> None:
    """Report to the parent's other run what this run has come to."""
    if event.awaits_start:
        found.commands.append(_confirmation(run, run.header.parent_sequence))
    if run.header.status in CLOSED:
        report_to_parent(found, run)


def end_dropped(found: Effects, run: WorkingRun, *, adopted: int = 0) -> None:
    """Do with the children of a closed run what their `parent_close` says, but for those that another run adopts.

    `adopted`: those that were requested up to that number."""
    by_default = "terminate" if run.header.status in {TERMINATED, RESET} else "cancel"
    reason = f"its parent {run.workflow_id} has closed"
    for child in run.dropped_children:
        if child.sequence <= adopted:
            continue
        command = _STOPS[child.parent_close or by_default]
        if command is not None:
            found.commands.append(_stop(command, run, child, reason, "parent-closed"))
    run.dropped_children = ()


def _stop(
    command: type[CancelWorkflow | TerminateWorkflow], run: WorkingRun, child: ChildRow, reason: str, what: str
) -> CancelWorkflow | TerminateWorkflow:
    return command(
        workflow_id=child.workflow_id,
        reason=reason,
        run_id=child.run_id,
        message_id=derived_id(run, child.sequence, what),
    )


def confirm_to_parent(found: Effects, run: WorkingRun, event: WorkflowStarted, shard: int) -> None:
    """Report the start of a run to the run that started it, if that waits for it. A later run of a chain did not
    start then."""
    if not event.parent_awaits_start or event.previous_run_id:
        return
    found.commands.append(_confirmation(run, event.parent_sequence))


def _confirmation(run: WorkingRun, sequence: int) -> ConfirmChild:
    row = run.header
    return ConfirmChild(
        workflow_id=row.parent_workflow_id,
        run_id=row.parent_run_id,
        sequence=sequence,
        child_run_id=run.run_id,
        message_id=derived_id(run, 0, "started"),
    )


def report_to_parent(found: Effects, run: WorkingRun) -> None:
    """Report a closed run to the run that started it, if there is one."""
    row = run.header
    if not row.parent_workflow_id:
        return
    if schedule.is_scheduled(row.parent_workflow_id):
        failure = closing_failure(row)
        found.commands.append(schedule.report_of(row, run.workflow_id, failure.message if failure is not None else ""))
        return
    found.commands.append(
        ResolveChild(
            workflow_id=row.parent_workflow_id,
            run_id=row.parent_run_id,
            sequence=row.parent_sequence,
            child_workflow_id=run.workflow_id,
            child_run_id=row.run_id,
            status=row.status,
            result=row.result,
            failure=closing_failure(row),
            message_id=derived_id(run, 0, "closed"),
        )
    )


def rejected_start(command: StartWorkflow, rejection: Rejection) -> ResolveChild | ReportScheduled:
    """Report to the parent that its child did not start."""
    if schedule.is_scheduled(command.parent_workflow_id):
        return schedule.rejected_run(command, rejection)
    return _rejected(command, command.message_id, rejection)


def rejected_adoption(command: AdoptChild, rejection: Rejection) -> ResolveChild:
    """Report to the parent that nothing is known of its child any more."""
    return _rejected(command, command.run_id, rejection)


def _rejected(command: StartWorkflow | AdoptChild, child_run_id: str, rejection: Rejection) -> ResolveChild:
    return ResolveChild(
        workflow_id=command.parent_workflow_id,
        run_id=command.parent_run_id,
        sequence=command.parent_sequence,
        child_workflow_id=command.workflow_id,
        child_run_id=child_run_id,
        status="rejected",
        failure=Failure(type=rejection.reason, message=rejection.message),
        message_id=f"{command.message_id}-rejected",
    )


MACHINE = Machine(
    name="child",
    transitions=TRANSITIONS,
    inputs={ResolveChild: InputRule(_resolve), ConfirmChild: InputRule(_confirm), AdoptChild: InputRule(_adopt)},
    events={
        ChildScheduled: EventRule(
            evolve=_on_scheduled,
            effects=_start_child,
            is_request=True,
            subject=lambda event: f"{event.workflow_type} {event.workflow_id}",
            payload=lambda event: event.input,
            group=lambda event: event.workflow_type,
        ),
        ChildStarted: EventRule(
            evolve=_on_started, deliver=lambda code, event: code.child_started(event.sequence, event.child_run_id)
        ),
        ChildAdopted: EventRule(evolve=_on_adopted, effects=_tell_adopted),
        ParentChanged: EventRule(evolve=_on_parent_changed, effects=_report_again),
        ChildCompleted: EventRule(
            evolve=_on_ended, deliver=lambda code, event: code.resolve(event.sequence, event.result)
        ),
        ChildFailed: EventRule(
            evolve=_on_ended,
            deliver=lambda code, event: code.reject(event.sequence, ChildWorkflowFailed(failure=event.failure)),
        ),
        ChildCancelRequested: EventRule(evolve=_on_cancel_requested, effects=_cancel_child, is_request=True),
        ChildStopRequested: EventRule(evolve=_on_stop_requested, effects=_cancel_child, is_request=True),
    },
)
