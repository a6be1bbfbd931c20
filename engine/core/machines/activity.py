"""What states does an activity go through?"""

from __future__ import annotations

from penstock.schemas.records import events as e

ABSENT, WITH_WORKERS, WAITING = "absent", "with_workers", "waiting"
COMPLETED, FAILED, CANCELLED = "completed", "failed", "cancelled"

TRANSITIONS: dict[tuple[str, type], str] = {
    (ABSENT, e.ActivityScheduled): WITH_WORKERS,
    (WITH_WORKERS, e.ActivityCompleted): COMPLETED,
    (WITH_WORKERS, e.ActivityAttemptFailed): WAITING,
    (WITH_WORKERS, e.ActivityFailed): FAILED,
    (WITH_WORKERS, e.ActivityCancelled): CANCELLED,
    (WAITING, e.ActivityRetried): WITH_WORKERS,
    (WAITING, e.ActivityCancelled): CANCELLED,
}
