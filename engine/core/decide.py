"""What does this input cause in its run? `decide(run, input, now)`: the same answer whenever it is asked again."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import msgspec

from penstock.engine.authoring.workflow import signal_note, signal_problem
from penstock.engine.core.decision import Decision, FireTimer, Rejection, RetryActivity
from penstock.engine.core.effects import resolve_child, run_closed
from penstock.engine.core.machines.run import BLOCKED, CLOSED, COMPLETED
from penstock.engine.core.retry import retry_delay_ms
from penstock.engine.core.rows import RunRow
from penstock.engine.core.working import RunView
from penstock.schemas.encoding.codec import decode, encode
from penstock.schemas.errors import NonDeterminism, PayloadTooLarge, Undecodable, UnknownWorkflowType
from penstock.schemas.records import commands as c
from penstock.schemas.records import events as e
from penstock.schemas.records.replies import Accepted
from penstock.schemas.records.tasks import TaskCompleted, TaskFailed
from penstock.schemas.values.failure import Failure, type_name

FLAGS = 0
"""Engine logic flags recorded at the start of each run: a change of ordering gets a bit, so that old runs replay."""

TOO_LARGE = "It is too large to be kept in a history; hand over a reference to large data instead."

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def decide(run: RunView, command: Any, now_ms: int) -> Decision:
    """What `command` (a command, a result or a due timer) causes in `run` at `now_ms` (epoch).

    Changes nothing but the run's program, which is a cache of its history."""
    return _DECIDE[type(command)](run, command, now_ms)


# Commands.


def _start(run: RunView, command: c.StartWorkflow, now_ms: int) -> Decision:
    row = run.row
    if row is not None and (row.status not in CLOSED or command.on_existing != "restart_closed"):
        return _existing(row, command)
    definition = run.definition(command.workflow_type)
    if definition is None:
        known = ", ".join(run.hosted()) or "none"
        return _refused_start(
            command,
            Rejection(
                "unknown_type",
                f"No processor of this namespace hosts a workflow called {command.workflow_type!r}; "
                f"hosted are: {known}.",
            ),
        )
    try:
        definition.signature.decode(command.input)
    except Exception as error:  # noqa: BLE001 - the user's own validators may raise anything
        return _refused_start(
            command, Rejection("bad_input", f"{command.workflow_type} cannot take this input: {error}")
        )
    fact = e.WorkflowStarted(
        workflow_type=command.workflow_type,
        version=definition.version,
        input=command.input,
        message_id=command.message_id,
        parent_workflow_id=command.parent_workflow_id,
        parent_run_id=command.parent_run_id,
        parent_sequence=command.parent_sequence,
        flags=FLAGS,
        python=PYTHON,
    )
    orders = run.new_program(definition, command.message_id).activate((fact,), now_ms)
    return Decision(
        run_id=command.message_id,
        events=[fact, *orders],
        reply=Accepted(message_id=command.message_id, workflow_id=run.workflow_id, run_id=command.message_id),
    )


def _existing(row: RunRow, command: c.StartWorkflow) -> Decision:
    is_own = row.run_id == command.message_id
    if command.parent_workflow_id and not is_own:
        return _refused_start(
            command,
            Rejection("already_exists", f"{row.workflow_id} is taken by another run ({row.run_id}).", row.run_id),
        )
    if command.on_existing == "reject" and not is_own:
        return Decision(
            run_id=row.run_id,
            ignored="the workflow id is taken",
            rejection=Rejection(
                "already_exists",
                f"{row.workflow_id} was started before (run {row.run_id}, {row.status}); choose another id, "
                "or start it without `reject` to join it.",
                row.run_id,
            ),
        )
    return Decision(
        run_id=row.run_id,
        ignored="started before",
        reply=Accepted(
            message_id=command.message_id,
            workflow_id=row.workflow_id,
            run_id=row.run_id,
            existing=not is_own,
            status=row.status,
        ),
    )


