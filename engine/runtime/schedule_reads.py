"""Committed reads of schedules: their rows as plain values."""

from __future__ import annotations

from itertools import islice
from typing import Any

import msgspec

from penstock.engine.core.keys import SCHEDULE, SCHEDULED, after, run_prefix, schedule_key
from penstock.engine.core.limits import PAGE_BYTES_MAX, PAGE_ROWS_MAX, READ_BYTES_MAX, SCHEDULE_UPCOMING
from penstock.engine.core.rows import ScheduleRow, unpack_schedule, unpack_scheduled_run
from penstock.engine.runtime.reads import json_value, plain
from penstock.engine.store.store import StoreReader
from penstock.schemas.values.attributes import shown_search
from penstock.schemas.values.schedule import schedule_name
from penstock.schemas.values.ticks import ticks

RUNNING_SHOWN_MAX = 100
"""Open runs that a description lists."""


def describe_schedule(store: StoreReader, schedule_id: str) -> dict[str, Any] | None:
    """The state of a schedule; None if there is none with that id."""
    data = store.get(schedule_key(schedule_id))
    if data is None:
        return None
    row = unpack_schedule(data)
    prefix = run_prefix(SCHEDULED, schedule_id, "")
    running = [unpack_scheduled_run(value) for _, value in islice(store.scan(prefix, after(prefix)), RUNNING_SHOWN_MAX)]
    action = row.action
    return {
        **schedule_summary(schedule_id, row),
        "spec": msgspec.structs.asdict(row.spec),
        "input": json_value(action.input),
        "headers": action.headers,
        "memo": json_value(action.memo) or {},
        "search": shown_search(action.search),
        "run_timeout_ms": action.run_timeout_ms,
        "execution_timeout_ms": action.execution_timeout_ms,
        "retry": plain(action.retry),
        "upcoming_ms": _upcoming(row),
        "running_runs": [_of_run(plain(run)) for run in sorted(running, key=lambda run: run.started_ms)],
        "waiting_runs": [_of_run(plain(run)) for run in row.waiting],
        "recent_runs": [_of_run(plain(run)) for run in row.recent],
        "created_ms": row.created_ms,
        "updated_ms": row.updated_ms,
    }


def schedules_page(store: StoreReader, *, limit: int, after_name: str) -> tuple[dict[str, Any], int]:
    """Summaries in the order of names, and how many rows were read: `schedules`, and `next`, the name behind which the
    next page begins (empty after the last)."""
    found: list[msgspec.Raw] = []
    last = after_name
    rows = size = read = 0
    start = schedule_key(f"schedule:{after_name}") + b"\x00" if after_name else SCHEDULE
    for key, value in store.scan(start, after(SCHEDULE)):
        if len(found) >= limit or rows >= PAGE_ROWS_MAX or size >= PAGE_BYTES_MAX or read >= READ_BYTES_MAX:
            return {"schedules": found, "next": last}, rows
        schedule_id = key[len(SCHEDULE) :].decode()
        rows, read, last = rows + 1, read + len(value), schedule_name(schedule_id)
        found.append(msgspec.Raw(msgspec.json.encode(schedule_summary(schedule_id, unpack_schedule(value)))))
        size += len(found[-1])
    return {"schedules": found, "next": ""}, rows


def schedule_summary(schedule_id: str, row: ScheduleRow) -> dict[str, Any]:
    """A schedule in plain values, without its runs."""
    spec = row.spec
    every = [f"every {spec.every_ms / 1000:g} s"] if spec.every_ms else []
    return {
        "name": schedule_name(schedule_id),
        "type": row.action.workflow_type,
        "when": [*spec.cron, *spec.calendar, *every],
        "timezone": spec.timezone,
        "overlap": spec.overlap,
        "paused": row.paused,
        "note": row.note or None,
        "by_code": row.by_code,
        "last_ms": row.last_ms or None,
        "next_ms": None if row.paused else row.next_ms or None,
        "remaining": None if row.remaining < 0 else row.remaining,
        "running": row.running,
        "waiting": len(row.waiting),
        "started": row.started,
        "skipped": row.skipped,
        "missed": row.missed,
    }


def _upcoming(row: ScheduleRow) -> list[int]:
    """The next ticks; none of a paused schedule."""
    if row.paused or not row.next_ms:
        return []
    count = SCHEDULE_UPCOMING if row.remaining < 0 else min(SCHEDULE_UPCOMING, row.remaining)
    return [row.next_ms, *islice(ticks(row.spec, row.next_ms), max(0, count - 1))]


def _of_run(run: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in run.items() if value not in ("", 0) or name == "tick_ms"}
