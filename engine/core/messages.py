"""Messages that took effect, so that each takes effect once. They are kept as long as the run in which they did."""

from __future__ import annotations

from collections.abc import Callable

from penstock.engine.core.keys import message_key
from penstock.engine.core.machine import Cause
from penstock.engine.core.working import WorkingRun


def remember(run: WorkingRun, cause: Cause) -> None:
    """Record that the id's current run processed the message behind this event, so that a repetition is recognised.

    For evolve functions."""
    if cause.message_id:
        remember_in(run, cause.message_id, run.run_id)


def remember_in(run: WorkingRun, message_id: str, run_id: str) -> None:
    """Record a message as processed by the run `run_id`. For evolve functions."""
    run.writes[message_key(run.workflow_id, message_id)] = run_id.encode()


def run_of_message(get: Callable[[bytes], bytes | None], workflow_id: str, message_id: str) -> str | None:
    """The run in which the message took effect; None if it did not, or the run is no longer kept."""
    found = get(message_key(workflow_id, message_id))
    return found.decode() if found is not None else None
