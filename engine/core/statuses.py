"""Statuses of a run."""

from __future__ import annotations

ABSENT = "absent"
RUNNING, BLOCKED = "running", "blocked"
COMPLETED, FAILED, CANCELLED, TERMINATED = "completed", "failed", "cancelled", "terminated"

OPEN = frozenset({RUNNING, BLOCKED})
CLOSED = frozenset({COMPLETED, FAILED, CANCELLED, TERMINATED})
WAITING = "waiting"
"""How a BLOCKED run is shown whose type another live processor hosts: it needs no operator."""

STATUSES = (RUNNING, WAITING, BLOCKED, COMPLETED, FAILED, CANCELLED, TERMINATED)
"""Statuses as they are shown."""