def _refused_start(command: c.StartWorkflow, rejection: Rejection) -> Decision:
    """A start that cannot be. A parent is told by way of its child order (shard.py sends `rejected`)."""
    return Decision(run_id="", ignored=rejection.message, rejection=rejection)


def as_failed(command: Any) -> Any:
    """What counts in the place of an outcome that is too large for a history: a failure. None: nobody waits for it."""
    if isinstance(command, c.ResolveChild):
        told = encode(Failure(type="too_large", message=TOO_LARGE))
        return msgspec.structs.replace(command, status="failed", result=b"", failure=told)
    if not isinstance(command, TaskCompleted | TaskFailed):
        return None
    failure = Failure(type=type_name(PayloadTooLarge), message=TOO_LARGE, non_retryable=True)
    if isinstance(command, TaskFailed):
        given = command.failure
        failure = Failure(
            type=given.type[:200],
            message=given.message[:2_000],
            kind=given.kind[:20],
            non_retryable=given.non_retryable,
        )
    return TaskFailed(
        workflow_id=command.workflow_id,
        run_id=command.run_id,
        sequence=command.sequence,
        attempt=command.attempt,
        failure=failure,
    )


def rejected_child(command: c.StartWorkflow, rejection: Rejection) -> c.ResolveChild:
    """What a parent hears of a child that never started."""
    stand_in = RunRow(
        workflow_id=command.workflow_id,
        run_id=command.message_id,
        workflow_type=command.workflow_type,
        version=0,
        status="rejected",
        next_number=1,
        started_ms=0,
        parent_workflow_id=command.parent_workflow_id,
        parent_run_id=command.parent_run_id,
        parent_sequence=command.parent_sequence,
    )
    return resolve_child(stand_in, "rejected", b"", Failure(type=rejection.reason, message=rejection.message))


def _signal(run: RunView, command: c.SignalWorkflow, now_ms: int) -> Decision:
    row = run.row
    refusal = _refusal(run, row, command.run_id, keep=True)
    if refusal is not None:
        return refusal
    assert row is not None
    problem = signal_problem(command.signal, command.input)
    if problem:
        rejection = Rejection("bad_input", f"Signal {command.signal} cannot take this value: {problem}", row.run_id)
        return Decision(run_id=row.run_id, ignored=rejection.message, rejection=rejection)
    fact = e.SignalReceived(signal=command.signal, input=command.input, message_id=command.message_id)
    return _answered(run, command, _advance(run, row, [fact], now_ms), signal_note(command.signal))


def _cancel(run: RunView, command: c.CancelWorkflow, now_ms: int) -> Decision:
    row = run.row
    refusal = _refusal(run, row, command.run_id, keep=False)
    if refusal is not None:
        return refusal
    assert row is not None
    if row.cancel_requested:
        return Decision(run_id=row.run_id, ignored="cancelled before", reply=_accepted(row, command))
    return _answered(run, command, _advance(run, row, [e.CancelRequested(reason=command.reason)], now_ms))


def _terminate(run: RunView, command: c.TerminateWorkflow, now_ms: int) -> Decision:
    row = run.row
    refusal = _refusal(run, row, command.run_id, keep=False)
    if refusal is not None:
        return refusal
    return _answered(run, command, [e.WorkflowTerminated(reason=command.reason)])


def _retry(run: RunView, command: c.RetryWorkflow, now_ms: int) -> Decision:
    row = run.row
    refusal = _refusal(run, row, command.run_id, keep=False)
    if refusal is not None:
        return refusal
    assert row is not None
    if row.status != BLOCKED:
        rejection = Rejection(
            "not_blocked",
            f"{run.workflow_id} is {row.status}; only a BLOCKED run can be retried.",
            row.run_id,
            keep=False,
        )
        return Decision(run_id=row.run_id, ignored=rejection.message, rejection=rejection)
    return _answered(run, command, _unblock(run, "an operator" if command.message_id else "the processor", now_ms))


