"""Messages that took effect, so that each takes effect once."""

from __future__ import annotations

from collections.abc import Callable

from penstock.engine.core.keys import DAY_MS, message_key
from penstock.engine.core.machine import Cause
from penstock.engine.core.working import WorkingRun


def remember(run: WorkingRun, cause: Cause) -> None:
    """Record that the id's current run processed the message behind this event, so that a repetition is recognised.

    For evolve functions."""
    if cause.message_id:
        remember_in(run, cause.now_ms, cause.message_id, run.run_id)


def remember_in(run: WorkingRun, now_ms: int, message_id: str, run_id: str) -> None:
    """Record a message as processed by the run `run_id`. For evolve functions."""
    run.writes[message_key(now_ms, run.workflow_id, message_id)] = run_id.encode()


def run_of_message(get: Callable[[bytes], bytes | None], now_ms: int, workflow_id: str, message_id: str) -> str | None:
    """The run in which the message took effect, today or yesterday; None if it did not."""
    for day_ms in (now_ms, now_ms - DAY_MS):
        found = get(message_key(day_ms, workflow_id, message_id))
        if found is not None:
            return found.decode()
    return None
