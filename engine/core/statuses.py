"""Statuses of a run."""

from __future__ import annotations

ABSENT = "absent"
RUNNING, BLOCKED, PAUSED = "running", "blocked", "paused"
COMPLETED, FAILED, CANCELLED, TERMINATED = "completed", "failed", "cancelled", "terminated"

OPEN = frozenset({RUNNING, BLOCKED, PAUSED})
HALTED = frozenset({BLOCKED, PAUSED})
"""Statuses of an open run whose code receives nothing: what comes is recorded."""

CONTINUED = "continued"
"""A run that continued as new: the id's next run took its place in the same transaction."""

RESET = "reset"
"""A run that was reset: the id's next run goes on from an earlier point of its history."""

CLOSED = frozenset({COMPLETED, FAILED, CANCELLED, TERMINATED, CONTINUED, RESET})
SETTING_OF = {COMPLETED: 0, FAILED: 1, CANCELLED: 2, TERMINATED: 3, CONTINUED: 4, RESET: 5}
"""How the index of closed runs names the time of the processors' setting for a status, instead of a time."""

WAITING = "waiting"
"""How a BLOCKED run is shown whose type another live processor hosts: it needs no operator."""

STATUSES = (RUNNING, WAITING, BLOCKED, PAUSED, COMPLETED, FAILED, CANCELLED, TERMINATED)
"""Statuses as they are shown."""
