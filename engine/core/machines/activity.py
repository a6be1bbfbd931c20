"""Activities of a run: scheduled, retried, and ended by a worker's result, their time, or the code that gives up."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.engine.core.activation import activated
from penstock.engine.core.answers import accepted, ignored, kept_text, open_row, rejected
from penstock.engine.core.decision import Decision, Rejection, RetryActivity, TimeOutActivity
from penstock.engine.core.keys import RETRY_DUE
from penstock.engine.core.machine import Cause, Effects, EventRule, InputRule, Machine, Table, advance
from penstock.engine.core.machines import attempt
from penstock.engine.core.messages import SKIP, remember_cause
from penstock.engine.core.rows import ActivityRow, RunRow
from penstock.engine.core.statuses import CLOSED, PAUSED
from penstock.engine.core.view import RunView
from penstock.engine.core.working import WorkingRun
from penstock.schemas.class_names import class_name
from penstock.schemas.errors import ActivityError, ActivityFailedError
from penstock.schemas.failure import Failure
from penstock.schemas.records.activity import (
    ActivityAdopted,
    ActivityAttemptFailed,
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityHeartbeat,
    ActivityRetried,
    ActivityScheduled,
    ActivitySkipped,
    ActivityStarted,
    ActivityStopRequested,
    CompleteActivity,
    FailActivity,
    HeartbeatActivity,
    SkipActivity,
)
from penstock.schemas.records.tasks import (
    ActivityTask,
    AttemptsCancelled,
    Report,
    Result,
    TaskCompleted,
    TaskFailed,
    TaskHeartbeat,
    TaskStarted,
)
from penstock.schemas.values.bounds import HEARTBEAT_BYTES_MAX
from penstock.schemas.values.failure import bounded
from penstock.schemas.values.payload import PAYLOAD_BYTES_MAX

ABSENT, WITH_WORKERS, WAITING, STOPPING = "absent", "with_workers", "waiting", "stopping"
COMPLETED, FAILED, CANCELLED = "completed", "failed", "cancelled"

OUTSIDE = "outside"
"""In place of a worker's name, where an attempt was completed by its token."""

TRANSITIONS: Table = {
    (ABSENT, ActivityScheduled): WITH_WORKERS,
    (WITH_WORKERS, ActivityCompleted): COMPLETED,
    (WITH_WORKERS, ActivityAttemptFailed): WAITING,
    (WITH_WORKERS, ActivityFailed): FAILED,
    (WITH_WORKERS, ActivityCancelled): CANCELLED,
    (WITH_WORKERS, ActivityStarted): WITH_WORKERS,
    (WITH_WORKERS, ActivityHeartbeat): WITH_WORKERS,
    (WAITING, ActivityRetried): WITH_WORKERS,
    (WAITING, ActivityCancelled): CANCELLED,
    (WAITING, ActivityCompleted): COMPLETED,
    (WAITING, ActivityFailed): FAILED,
    (WITH_WORKERS, ActivityStopRequested): STOPPING,
    (WAITING, ActivityStopRequested): STOPPING,
    (STOPPING, ActivityCompleted): COMPLETED,
    (STOPPING, ActivityFailed): FAILED,
    (STOPPING, ActivityStarted): STOPPING,
    (STOPPING, ActivityHeartbeat): STOPPING,
    (WITH_WORKERS, ActivitySkipped): COMPLETED,
    (WAITING, ActivitySkipped): COMPLETED,
    (STOPPING, ActivitySkipped): COMPLETED,
    (WITH_WORKERS, ActivityAdopted): WITH_WORKERS,
    (WAITING, ActivityAdopted): WITH_WORKERS,
    (STOPPING, ActivityAdopted): STOPPING,
}
"""ActivityAdopted with a `retry_ms` leads to `waiting` instead of `with_workers`. What a later attempt came to ends an
activity that waits in a run that was reset to before it."""


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
    details = result.details if len(result.details) <= HEARTBEAT_BYTES_MAX else b""
    after_ms = attempt.retry_after_ms(result)
    return _attempt_failed(run, row, pending, bounded(result.failure), now_ms, details=details, retry_after_ms=after_ms)


