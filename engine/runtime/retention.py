"""When is a closed run forgotten? Day buckets, swept a little with each batch."""

from __future__ import annotations

from penstock.engine.core.machines.run import CLOSED
from penstock.engine.core.rows import (
    DAY_MS,
    after,
    day_bound,
    parse_closed_key,
    run_key,
    run_prefix,
    unpack_run,
)
from penstock.engine.runtime.overlay import Layer, Overlay

ROWS_MAX = 200
HISTORY_ROWS_MAX = 500


def sweep(layer: Layer, rows: Overlay, swept_day: int, now_ms: int, kept_ms: int) -> int:
    """Delete some of what has been closed for longer than `kept_ms`; returns the day up to which all is swept."""
    day = (now_ms - kept_ms) // DAY_MS
    if day <= swept_day:
        return swept_day
    if swept_day == 0 and not layer.writes:
        return swept_day  # a fresh shard has nothing to sweep before its first batch
    more = _sweep_messages(layer, rows, day)
    more |= _sweep_runs(layer, rows, day)
    return swept_day if more else day


def _sweep_messages(layer: Layer, rows: Overlay, day: int) -> bool:
    for count, (key, _) in enumerate(rows.scan(b"M", day_bound(b"M", day))):
        if count == ROWS_MAX:
            return True
        layer.writes[key] = None
    return False


def _sweep_runs(layer: Layer, rows: Overlay, day: int) -> bool:
    left = HISTORY_ROWS_MAX
    for count, (key, _) in enumerate(rows.scan(b"Z", day_bound(b"Z", day))):
        if count == ROWS_MAX:
            return True
        workflow_id, run_id = parse_closed_key(key)
        layer.touched.add(workflow_id)
        prefix = run_prefix(b"H", workflow_id, run_id)
        for history_key, _ in rows.scan(prefix, after(prefix)):
            if left == 0:
                return True  # the header goes last: until then nobody can start the same run anew
            layer.writes[history_key] = None
            left -= 1
        header = rows.get(run_key(workflow_id))
        row = unpack_run(header) if header is not None else None
        if row is not None and row.run_id == run_id and row.status in CLOSED:
            layer.writes[run_key(workflow_id)] = None
        layer.writes[key] = None
    return False
