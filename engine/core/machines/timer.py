"""What states does a timer go through?"""

from __future__ import annotations

from penstock.schemas.records import events as e

ABSENT, PENDING, FIRED, CANCELLED = "absent", "pending", "fired", "cancelled"

TRANSITIONS: dict[tuple[str, type], str] = {
    (ABSENT, e.TimerStarted): PENDING,
    (PENDING, e.TimerFired): FIRED,
    (PENDING, e.TimerCancelled): CANCELLED,
}
