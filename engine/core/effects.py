"""What leaves the shard because of these events? Tasks, commands to other shards, answers, the run's completion."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from penstock.engine.core.machines import run
from penstock.engine.core.rows import ChildRow, RunRow, unpack_child
from penstock.engine.core.working import WorkingRun
from penstock.schemas.encoding.codec import encode
from penstock.schemas.records import commands as c
from penstock.schemas.records import events as e
from penstock.schemas.records.completions import WorkflowClosed
from penstock.schemas.records.replies import RunClosed
from penstock.schemas.records.tasks import ActivityTask
from penstock.schemas.values.failure import Failure


class Effects(msgspec.Struct, gc=False):
    """What to send. `commands` go to the shards of their workflow ids; `replies` name their partition."""

    tasks: list[ActivityTask] = []
    commands: list[Any] = []
    replies: list[tuple[int, Any]] = []
    completion: WorkflowClosed | None = None


def cause(found: Effects, working: WorkingRun, event: Any, shard: int, now_ms: int) -> None:
    """Add what `event` causes outside of its run; `working` is the run just before the event is applied."""
    causes = _CAUSE.get(type(event))
    if causes is not None:
        causes(found, working, event, shard, now_ms)


def derived_id(of: WorkingRun | RunRow, sequence: int, what: str) -> str:
    """The message id of what a run sends: the same whenever it is sent again (32 hexadecimal digits).

    The workflow id is part of it: foreign producers may give two workflows' runs one id."""
    identity = f"{of.run_id}/{sequence}/{what}/{of.workflow_id}"
    return hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()


def run_closed(row: RunRow, message_id: str) -> RunClosed:
    """The answer about a closed run."""
    return RunClosed(
        message_id=message_id,
        workflow_id=row.workflow_id,
        run_id=row.run_id,
        status=row.status,
        result=row.result,
        failure=_failure_of(row, row.status),
    )


def _activity_scheduled(found: Effects, working: WorkingRun, event: Any, shard: int, now_ms: int) -> None:
    found.tasks.append(
        ActivityTask(
            workflow_id=working.workflow_id,
            run_id=working.run_id,
            sequence=event.sequence,
            attempt=1,
            activity=event.activity,
            input=event.input,
            queue=event.queue,
            shard=shard,
            timeout_ms=event.timeout_ms,
            workflow_type=working.row.workflow_type if working.row is not None else "",
        )
    )


def _activity_retried(found: Effects, working: WorkingRun, event: Any, shard: int, now_ms: int) -> None:
    pending = working.activity(event.sequence)
    assert pending is not None and working.row is not None, "an activity was retried that is not pending"
    found.tasks.append(
        ActivityTask(
            workflow_id=working.workflow_id,
            run_id=working.run_id,
            sequence=event.sequence,
            attempt=event.attempt,
            activity=pending.activity,
            input=pending.input,
            queue=pending.queue,
            shard=shard,
            timeout_ms=pending.timeout_ms,
            workflow_type=working.row.workflow_type,
        )
    )


def _child_scheduled(found: Effects, working: WorkingRun, event: Any, shard: int, now_ms: int) -> None:
    found.commands.append(
        c.StartWorkflow(
            workflow_id=event.workflow_id,
            workflow_type=event.workflow_type,
            input=event.input,
            message_id=derived_id(working, event.sequence, "start"),
            on_existing="restart_closed",
            parent_workflow_id=working.workflow_id,
            parent_run_id=working.run_id,
            parent_sequence=event.sequence,
        )
    )


def _child_cancel(found: Effects, working: WorkingRun, event: Any, shard: int, now_ms: int) -> None:
    found.commands.append(
        c.CancelWorkflow(
            workflow_id=event.workflow_id,
            reason=f"its parent {working.workflow_id} no longer waits for it",
            run_id=derived_id(working, event.sequence, "start"),
            message_id=derived_id(working, event.sequence, "cancel"),
        )
    )


