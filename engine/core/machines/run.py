"""What states does a run go through?"""

from __future__ import annotations

from penstock.schemas.records import events as e

RUNNING, BLOCKED = "running", "blocked"
COMPLETED, FAILED, CANCELLED, TERMINATED = "completed", "failed", "cancelled", "terminated"
STATUSES = (RUNNING, BLOCKED, COMPLETED, FAILED, CANCELLED, TERMINATED)
ABSENT = "absent"

TRANSITIONS: dict[tuple[str, type], str] = {
    (ABSENT, e.WorkflowStarted): RUNNING,
    (RUNNING, e.WorkflowCompleted): COMPLETED,
    (RUNNING, e.WorkflowFailed): FAILED,
    (RUNNING, e.WorkflowCancelled): CANCELLED,
    (RUNNING, e.WorkflowTerminated): TERMINATED,
    (RUNNING, e.WorkflowBlocked): BLOCKED,
    (BLOCKED, e.WorkflowUnblocked): RUNNING,
    (BLOCKED, e.WorkflowTerminated): TERMINATED,
}

OPEN = frozenset({RUNNING, BLOCKED})
CLOSED = frozenset({COMPLETED, FAILED, CANCELLED, TERMINATED})