def _attempt_failed(
    run: RunView,
    row: RunRow,
    pending: ActivityRow,
    failure: Failure,
    now_ms: int,
    *,
    details: bytes = b"",
    retry_after_ms: int = 0,
) -> Decision:
    """What the failure of the present attempt causes: another attempt, or the activity's end."""
    retry_ms = attempt.next_attempt_ms(pending, failure, row.seed, now_ms, retry_after_ms)
    if not retry_ms:
        return _activity_failed(run, row, pending, failure, now_ms)
    waiting = ActivityAttemptFailed(
        sequence=pending.sequence, attempt=pending.attempt, failure=failure, retry_ms=retry_ms, details=details
    )
    return Decision(run_id=row.run_id, events=[waiting])


def _activity_failed(run: RunView, row: RunRow, pending: ActivityRow, failure: Failure, now_ms: int) -> Decision:
    failure = msgspec.structs.replace(failure, attempts=pending.attempt)
    failed = ActivityFailed(sequence=pending.sequence, attempt=pending.attempt, failure=failure)
    return Decision(run_id=row.run_id, events=activated(run, row, [failed], now_ms))


def _started(run: RunView, report: TaskStarted, now_ms: int) -> Decision:
    late = _lateness(run, report)
    if late:
        return ignored(report.run_id, late)
    started = ActivityStarted(
        sequence=report.sequence, attempt=report.attempt, worker=report.worker, outside=report.outside
    )
    return Decision(run_id=_run_id(run), events=[started], unnumbered=True)


def _heartbeat(run: RunView, report: TaskHeartbeat, now_ms: int) -> Decision:
    late = _lateness(run, report)
    if late:
        return ignored(report.run_id, late)
    if len(report.details) > HEARTBEAT_BYTES_MAX:
        return ignored(report.run_id, f"its details take more than {HEARTBEAT_BYTES_MAX:,} bytes")
    beat = ActivityHeartbeat(sequence=report.sequence, attempt=report.attempt, details=report.details)
    return Decision(run_id=_run_id(run), events=[beat], unnumbered=True)


def _run_id(run: RunView) -> str:
    """Id of the run that a report concerns: it may name one from which the run took the activity over."""
    assert run.row is not None, "a report is late if there is no run"
    return run.row.run_id


def _time_out(run: RunView, due: TimeOutActivity, now_ms: int) -> Decision:
    row = run.row
    pending = run.activity(due.sequence) if row is not None and row.run_id == due.run_id else None
    if row is None or row.status in CLOSED or pending is None:
        return ignored(due.run_id, "its activity has ended")
    deadline = attempt.deadline_of(pending)
    assert deadline.at_ms <= now_ms, "the entry of the due index moves with the activity's deadline"
    failure = attempt.timed_out(pending, deadline.option)
    if attempt.ends_activity(deadline.option):
        return _activity_failed(run, row, pending, failure, now_ms)
    return _attempt_failed(run, row, pending, failure, now_ms)


def _lateness(run: RunView, result: Result | Report) -> str:
    """Why a result has no effect, empty if it has one: it counts once for (run, activity, attempt)."""
    row = run.row
    if row is None or row.status in CLOSED:
        return "its run has closed"
    pending = run.activity(result.sequence)
    if row.run_id != result.run_id and (pending is None or pending.run_id != result.run_id):
        return "its run has closed"
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
        return _activity_failed(run, row, pending, pending.failure, now_ms)
    return Decision(run_id=row.run_id, events=[ActivityRetried(sequence=due.sequence, attempt=pending.attempt + 1)])


def _complete(run: RunView, command: CompleteActivity, now_ms: int) -> Decision:
    found = _from_outside(run, command)
    if isinstance(found, Decision):
        return found
    row, pending = found
    problem = _problem_of_result(command.result)
    if problem:
        return rejected(Rejection("bad_input", problem, row.run_id))
    completed = ActivityCompleted(
        sequence=pending.sequence, attempt=pending.attempt, result=command.result or b"null", worker=OUTSIDE
    )
    return accepted(run, command, activated(run, row, [completed], now_ms))


def _fail(run: RunView, command: FailActivity, now_ms: int) -> Decision:
    found = _from_outside(run, command)
    if isinstance(found, Decision):
        return found
    row, pending = found
    failure = Failure(
        type=command.type or class_name(ActivityError),
        message=command.message,
        non_retryable=command.non_retryable,
        attempts=pending.attempt,
    )
    after_ms = max(command.retry_after_ms, 0)
    failed = _attempt_failed(run, row, pending, bounded(failure), now_ms, retry_after_ms=after_ms)
    return accepted(run, command, failed.events)


