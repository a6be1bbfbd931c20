"""What does an event change? The one writer of state, live and on replay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from penstock.engine.core.machines import activity, child, run, timer
from penstock.engine.core.rows import (
    ActivityRow,
    ChildRow,
    Listening,
    RunRow,
    TimerRow,
    awaiter_key,
    blocked_key,
    closed_key,
    due_key,
    message_key,
    pack,
    unpack_timer,
)
from penstock.engine.core.working import WorkingRun
from penstock.schemas.records import events as e


def evolve(working: WorkingRun, event: Any, now_ms: int) -> None:
    """Apply one event to the working copy. An event that its machine's table does not know is a broken invariant."""
    _APPLY[type(event)](working, event, now_ms)


def write_header(working: WorkingRun, numbered: int, listening: Listening | None) -> None:
    """Write the run's header after a decision of which `numbered` events stand in the history, and after which its code
    listens for this."""
    row = working.row
    if row is not None:
        row.next_number += numbered
        row.listening = listening
        working.writes[working.header_key] = pack(row)


def remember_message(
    writes: dict[bytes, bytes | None], now_ms: int, workflow_id: str, message_id: str, run_id: str
) -> None:
    """Keep that a message took effect, and in which run."""
    writes[message_key(now_ms, workflow_id, message_id)] = run_id.encode()


def _row(working: WorkingRun) -> RunRow:
    assert working.row is not None, f"an event of {working.workflow_id} came before its start"
    return working.row


def _started(working: WorkingRun, event: e.WorkflowStarted, now_ms: int) -> None:
    before = working.row.status if working.row is not None else run.ABSENT
    assert before not in run.OPEN, f"{working.workflow_id} was started while it ran"
    working.row = RunRow(
        workflow_id=working.workflow_id,
        run_id=working.run_id,
        workflow_type=event.workflow_type,
        version=event.version,
        status=run.TRANSITIONS[run.ABSENT, e.WorkflowStarted],
        next_number=1,
        started_ms=now_ms,
        parent_workflow_id=event.parent_workflow_id,
        parent_run_id=event.parent_run_id,
        parent_sequence=event.parent_sequence,
    )


def _closed(working: WorkingRun, event: Any, now_ms: int) -> None:
    row = _row(working)
    if row.status == run.BLOCKED:
        working.writes[blocked_key(working.workflow_id)] = None
    row.status = run.TRANSITIONS[row.status, type(event)]
    row.closed_ms = now_ms
    row.result = getattr(event, "result", b"")
    row.failure = getattr(event, "failure", None)
    row.reason = getattr(event, "reason", "")
    row.blocked_reason = row.blocked_message = ""
    working.writes[closed_key(now_ms, working.workflow_id, working.run_id)] = b""
    _drop_pending(working, row)


def _drop_pending(working: WorkingRun, row: RunRow) -> None:
    """Nothing of a closed run is pending any more."""
    if row.pending_activities:
        for pending in working.activities():
            working.drop_activity(pending.sequence)
            if pending.retry_ms:
                _put_due(working, pending.retry_ms, "r", pending.sequence, None)
    if row.pending_timers:
        for key, value in working.rows(b"t"):
            working.writes[key] = None
            waiting = unpack_timer(value)
            _put_due(working, waiting.due_ms, "t", waiting.sequence, None)
    if row.pending_children:
        for key, _ in working.rows(b"C"):
            working.writes[key] = None
    if row.awaiters:
        for key, _ in working.rows(b"W"):
            working.writes[key] = None
    row.pending_activities = row.pending_timers = row.pending_children = row.awaiters = 0


def _blocked(working: WorkingRun, event: e.WorkflowBlocked, now_ms: int) -> None:
    row = _row(working)
    row.status = run.TRANSITIONS[row.status, e.WorkflowBlocked]
    row.blocked_reason, row.blocked_message = event.reason, event.message
    working.writes[blocked_key(working.workflow_id)] = event.reason.encode()


def _unblocked(working: WorkingRun, event: e.WorkflowUnblocked, now_ms: int) -> None:
    row = _row(working)
    row.status = run.TRANSITIONS[row.status, e.WorkflowUnblocked]
    row.blocked_reason = row.blocked_message = ""
    working.writes[blocked_key(working.workflow_id)] = None


def _cancel_requested(working: WorkingRun, event: e.CancelRequested, now_ms: int) -> None:
    _row(working).cancel_requested = True


def _put_due(working: WorkingRun, due_ms: int, kind: str, sequence: int, value: bytes | None) -> None:
    working.writes[due_key(due_ms, kind, working.workflow_id, working.run_id, sequence)] = value
    if value is not None:
        working.due_ms = min(working.due_ms, due_ms)


def _pending_activity(working: WorkingRun, event: Any) -> ActivityRow:
    pending = working.activity(event.sequence)
    assert pending is not None, (
        f"{type(event).__name__} of {working.workflow_id}: activity {event.sequence} is not pending"
    )
    before = activity.WAITING if pending.retry_ms else activity.WITH_WORKERS
    assert (before, type(event)) in activity.TRANSITIONS, f"{type(event).__name__} came while the activity was {before}"
    return pending