def _unblock(run: RunView, by: str, now_ms: int) -> list[Any]:
    unblocked = e.WorkflowUnblocked(by=by)
    try:
        # The facts may hold the start itself, whose input the code at hand may refuse.
        return [unblocked, *run.program().activate(run.unread_facts(), now_ms)]
    except (NonDeterminism, UnknownWorkflowType) as error:
        return [unblocked, _parked(error)]


def _await_result(run: RunView, command: c.AwaitResult, now_ms: int) -> Decision:
    row = run.row
    if row is None or (command.run_id and command.run_id != row.run_id):
        refusal = _refusal(run, row, command.run_id, keep=False)
        assert refusal is not None
        return refusal
    if row.status in CLOSED:
        return Decision(run_id=row.run_id, ignored="answered at once", reply=run_closed(row, command.message_id))
    if command.reply_to == c.NO_REPLY:
        return Decision(run_id=row.run_id, ignored="nobody to answer")
    awaited = e.ResultAwaited(message_id=command.message_id, reply_to=command.reply_to)
    return Decision(run_id=row.run_id, events=[awaited], unnumbered=True)


def _resolve_child(run: RunView, command: c.ResolveChild, now_ms: int) -> Decision:
    row = run.row
    if row is None or row.run_id != command.run_id or row.status in CLOSED or run.child(command.sequence) is None:
        return Decision(run_id=command.run_id, ignored="nobody waits for this child")
    if command.status == COMPLETED:
        fact: Any = e.ChildCompleted(
            sequence=command.sequence, child_run_id=command.child_run_id, result=command.result
        )
    else:
        fact = e.ChildFailed(
            sequence=command.sequence,
            child_run_id=command.child_run_id,
            status=command.status,
            failure=_child_failure(command),
        )
    return Decision(run_id=row.run_id, events=_advance(run, row, [fact], now_ms))


def _child_failure(command: c.ResolveChild) -> Failure:
    try:
        failure = decode(command.failure)
    except Undecodable:
        failure = None
    if isinstance(failure, Failure):
        return failure
    return Failure(type="", message=f"child workflow {command.child_workflow_id} was {command.status}")


# Results of workers.


def _task_completed(run: RunView, command: TaskCompleted, now_ms: int) -> Decision:
    row = run.row
    stale = _stale(run, row, command)
    if stale:
        return Decision(run_id=command.run_id, ignored=stale)
    assert row is not None
    fact = e.ActivityCompleted(
        sequence=command.sequence, attempt=command.attempt, result=command.result, worker=command.worker
    )
    return Decision(run_id=row.run_id, events=_advance(run, row, [fact], now_ms))


def _task_failed(run: RunView, command: TaskFailed, now_ms: int) -> Decision:
    row = run.row
    stale = _stale(run, row, command)
    if stale:
        return Decision(run_id=command.run_id, ignored=stale)
    assert row is not None
    pending = run.activity(command.sequence)
    assert pending is not None
    delay_ms = retry_delay_ms(pending.retry, command.failure, command.attempt)
    if delay_ms is not None:
        waits = e.ActivityAttemptFailed(
            sequence=command.sequence,
            attempt=command.attempt,
            failure=command.failure,
            retry_ms=now_ms + max(delay_ms, 1),
        )
        return Decision(run_id=row.run_id, events=[waits])
    failure = Failure(
        type=command.failure.type,
        message=command.failure.message,
        kind=command.failure.kind,
        traceback=command.failure.traceback,
        non_retryable=command.failure.non_retryable,
        attempts=command.attempt,
        causes=command.failure.causes,
    )
    fact = e.ActivityFailed(sequence=command.sequence, attempt=command.attempt, failure=failure)
    return Decision(run_id=row.run_id, events=_advance(run, row, [fact], now_ms))


