"""Deadlines as `time.monotonic()` moments; None stands for no limit."""

from __future__ import annotations

import time

from penstock.schemas.values.durations import Duration, duration_ms


def deadline_after(timeout: Duration | None) -> float | None:
    """Return the moment at which `timeout` ends. Raises BadDuration."""
    return None if timeout is None else time.monotonic() + duration_ms(timeout) / 1000


def seconds_left(deadline: float | None) -> float | None:
    """Return the seconds until the deadline, never negative."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())
