"""Activities of a run: scheduled, retried, and ended by a worker's result or by the code that gives up waiting."""

from __future__ import annotations

import msgspec

from penstock.engine.core.activation import activated
from penstock.engine.core.answers import ignored
from penstock.engine.core.decision import Decision, RetryActivity
from penstock.engine.core.keys import RETRY_DUE
from penstock.engine.core.machine import Cause, Effects, EventRule, InputRule, Machine, Table, advance
from penstock.engine.core.retry import retry_delay_ms
from penstock.engine.core.rows import ActivityRow
from penstock.engine.core.statuses import CLOSED
from penstock.engine.core.view import RunView
from penstock.engine.core.working import WorkingRun
from penstock.schemas.errors import ActivityFailedError
from penstock.schemas.records.activity import (
    ActivityAttemptFailed,
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityRetried,
    ActivityScheduled,
    ActivityStopRequested,
)
from penstock.schemas.records.tasks import ActivityTask, Result, TaskCompleted, TaskFailed
from penstock.schemas.values.failure import bounded

ABSENT, WITH_WORKERS, WAITING, STOPPING = "absent", "with_workers", "waiting", "stopping"
COMPLETED, FAILED, CANCELLED = "completed", "failed", "cancelled"

TRANSITIONS: Table = {
    (ABSENT, ActivityScheduled): WITH_WORKERS,
    (WITH_WORKERS, ActivityCompleted): COMPLETED,
    (WITH_WORKERS, ActivityAttemptFailed): WAITING,
    (WITH_WORKERS, ActivityFailed): FAILED,
    (WITH_WORKERS, ActivityCancelled): CANCELLED,
    (WAITING, ActivityRetried): WITH_WORKERS,
    (WAITING, ActivityCancelled): CANCELLED,
    (WITH_WORKERS, ActivityStopRequested): STOPPING,
    (WAITING, ActivityStopRequested): STOPPING,
    (STOPPING, ActivityCompleted): COMPLETED,
    (STOPPING, ActivityFailed): FAILED,
}


def state_of(pending: ActivityRow | None) -> str:
    """The state that a row stands for."""
    if pending is None:
        return ABSENT
    if pending.stopping:
        return STOPPING
    return WAITING if pending.retry_ms else WITH_WORKERS


# Decide.


def _completed(run: RunView, result: TaskCompleted, now_ms: int) -> Decision:
    row, late = run.row, _lateness(run, result)
    if late or row is None:
        return ignored(result.run_id, late)
    completed = ActivityCompleted(
        sequence=result.sequence, attempt=result.attempt, result=result.result, worker=result.worker
    )
    return Decision(run_id=row.run_id, events=activated(run, row, [completed], now_ms))


def _failed(run: RunView, result: TaskFailed, now_ms: int) -> Decision:
    row, late = run.row, _lateness(run, result)
    if late or row is None:
        return ignored(result.run_id, late)
    pending = run.activity(result.sequence)
    assert pending is not None, "a result is late if its activity is not pending"
    failure = bounded(result.failure)
    delay_ms = None if pending.stopping else retry_delay_ms(pending.retry, failure, result.attempt)
    if delay_ms is not None:
        waiting = ActivityAttemptFailed(
            sequence=result.sequence,
            attempt=result.attempt,
            failure=failure,
            retry_ms=now_ms + max(delay_ms, 1),
        )
        return Decision(run_id=row.run_id, events=[waiting])
    failure = msgspec.structs.replace(failure, attempts=result.attempt)
    failed = ActivityFailed(sequence=result.sequence, attempt=result.attempt, failure=failure)
    return Decision(run_id=row.run_id, events=activated(run, row, [failed], now_ms))


def _lateness(run: RunView, result: Result) -> str:
    """Why a result has no effect, empty if it has one: it counts once for (run, activity, attempt)."""
    row = run.row
    if row is None or row.run_id != result.run_id or row.status in CLOSED:
        return "its run has closed"
    pending = run.activity(result.sequence)
    if pending is None:
        return "its activity has ended"
    if pending.attempt != result.attempt or pending.retry_ms:
        return "its attempt is over"
    return ""


def _retry(run: RunView, due: RetryActivity, now_ms: int) -> Decision:
    row = run.row
    pending = run.activity(due.sequence) if row is not None and row.run_id == due.run_id else None
    if row is None or row.status in CLOSED or pending is None or not pending.retry_ms:
        return ignored(due.run_id, "its activity has ended")
    if pending.stopping:
        assert pending.failure is not None, "an attempt that is due was preceded by one that failed"
        failure = msgspec.structs.replace(pending.failure, attempts=pending.attempt)
        failed = ActivityFailed(sequence=due.sequence, attempt=pending.attempt, failure=failure)
        return Decision(run_id=row.run_id, events=activated(run, row, [failed], now_ms))
    return Decision(run_id=row.run_id, events=[ActivityRetried(sequence=due.sequence, attempt=pending.attempt + 1)])


# Evolve.