def _stale(run: RunView, row: RunRow | None, result: TaskCompleted | TaskFailed) -> str:
    """Why a result has no effect, empty if it has: results count once for (run, activity, attempt)."""
    if row is None or row.run_id != result.run_id or row.status in CLOSED:
        return "its run has ended"
    pending = run.activity(result.sequence)
    if pending is None:
        return "its activity has ended"
    if pending.attempt != result.attempt or pending.retry_ms:
        return "its attempt is over"
    return ""


# Due timers.


def _fire_timer(run: RunView, due: FireTimer, now_ms: int) -> Decision:
    row = run.row
    if row is None or row.run_id != due.run_id or row.status in CLOSED or run.timer(due.sequence) is None:
        return Decision(run_id=due.run_id, ignored="its run no longer waits")
    return Decision(run_id=row.run_id, events=_advance(run, row, [e.TimerFired(sequence=due.sequence)], now_ms))


def _retry_activity(run: RunView, due: RetryActivity, now_ms: int) -> Decision:
    row = run.row
    pending = run.activity(due.sequence) if row is not None and row.run_id == due.run_id else None
    if row is None or row.status in CLOSED or pending is None or not pending.retry_ms:
        return Decision(run_id=due.run_id, ignored="its activity has ended")
    retried = e.ActivityRetried(sequence=due.sequence, attempt=pending.attempt + 1)
    return Decision(run_id=row.run_id, events=[retried])


# Shared.


def _advance(run: RunView, row: RunRow, facts: list[Any], now_ms: int) -> list[Any]:
    """The facts, and the orders that the code gives when they reach it; a BLOCKED run's facts wait."""
    if row.status == BLOCKED:
        return facts
    try:
        program = run.program()
    except (NonDeterminism, UnknownWorkflowType) as error:
        return [*facts, _parked(error)]
    return [*facts, *program.activate(facts, now_ms)]


def _parked(error: Exception) -> e.WorkflowBlocked:
    if isinstance(error, UnknownWorkflowType):
        return e.WorkflowBlocked(reason="unknown_type", message=str(error))
    return e.WorkflowBlocked(
        reason="non_determinism",
        message=f"the code no longer does what the history says: {error}; bring the old code back or guard the "
        "change with patched(), restart the processor, or run `penstock retry`.",
    )


def _refusal(run: RunView, row: RunRow | None, run_id: str, *, keep: bool) -> Decision | None:
    """The answer about a run that is not there, or not any more."""
    if row is None:
        rejection = Rejection("not_found", f"There is no run with the id {run.workflow_id}.", keep=keep)
    elif run_id and run_id != row.run_id:
        rejection = Rejection(
            "not_found",
            f"{run.workflow_id} has no run {run_id}; its present run is {row.run_id}.",
            row.run_id,
            keep=keep,
        )
    elif row.status in CLOSED:
        rejection = Rejection(
            "already_closed", f"{run.workflow_id} has ended already ({row.status}).", row.run_id, keep=keep
        )
    else:
        return None
    return Decision(run_id=rejection.run_id, ignored=rejection.message, rejection=rejection)


def _accepted(row: RunRow, command: Any, note: str = "") -> Accepted:
    return Accepted(
        message_id=command.message_id,
        workflow_id=row.workflow_id,
        run_id=row.run_id,
        existing=True,
        status=row.status,
        note=note,
    )


def _answered(run: RunView, command: Any, events: list[Any], note: str = "") -> Decision:
    row = run.row
    assert row is not None
    return Decision(run_id=row.run_id, events=events, reply=_accepted(row, command, note))


_DECIDE: dict[type, Callable[[RunView, Any, int], Decision]] = {
    c.StartWorkflow: _start,
    c.SignalWorkflow: _signal,
    c.CancelWorkflow: _cancel,
    c.TerminateWorkflow: _terminate,
    c.RetryWorkflow: _retry,
    c.AwaitResult: _await_result,
    c.ResolveChild: _resolve_child,
    TaskCompleted: _task_completed,
    TaskFailed: _task_failed,
    FireTimer: _fire_timer,
    RetryActivity: _retry_activity,
}
