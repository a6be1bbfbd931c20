"""Time that a run, or the chain it belongs to, may take: the rule and the rows of the machine `run` that concern it."""

from __future__ import annotations

from penstock.engine.core.answers import ignored
from penstock.engine.core.decision import Decision, TimeOutRun
from penstock.engine.core.keys import DEADLINE_DUE, NEVER_MS
from penstock.engine.core.limits import DELAY_MS_MAX
from penstock.engine.core.rows import RunRow
from penstock.engine.core.statuses import CLOSED
from penstock.engine.core.view import RunView
from penstock.engine.core.working import WorkingRun
from penstock.schemas.failure import Failure
from penstock.schemas.records.run import WorkflowStarted, WorkflowTimedOut


def time_out(run: RunView, due: TimeOutRun, now_ms: int) -> Decision:
    """What the end of a run's time causes."""
    row = run.row
    if row is None or row.run_id != due.run_id or row.status in CLOSED or not row.deadline_ms:
        return ignored(due.run_id, "it has closed in time")
    return Decision(run_id=row.run_id, events=[WorkflowTimedOut(failure=_failure(row))])


def _failure(row: RunRow) -> Failure:
    if row.execution_until_ms and row.deadline_ms >= row.execution_until_ms:
        message = "it did not close within its execution timeout, which bounds all runs of its chain together"
        return Failure(type="", message=message, kind="timeout", non_retryable=True)
    message = f"it did not close within its run timeout of {row.run_timeout_ms / 1000:g} s"
    return Failure(type="", message=message, kind="timeout")


def put(run: WorkingRun, event: WorkflowStarted, begins_ms: int) -> None:
    """Note until when a run that starts may go on, and how often it is tried. For evolve functions."""
    row = run.header
    row.run_timeout_ms, row.execution_until_ms = event.run_timeout_ms, event.execution_until_ms
    row.retry, row.retries = event.retry, event.retries
    _put(run, begins_ms)


def restart(run: WorkingRun, execution_until_ms: int, now_ms: int) -> None:
    """Let the time of a run begin anew: it goes on from an earlier point. For evolve functions."""
    row = run.header
    if not (row.deadline_ms or row.run_timeout_ms or execution_until_ms):
        return
    drop(run)
    row.execution_until_ms = execution_until_ms
    _put(run, max(now_ms, row.begins_ms))


def _put(run: WorkingRun, begins_ms: int) -> None:
    row = run.header
    run_until_ms = begins_ms + min(row.run_timeout_ms, DELAY_MS_MAX) if row.run_timeout_ms > 0 else NEVER_MS
    deadline_ms = min(run_until_ms, row.execution_until_ms or NEVER_MS)
    if deadline_ms != NEVER_MS:
        row.deadline_ms = deadline_ms
        run.put_due(deadline_ms, DEADLINE_DUE, 0)


def drop(run: WorkingRun) -> None:
    """Remove the end of a run's time. For evolve functions."""
    row = run.header
    if row.deadline_ms:
        run.drop_due(row.deadline_ms, DEADLINE_DUE, 0)
        row.deadline_ms = 0