def _beat(run: RunView, command: HeartbeatActivity, now_ms: int) -> Decision:
    found = _from_outside(run, command)
    if isinstance(found, Decision):
        return found
    row, pending = found
    problem = ""
    if len(command.details) > HEARTBEAT_BYTES_MAX:
        problem = f"The details take {len(command.details):,} bytes; at most {HEARTBEAT_BYTES_MAX:,} are allowed."
    elif command.details:
        problem = _problem_of_json(command.details, "The details are")
    if problem:
        return rejected(Rejection("bad_input", problem, row.run_id))
    if pending.stopping:
        message = f"{run.workflow_id} gave up activity {pending.activity}, and waits until it has ended."
        return rejected(Rejection("not_pending", message, row.run_id))
    beat = ActivityHeartbeat(sequence=pending.sequence, attempt=pending.attempt, details=command.details)
    return msgspec.structs.replace(accepted(run, command, [beat]), unnumbered=True)


def _from_outside(
    run: RunView, command: CompleteActivity | FailActivity | HeartbeatActivity
) -> tuple[RunRow, ActivityRow] | Decision:
    """The run and the activity whose present attempt is meant; else a refusal.

    An attempt is one of a single run: another run of its chain has activities of its own."""
    row = open_row(run, "" if command.attempt else command.run_id, keep=True)
    if isinstance(row, Decision):
        return row
    pending = run.activity(command.sequence)
    if pending is None or (command.attempt and command.run_id not in {"", row.run_id}):
        message = f"{run.workflow_id} no longer waits for activity {command.sequence}: it has ended, or its run has."
        return rejected(Rejection("not_pending", message, row.run_id))
    if command.attempt not in {0, pending.attempt} or pending.retry_ms:
        over = command.attempt or pending.attempt
        message = (
            f"Attempt {over} of activity {pending.activity} of {run.workflow_id} is over, and another one follows."
        )
        return rejected(Rejection("not_pending", message, row.run_id))
    return row, pending


def _skip(run: RunView, command: SkipActivity, now_ms: int) -> Decision:
    row = open_row(run, command.run_id, keep=False)
    if isinstance(row, Decision):
        return row
    problem = _problem_of_skip(run, command)
    if problem:
        return rejected(Rejection("bad_input", problem, row.run_id, keep=False))
    skipped = ActivitySkipped(
        sequence=command.sequence,
        result=command.result or b"null",
        by=kept_text(command.by),
        reason=kept_text(command.reason),
    )
    return accepted(run, command, activated(run, row, [skipped], now_ms))


def _problem_of_skip(run: RunView, command: SkipActivity) -> str:
    """Why an activity cannot be given this result; empty if it can."""
    return (
        unknown(run, command.sequence) if run.activity(command.sequence) is None else _problem_of_result(command.result)
    )


def unknown(run: RunView, sequence: int) -> str:
    """The refusal of a command about an activity that the run does not wait for."""
    return (
        f"{run.workflow_id} waits for no activity with the number {sequence}; its description lists those that it "
        "waits for."
    )


def _problem_of_result(result: bytes) -> str:
    """Why an activity cannot have this result; empty if it can."""
    if len(result) > PAYLOAD_BYTES_MAX:
        return f"The result takes {len(result):,} bytes; at most {PAYLOAD_BYTES_MAX:,} are allowed."
    return _problem_of_json(result or b"null", "The result is")


def _problem_of_json(data: bytes, what: str) -> str:
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return f"{what} not valid JSON: {error}."
    return ""


# Evolve.


def _on_scheduled(run: WorkingRun, event: ActivityScheduled, cause: Cause) -> None:
    advance(TRANSITIONS, ABSENT, event, run.workflow_id)
    run.header.pending_activities += 1
    attempt.put(
        run,
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
            watch=attempt.watched(event.bounds, cause.now_ms),
        ),
    )


def _on_attempt_failed(run: WorkingRun, event: ActivityAttemptFailed, cause: Cause) -> None:
    pending = _pending(run, event)
    attempt.cancel_if_timed_out(run, pending, cause.now_ms)
    attempt.put(run, attempt.waiting(pending, event.retry_ms, event.failure, event.details))
    if run.header.status != PAUSED:
        run.put_due(event.retry_ms, RETRY_DUE, event.sequence)


