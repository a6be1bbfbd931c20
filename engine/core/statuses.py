"""Statuses of a run."""

from __future__ import annotations

ABSENT = "absent"
RUNNING, BLOCKED = "running", "blocked"
COMPLETED, FAILED, CANCELLED, TERMINATED = "completed", "failed", "cancelled", "terminated"

OPEN = frozenset({RUNNING, BLOCKED})
CLOSED = frozenset({COMPLETED, FAILED, CANCELLED, TERMINATED})
STATUSES = (RUNNING, BLOCKED, COMPLETED, FAILED, CANCELLED, TERMINATED)
