"""Pending activities of a run: those in its header and those in rows of their own."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.engine.core.limits import NEAR_INPUT_BYTES_MAX
from penstock.engine.core.rows import ActivityRow, RunRow, unpack_activity


def pending_activities(row: RunRow, activity_rows: Iterable[bytes]) -> list[ActivityRow]:
    """All pending activities by sequence. `activity_rows`: the run's rows of kind `A`."""
    found = [*row.near.values(), *map(unpack_activity, activity_rows)]
    found.sort(key=lambda pending: pending.sequence)
    return found


def fits_header(row: ActivityRow) -> bool:
    """Whether the activity may be stored in its run's header: a failure brings a traceback along, and what reports
    heartbeats is written often."""
    return row.failure is None and row.watch is None and len(row.input) <= NEAR_INPUT_BYTES_MAX and not row.headers