def _activity_scheduled(working: WorkingRun, event: e.ActivityScheduled, now_ms: int) -> None:
    assert (activity.ABSENT, e.ActivityScheduled) in activity.TRANSITIONS
    assert working.row is not None
    working.row.pending_activities += 1
    working.put_activity(
        ActivityRow(
            sequence=event.sequence,
            attempt=1,
            activity=event.activity,
            input=event.input,
            queue=event.queue,
            timeout_ms=event.timeout_ms,
            retry=event.retry,
            scheduled_ms=now_ms,
        )
    )


def _activity_attempt_failed(working: WorkingRun, event: e.ActivityAttemptFailed, now_ms: int) -> None:
    pending = _pending_activity(working, event)
    waiting = msgspec.structs.replace(pending, retry_ms=event.retry_ms, failure=event.failure)
    working.put_activity(waiting)
    _put_due(working, event.retry_ms, "r", event.sequence, b"")


def _activity_retried(working: WorkingRun, event: e.ActivityRetried, now_ms: int) -> None:
    pending = _pending_activity(working, event)
    again = msgspec.structs.replace(pending, retry_ms=0, attempt=event.attempt)
    working.put_activity(again)
    _put_due(working, pending.retry_ms, "r", event.sequence, None)


def _activity_ended(working: WorkingRun, event: Any, now_ms: int) -> None:
    pending = _pending_activity(working, event)
    assert working.row is not None
    working.row.pending_activities -= 1
    working.drop_activity(event.sequence)
    if pending.retry_ms:
        _put_due(working, pending.retry_ms, "r", event.sequence, None)


def _timer_started(working: WorkingRun, event: e.TimerStarted, now_ms: int) -> None:
    assert (timer.ABSENT, e.TimerStarted) in timer.TRANSITIONS
    _row(working).pending_timers += 1
    working.writes[working.key(b"t", event.sequence)] = pack(TimerRow(sequence=event.sequence, due_ms=event.due_ms))
    _put_due(working, event.due_ms, "t", event.sequence, b"")


def _timer_ended(working: WorkingRun, event: Any, now_ms: int) -> None:
    waiting = working.timer(event.sequence)
    assert waiting is not None and (timer.PENDING, type(event)) in timer.TRANSITIONS, (
        f"{type(event).__name__} of {working.workflow_id}: timer {event.sequence} is not pending"
    )
    _row(working).pending_timers -= 1
    working.writes[working.key(b"t", event.sequence)] = None
    _put_due(working, waiting.due_ms, "t", event.sequence, None)


def _child_scheduled(working: WorkingRun, event: e.ChildScheduled, now_ms: int) -> None:
    assert (child.ABSENT, e.ChildScheduled) in child.TRANSITIONS
    _row(working).pending_children += 1
    working.writes[working.key(b"C", event.sequence)] = pack(
        ChildRow(sequence=event.sequence, workflow_type=event.workflow_type, workflow_id=event.workflow_id)
    )


def _child_ended(working: WorkingRun, event: Any, now_ms: int) -> None:
    assert working.child(event.sequence) is not None and (child.PENDING, type(event)) in child.TRANSITIONS, (
        f"{type(event).__name__} of {working.workflow_id}: child {event.sequence} is not pending"
    )
    _row(working).pending_children -= 1
    working.writes[working.key(b"C", event.sequence)] = None


def _awaited(working: WorkingRun, event: e.ResultAwaited, now_ms: int) -> None:
    _row(working).awaiters += 1
    working.writes[awaiter_key(working.workflow_id, working.run_id, event.message_id)] = str(event.reply_to).encode()


def _nothing(working: WorkingRun, event: Any, now_ms: int) -> None:
    """History alone keeps it."""


_APPLY: dict[type, Callable[[WorkingRun, Any, int], None]] = {
    e.WorkflowStarted: _started,
    e.WorkflowCompleted: _closed,
    e.WorkflowFailed: _closed,
    e.WorkflowCancelled: _closed,
    e.WorkflowTerminated: _closed,
    e.WorkflowBlocked: _blocked,
    e.WorkflowUnblocked: _unblocked,
    e.CancelRequested: _cancel_requested,
    e.ActivityScheduled: _activity_scheduled,
    e.ActivityAttemptFailed: _activity_attempt_failed,
    e.ActivityRetried: _activity_retried,
    e.ActivityCompleted: _activity_ended,
    e.ActivityFailed: _activity_ended,
    e.ActivityCancelled: _activity_ended,
    e.TimerStarted: _timer_started,
    e.TimerFired: _timer_ended,
    e.TimerCancelled: _timer_ended,
    e.ChildScheduled: _child_scheduled,
    e.ChildCompleted: _child_ended,
    e.ChildFailed: _child_ended,
    e.ChildCancelRequested: _child_ended,
    e.SignalReceived: _nothing,
    e.SideEffectRecorded: _nothing,
    e.PatchMarked: _nothing,
    e.ExternalSignalSent: _nothing,
    e.ExternalCancelRequested: _nothing,
    e.InputIgnored: _nothing,
    e.ResultAwaited: _awaited,
}