def _on_retried(run: WorkingRun, event: ActivityRetried, cause: Cause) -> None:
    pending = _pending(run, event)
    attempt.put(run, attempt.queued(pending, event.attempt, cause.now_ms))
    run.drop_due(pending.retry_ms, RETRY_DUE, event.sequence)


def _on_attempt_started(run: WorkingRun, event: ActivityStarted, cause: Cause) -> None:
    pending = _pending(run, event)
    attempt.put(run, attempt.begun(pending, cause.now_ms, event.worker, outside=event.outside))


def _on_heartbeat(run: WorkingRun, event: ActivityHeartbeat, cause: Cause) -> None:
    attempt.put(run, attempt.beaten(_pending(run, event), cause.now_ms, event.details))


def _on_stop_requested(run: WorkingRun, event: ActivityStopRequested, cause: Cause) -> None:
    """No attempt follows. One that waits for its time is replaced by the activity's end, in the next transaction."""
    pending = _pending(run, event)
    attempt.cancel(run, pending, awaited=True)
    retry_ms = cause.now_ms + 1 if pending.retry_ms else 0
    attempt.put(run, msgspec.structs.replace(pending, stopping=True, retry_ms=retry_ms))
    if retry_ms:
        run.drop_due(pending.retry_ms, RETRY_DUE, event.sequence)
        run.put_due(retry_ms, RETRY_DUE, event.sequence)


def _on_completed(run: WorkingRun, event: ActivityCompleted, cause: Cause) -> None:
    _drop(run, _pending(run, event))


def _on_failed(run: WorkingRun, event: ActivityFailed, cause: Cause) -> None:
    pending = _pending(run, event)
    attempt.cancel_if_timed_out(run, pending, cause.now_ms)
    _drop(run, pending)


def _on_cancelled(run: WorkingRun, event: ActivityCancelled, cause: Cause) -> None:
    pending = _pending(run, event)
    attempt.cancel(run, pending)
    _drop(run, pending)


def _on_skipped(run: WorkingRun, event: ActivitySkipped, cause: Cause) -> None:
    pending = _pending(run, event)
    attempt.cancel(run, pending)
    _drop(run, pending)
    remember_cause(run, cause, SKIP)


def _on_adopted(run: WorkingRun, event: ActivityAdopted, cause: Cause) -> None:
    pending = _pending(run, event)
    if pending.retry_ms:
        run.drop_due(pending.retry_ms, RETRY_DUE, event.sequence)
    attempt.put(run, attempt.adopted(pending, event, cause.now_ms))
    if event.retry_ms:
        run.put_due(event.retry_ms, RETRY_DUE, event.sequence)


def _pending(
    run: WorkingRun,
    event: ActivityAttemptFailed
    | ActivityRetried
    | ActivityCompleted
    | ActivityFailed
    | ActivityCancelled
    | ActivityStopRequested
    | ActivityStarted
    | ActivityHeartbeat
    | ActivitySkipped
    | ActivityAdopted,
) -> ActivityRow:
    pending = run.activity(event.sequence)
    advance(TRANSITIONS, state_of(pending), event, run.workflow_id)
    assert pending is not None, "the table allows these events for pending activities alone"
    return pending


def drop_all(run: WorkingRun) -> None:
    """Remove all pending activities of a run that closes, and cancel their attempts."""
    found = run.activities()
    for pending in found:
        _drop(run, pending)
        if pending.run_id:
            attempt.cancel(run, pending)
    if any(attempt.is_with_worker(pending) and not pending.run_id for pending in found):
        run.cancelled = (*run.cancelled, AttemptsCancelled(workflow_id=run.workflow_id, run_id=run.run_id))


def hand_over(run: WorkingRun, last_sequence: int) -> None:
    """Remove all pending activities of a run for which another one goes on, which takes over those up to that number;
    cancel the attempts of the others."""
    for pending in run.activities():
        _drop(run, pending)
        if pending.sequence > last_sequence:
            attempt.cancel(run, pending)


def _drop(run: WorkingRun, pending: ActivityRow) -> None:
    run.drop_activity(pending.sequence)
    attempt.drop_due(run, pending)
    if pending.retry_ms:
        run.drop_due(pending.retry_ms, RETRY_DUE, pending.sequence)


