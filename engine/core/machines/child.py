"""What states does a child workflow go through, as its parent sees it?"""

from __future__ import annotations

from penstock.schemas.records import events as e

ABSENT, PENDING, COMPLETED, FAILED, LET_GO = "absent", "pending", "completed", "failed", "let_go"

TRANSITIONS: dict[tuple[str, type], str] = {
    (ABSENT, e.ChildScheduled): PENDING,
    (PENDING, e.ChildCompleted): COMPLETED,
    (PENDING, e.ChildFailed): FAILED,
    (PENDING, e.ChildCancelRequested): LET_GO,
}
