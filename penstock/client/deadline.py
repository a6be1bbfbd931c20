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


def within(deadline: float | None, most_s: float) -> float:
    """Return the seconds until the deadline, `most_s` at most."""
    left_s = seconds_left(deadline)
    return most_s if left_s is None else min(left_s, most_s)


def seconds_or(deadline: float | None, default_s: float) -> float:
    """Return the seconds until the deadline, `default_s` without one."""
    left_s = seconds_left(deadline)
    return default_s if left_s is None else left_s
