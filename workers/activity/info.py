"""Information about the running activity, available to its code through `activity_info()`."""

from __future__ import annotations

from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from penstock.schemas.errors import NotInActivity
from penstock.schemas.records.tasks import ActivityTask


class ActivityInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of one activity.

    `attempt` counts from 1. `idempotency_key` (`workflow id/seed/sequence`) is the same for every attempt of the
    activity; pass it to the service you call, so that repeated attempts take effect once. `deadline` (aware, UTC) is
    when the attempt, or the activity, times out, None without a timeout. `headers`: those of the run. `cancelled`:
    whether no run waits for the attempt any more, so that it may end. `token` names the attempt, so that it
    can be completed from outside (`raise CompleteLater`, then `Client.complete`).
    """

    workflow_id: str
    run_id: str
    activity: str
    attempt: int
    queue: str
    idempotency_key: str
    deadline: datetime | None
    headers: dict[str, str]
    cancelled: bool
    token: str


class Running(Protocol):
    """An attempt that runs, as its code sees it."""

    @property
    def task(self) -> ActivityTask: ...
    @property
    def started_s(self) -> float:
        """When it began (epoch, seconds)."""
        ...

    @property
    def token(self) -> str: ...
    @property
    def cancelled(self) -> bool:
        """Whether no run waits for it any more."""
        ...

    def beat(self, details: Any) -> None:
        """Report that it goes on. Raises as `heartbeat` does."""
        ...


def activity_info() -> ActivityInfo:
    """Return information about the running activity. Raises NotInActivity outside of one."""
    attempt = running("activity_info()")
    task = attempt.task
    return ActivityInfo(
        workflow_id=task.workflow_id,
        run_id=task.run_id,
        activity=task.activity,
        attempt=task.attempt,
        queue=task.queue,
        idempotency_key=task.idempotency_key,
        deadline=_deadline(task, attempt.started_s),
        headers=dict(task.headers),
        cancelled=attempt.cancelled,
        token=attempt.token,
    )


def _deadline(task: ActivityTask, started_s: float) -> datetime | None:
    ends = [started_s + task.timeout_ms / 1_000] if task.timeout_ms else []
    ends += [task.close_by_ms / 1_000] if task.close_by_ms else []
    return datetime.fromtimestamp(min(ends), UTC) if ends else None


def running(what: str) -> Running:
    """Return the attempt whose code calls `what`. Raises NotInActivity."""
    attempt = _running.get()
    if attempt is None:
        raise NotInActivity(f"{what} was called outside of an activity run by a worker: call it inside one.")
    return attempt


def enter(attempt: Running) -> None:
    """Set the current context to this attempt."""
    _running.set(attempt)


# ActivityInfo is built on demand, since most activities do not use it.
_running: ContextVar[Running | None] = ContextVar("penstock_activity", default=None)
