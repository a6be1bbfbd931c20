"""Information about the running activity, available to its code through `activity_info()`."""

from __future__ import annotations

from contextvars import ContextVar
from datetime import UTC, datetime

import msgspec

from penstock.schemas.errors import NotInActivity
from penstock.schemas.records.tasks import ActivityTask


class ActivityInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of one activity.

    `attempt` counts from 1. `idempotency_key` (`workflow id/seed/sequence`) is the same for every attempt of the
    activity; pass it to the service you call, so that repeated attempts take effect once. `deadline` (aware, UTC) is
    when the attempt times out, None without a timeout. `headers`: those of the run.
    """

    workflow_id: str
    run_id: str
    activity: str
    attempt: int
    queue: str
    idempotency_key: str
    deadline: datetime | None
    headers: dict[str, str]


def activity_info() -> ActivityInfo:
    """Return information about the running activity. Raises NotInActivity outside of one."""
    running = _running.get()
    if running is None:
        raise NotInActivity("activity_info() was called outside of an activity run by a worker: call it inside one.")
    task, started_s = running
    deadline = datetime.fromtimestamp(started_s + task.timeout_ms / 1_000, UTC) if task.timeout_ms else None
    return ActivityInfo(
        workflow_id=task.workflow_id,
        run_id=task.run_id,
        activity=task.activity,
        attempt=task.attempt,
        queue=task.queue,
        idempotency_key=task.idempotency_key,
        deadline=deadline,
        headers=dict(task.headers),
    )


def enter(task: ActivityTask, started_s: float) -> None:
    """Set the current context to `task`, started at `started_s` (epoch, seconds)."""
    _running.set((task, started_s))


# ActivityInfo is built on demand, since most activities do not use it.
_running: ContextVar[tuple[ActivityTask, float] | None] = ContextVar("penstock_activity", default=None)
