"""Expiry of closed runs and of remembered messages, by day and a little with each layer."""

from __future__ import annotations

from penstock.engine.core.keys import (
    CLOSED as CLOSED_RUNS,
)
from penstock.engine.core.keys import (
    DAY_MS,
    HISTORY,
    MESSAGE,
    after,
    day_bound,
    parse_closed_key,
    run_key,
    run_prefix,
)
from penstock.engine.core.rows import unpack_run
from penstock.engine.core.statuses import CLOSED
from penstock.engine.core.view import RowScanner

ROWS_MAX = 200
HISTORY_ROWS_MAX = 500

Writes = dict[bytes, bytes | None]


def expire(writes: Writes, touched: set[str], rows: RowScanner, *, swept_day: int, now_ms: int, kept_ms: int) -> int:
    """Delete some of what closed more than `kept_ms` ago; returns the day up to which everything is deleted.

    Adds the deletions to `writes`, which `rows` already shows, and the ids of deleted runs to `touched`."""
    day = (now_ms - kept_ms) // DAY_MS
    if day <= swept_day:
        return swept_day
    if swept_day == 0 and not writes:
        return swept_day  # a new shard has nothing to expire before its first layer
    more = _expire_messages(writes, rows, day)
    more |= _expire_runs(writes, touched, rows, day)
    return swept_day if more else day


def _expire_messages(writes: Writes, rows: RowScanner, day: int) -> bool:
    for count, (key, _) in enumerate(rows.scan(MESSAGE, day_bound(MESSAGE, day))):
        if count == ROWS_MAX:
            return True
        writes[key] = None
    return False


def _expire_runs(writes: Writes, touched: set[str], rows: RowScanner, day: int) -> bool:
    left = HISTORY_ROWS_MAX
    for count, (key, _) in enumerate(rows.scan(CLOSED_RUNS, day_bound(CLOSED_RUNS, day))):
        if count == ROWS_MAX:
            return True
        workflow_id, run_id = parse_closed_key(key)
        touched.add(workflow_id)
        prefix = run_prefix(HISTORY, workflow_id, run_id)
        for history_key, _ in rows.scan(prefix, after(prefix)):
            if left == 0:
                return True  # the header goes last: until then the same start is recognised as a repetition
            writes[history_key] = None
            left -= 1
        header = rows.get(run_key(workflow_id))
        row = unpack_run(header) if header is not None else None
        if row is not None and row.run_id == run_id and row.status in CLOSED:
            writes[run_key(workflow_id)] = None
        writes[key] = None
    return False