def hold_attempts(run: WorkingRun) -> None:
    """Let no attempt begin from now on: the run is paused. For evolve functions."""
    for pending in run.activities():
        if pending.retry_ms:
            run.drop_due(pending.retry_ms, RETRY_DUE, pending.sequence)


def release_attempts(run: WorkingRun) -> None:
    """Let attempts begin again, those at once whose time has come. For evolve functions."""
    for pending in run.activities():
        if pending.retry_ms:
            run.put_due(pending.retry_ms, RETRY_DUE, pending.sequence)


# Effects.


def _send_first(found: Effects, run: WorkingRun, event: ActivityScheduled, shard: int) -> None:
    found.tasks.append(_task(run, event, 1, shard, run.header.seed))


def _send_again(found: Effects, run: WorkingRun, event: ActivityRetried, shard: int) -> None:
    pending = run.activity(event.sequence)
    assert pending is not None, "an activity that is tried again is pending"
    found.tasks.append(_task(run, pending, event.attempt, shard, pending.seed or run.header.seed))


def tell_workers(found: Effects, run: WorkingRun, event: Any, shard: int) -> None:
    """Send what an event cancelled to the workers."""
    if run.cancelled:
        found.cancelled += run.cancelled
        run.cancelled = ()


def _task(
    run: WorkingRun, activity: ActivityScheduled | ActivityRow, number: int, shard: int, seed: str
) -> ActivityTask:
    row, headers = run.row, activity.headers
    assert row is not None, "an activity belongs to a run"
    watched = _watched(run, activity)
    watch = watched.watch if watched is not None else None
    return ActivityTask(
        workflow_id=run.workflow_id,
        run_id=run.run_id,
        sequence=activity.sequence,
        attempt=number,
        activity=activity.activity,
        input=activity.input,
        queue=activity.queue,
        shard=shard,
        timeout_ms=activity.timeout_ms,
        workflow_type=row.workflow_type,
        seed=seed,
        headers={**row.headers, **headers} if headers else row.headers,
        suspect=number > 1 and _ended_its_worker(activity),
        bounds=watch.bounds if watch is not None else None,
        details=watch.details if watch is not None else b"",
        close_by_ms=attempt.close_by_ms(watched) if watched is not None else 0,
    )


def _watched(run: WorkingRun, activity: ActivityScheduled | ActivityRow) -> ActivityRow | None:
    """The row of an activity that reports more than its end. Of other activities none is read."""
    if isinstance(activity, ActivityRow):
        return activity if activity.watch is not None else None
    return run.activity(activity.sequence) if activity.bounds is not None else None


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
        TaskStarted: InputRule(_started),
        TaskHeartbeat: InputRule(_heartbeat),
        TimeOutActivity: InputRule(_time_out),
        SkipActivity: InputRule(_skip, deduplicates=True),
        CompleteActivity: InputRule(_complete),
        FailActivity: InputRule(_fail),
        HeartbeatActivity: InputRule(_beat),
    },
    events={
        ActivityScheduled: EventRule(
            evolve=_on_scheduled,
            effects=_send_first,
            is_request=True,
            subject=lambda event: event.activity,
            payload=lambda event: event.input,
        ),
        ActivityAttemptFailed: EventRule(evolve=_on_attempt_failed, effects=tell_workers),
        ActivityRetried: EventRule(evolve=_on_retried, effects=_send_again),
        ActivityStarted: EventRule(evolve=_on_attempt_started),
        ActivityHeartbeat: EventRule(evolve=_on_heartbeat),
        ActivityCompleted: EventRule(
            evolve=_on_completed, deliver=lambda code, event: code.resolve(event.sequence, event.result)
        ),
        ActivityFailed: EventRule(
            evolve=_on_failed,
            effects=tell_workers,
            deliver=lambda code, event: code.reject(event.sequence, ActivityFailedError(failure=event.failure)),
        ),
        ActivitySkipped: EventRule(
            evolve=_on_skipped,
            effects=tell_workers,
            deliver=lambda code, event: code.resolve(event.sequence, event.result),
        ),
        ActivityAdopted: EventRule(evolve=_on_adopted),
        ActivityCancelled: EventRule(evolve=_on_cancelled, effects=tell_workers, is_request=True),
        ActivityStopRequested: EventRule(evolve=_on_stop_requested, effects=tell_workers, is_request=True),
    },
)