def _external_signal(found: Effects, working: WorkingRun, event: Any, shard: int, now_ms: int) -> None:
    found.commands.append(
        c.SignalWorkflow(
            workflow_id=event.workflow_id,
            signal=event.signal,
            input=event.input,
            message_id=derived_id(working, event.sequence, "signal"),
        )
    )


def _external_cancel(found: Effects, working: WorkingRun, event: Any, shard: int, now_ms: int) -> None:
    found.commands.append(
        c.CancelWorkflow(
            workflow_id=event.workflow_id,
            reason=event.reason,
            message_id=derived_id(working, event.sequence, "cancel"),
        )
    )


def _closed(found: Effects, working: WorkingRun, event: Any, shard: int, now_ms: int) -> None:
    row = working.row
    assert row is not None, "a run closed that never started"
    status = run.TRANSITIONS[row.status, type(event)]
    failure = _failure_of(event, status)
    result = getattr(event, "result", b"")
    found.completion = WorkflowClosed(
        workflow_id=row.workflow_id,
        run_id=row.run_id,
        workflow_type=row.workflow_type,
        version=row.version,
        status=status,
        result=result,
        failure=failure,
        started_ms=row.started_ms,
        closed_ms=now_ms,
        parent_workflow_id=row.parent_workflow_id,
        parent_run_id=row.parent_run_id,
    )
    if row.awaiters:
        for key, reply_to in working.rows(b"W"):
            message_id = key.rsplit(b"\x00", 1)[1].decode()
            answer = RunClosed(
                message_id=message_id,
                workflow_id=row.workflow_id,
                run_id=row.run_id,
                status=status,
                result=result,
                failure=failure,
            )
            found.replies.append((int(reply_to), answer))
    if row.parent_workflow_id:
        found.commands.append(resolve_child(row, status, result, failure))
    if row.pending_children:
        _let_children_go(found, working, terminated=status == run.TERMINATED)


def resolve_child(row: RunRow, status: str, result: bytes, failure: Failure | None) -> c.ResolveChild:
    """What a child's shard tells the parent's."""
    return c.ResolveChild(
        workflow_id=row.parent_workflow_id,
        run_id=row.parent_run_id,
        sequence=row.parent_sequence,
        child_workflow_id=row.workflow_id,
        child_run_id=row.run_id,
        status=status,
        result=result,
        failure=encode(failure) if failure is not None else b"",
        message_id=derived_id(row, 0, "closed"),
    )


def _failure_of(event: Any, status: str) -> Failure | None:
    if status in (run.CANCELLED, run.TERMINATED):
        return Failure(type="", message=event.reason or f"the run was {status}", kind=status)
    return getattr(event, "failure", None)


def _let_children_go(found: Effects, working: WorkingRun, *, terminated: bool) -> None:
    """Children of a closed run are asked to stop; those of a terminated one are ended at once, like it."""
    order = c.TerminateWorkflow if terminated else c.CancelWorkflow
    for _, value in working.rows(b"C"):
        pending: ChildRow = unpack_child(value)
        found.commands.append(
            order(
                workflow_id=pending.workflow_id,
                reason=f"its parent {working.workflow_id} has ended",
                run_id=derived_id(working, pending.sequence, "start"),
                message_id=derived_id(working, pending.sequence, "parent-closed"),
            )
        )


_CAUSE: dict[type, Callable[[Effects, WorkingRun, Any, int, int], None]] = {
    e.ActivityScheduled: _activity_scheduled,
    e.ActivityRetried: _activity_retried,
    e.ChildScheduled: _child_scheduled,
    e.ChildCancelRequested: _child_cancel,
    e.ExternalSignalSent: _external_signal,
    e.ExternalCancelRequested: _external_cancel,
    e.WorkflowCompleted: _closed,
    e.WorkflowFailed: _closed,
    e.WorkflowCancelled: _closed,
    e.WorkflowTerminated: _closed,
}