def _on_scheduled(run: WorkingRun, event: ActivityScheduled, cause: Cause) -> None:
    advance(TRANSITIONS, ABSENT, event, run.workflow_id)
    run.add_activity(
        ActivityRow(
            sequence=event.sequence,
            attempt=1,
            activity=event.activity,
            input=event.input,
            queue=event.queue,
            timeout_ms=event.timeout_ms,
            retry=event.retry,
            scheduled_ms=cause.now_ms,
            headers=event.headers,
        )
    )


def _on_attempt_failed(run: WorkingRun, event: ActivityAttemptFailed, cause: Cause) -> None:
    pending = _pending(run, event)
    run.put_activity(msgspec.structs.replace(pending, retry_ms=event.retry_ms, failure=event.failure))
    run.put_due(event.retry_ms, RETRY_DUE, event.sequence)


def _on_retried(run: WorkingRun, event: ActivityRetried, cause: Cause) -> None:
    pending = _pending(run, event)
    run.put_activity(msgspec.structs.replace(pending, retry_ms=0, attempt=event.attempt))
    run.drop_due(pending.retry_ms, RETRY_DUE, event.sequence)


def _on_stop_requested(run: WorkingRun, event: ActivityStopRequested, cause: Cause) -> None:
    """No attempt follows. One that waits for its time is replaced by the activity's end, in the next transaction."""
    pending = _pending(run, event)
    retry_ms = cause.now_ms + 1 if pending.retry_ms else 0
    run.put_activity(msgspec.structs.replace(pending, stopping=True, retry_ms=retry_ms))
    if retry_ms:
        run.drop_due(pending.retry_ms, RETRY_DUE, event.sequence)
        run.put_due(retry_ms, RETRY_DUE, event.sequence)


def _on_ended(run: WorkingRun, event: ActivityCompleted | ActivityFailed | ActivityCancelled, cause: Cause) -> None:
    drop(run, _pending(run, event))


def _pending(
    run: WorkingRun,
    event: ActivityAttemptFailed
    | ActivityRetried
    | ActivityCompleted
    | ActivityFailed
    | ActivityCancelled
    | ActivityStopRequested,
) -> ActivityRow:
    pending = run.activity(event.sequence)
    advance(TRANSITIONS, state_of(pending), event, run.workflow_id)
    assert pending is not None, "the table allows these events for pending activities alone"
    return pending


def drop(run: WorkingRun, pending: ActivityRow) -> None:
    """Remove a pending activity and its next attempt."""
    run.drop_activity(pending.sequence)
    if pending.retry_ms:
        run.drop_due(pending.retry_ms, RETRY_DUE, pending.sequence)


# Effects.


def _send_first(found: Effects, run: WorkingRun, event: ActivityScheduled, shard: int) -> None:
    found.tasks.append(_task(run, event, 1, shard))


def _send_again(found: Effects, run: WorkingRun, event: ActivityRetried, shard: int) -> None:
    pending = run.activity(event.sequence)
    assert pending is not None, "an activity that is tried again is pending"
    found.tasks.append(_task(run, pending, event.attempt, shard))


def _task(run: WorkingRun, activity: ActivityScheduled | ActivityRow, attempt: int, shard: int) -> ActivityTask:
    row, headers = run.row, activity.headers
    assert row is not None, "an activity belongs to a run"
    return ActivityTask(
        workflow_id=run.workflow_id,
        run_id=run.run_id,
        sequence=activity.sequence,
        attempt=attempt,
        activity=activity.activity,
        input=activity.input,
        queue=activity.queue,
        shard=shard,
        timeout_ms=activity.timeout_ms,
        workflow_type=row.workflow_type,
        seed=row.seed,
        headers={**row.headers, **headers} if headers else row.headers,
        suspect=attempt > 1 and _ended_its_worker(activity),
    )


def _ended_its_worker(activity: ActivityScheduled | ActivityRow) -> bool:
    failure = activity.failure if isinstance(activity, ActivityRow) else None
    return failure is not None and failure.kind == "worker_died"


MACHINE = Machine(
    name="activity",
    transitions=TRANSITIONS,
    inputs={
        TaskCompleted: InputRule(_completed),
        TaskFailed: InputRule(_failed),
        RetryActivity: InputRule(_retry),
    },
    events={
        ActivityScheduled: EventRule(
            evolve=_on_scheduled,
            effects=_send_first,
            is_request=True,
            subject=lambda event: event.activity,
            payload=lambda event: event.input,
        ),
        ActivityAttemptFailed: EventRule(evolve=_on_attempt_failed),
        ActivityRetried: EventRule(evolve=_on_retried, effects=_send_again),
        ActivityCompleted: EventRule(
            evolve=_on_ended, deliver=lambda code, event: code.resolve(event.sequence, event.result)
        ),
        ActivityFailed: EventRule(
            evolve=_on_ended,
            deliver=lambda code, event: code.reject(event.sequence, ActivityFailedError(failure=event.failure)),
        ),
        ActivityCancelled: EventRule(evolve=_on_ended, is_request=True),
        ActivityStopRequested: EventRule(evolve=_on_stop_requested, is_request=True),
    },
)
