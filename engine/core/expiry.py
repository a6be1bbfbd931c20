"""Expiry of closed runs, with everything that is kept as long as they are: a little with each layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from penstock.engine.core.keys import (
    CLOSED,
    DAY_MS,
    HISTORY,
    JOINED,
    UPDATE,
    ClosedKey,
    after,
    closed_bound,
    closed_key,
    closed_prefix,
    memo_key,
    message_key,
    parse_closed_key,
    parse_message_of,
    run_key,
    run_prefix,
)
from penstock.engine.core.log_clock import LEAP_MS
from penstock.engine.core.machine import Cause
from penstock.engine.core.rows import RunRow, unpack_message, unpack_run
from penstock.engine.core.statuses import CANCELLED, COMPLETED, FAILED, RESET, SETTING_OF, TERMINATED
from penstock.engine.core.statuses import CLOSED as CLOSED_STATUSES
from penstock.engine.core.view import RowScanner
from penstock.engine.core.working import WorkingRun
from penstock.schemas.records.reset import WorkflowReset
from penstock.schemas.records.run import (
    HistoryExceeded,
    WorkflowCancelled,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowStarted,
    WorkflowTerminated,
    WorkflowTimedOut,
)

ROWS_MAX = 500
"""Rows that one layer deletes, and one more for each row that it writes: deleting keeps up with any rate of closing."""

HOUR_MS = 3_600_000
"""Interval of sweeps."""

_STATUS_AFTER: Mapping[type, str] = {
    WorkflowCompleted: COMPLETED,
    WorkflowFailed: FAILED,
    WorkflowTimedOut: FAILED,
    HistoryExceeded: FAILED,
    WorkflowCancelled: CANCELLED,
    WorkflowTerminated: TERMINATED,
    WorkflowReset: RESET,
}
"""Status of a run by the last event of its history; one that continued as new has none."""

Writes = dict[bytes, bytes | None]


def note_closed(run: WorkingRun, cause: Cause) -> None:
    """Enter the run, which closes now, into the index of closed runs. For evolve functions."""
    # The later of both clocks: one that is behind must not shorten the time for which the run is kept.
    kept_from_ms = max(cause.now_ms, cause.appended_ms)
    row = run.header
    kept_ms = _kept_ms(row.closed_kept_ms, row.closed_kept_by_status, row.status)
    run.writes[closed_key(kept_ms, kept_from_ms, run.workflow_id, run.run_id)] = b""


def _kept_ms(others_ms: int, by_status: Mapping[str, int], status: str) -> int:
    """How long a run that closed with a status is kept, as the index of closed runs says it."""
    return by_status.get(status) or others_ms or SETTING_OF[status]


def index_key(run: WorkingRun, run_id: str, first: bytes, last: bytes) -> bytes | None:
    """Key of a closed run of the id in that index, from the first and the last record of its history.

    None if the beginning of the history is deleted already; the entry goes when the run's time is over."""
    started, closing = run.decode(run.decode(first).events[0]), run.decode(last)
    if not isinstance(started, WorkflowStarted):
        return None
    kept_from_ms = max(closing.now_ms, closing.appended_ms)
    status = _STATUS_AFTER[type(run.decode(closing.events[-1]))]
    kept_ms = _kept_ms(started.closed_kept_ms, started.closed_kept_by_status, status)
    return closed_key(kept_ms, kept_from_ms, run.workflow_id, run_id)


class Expiry:
    """Deletion of the closed runs of one shard.

    `kept_ms`: how long a closed run is kept unless its type says otherwise, `by_status`: one with that status;
    `message_of`: id of the message that caused an encoded decision. `swept_hour`: hour of the log's time (since the
    epoch) for which everything is deleted."""

    def __init__(
        self,
        rows: RowScanner,
        kept_ms: int,
        message_of: Callable[[bytes], str],
        by_status: Mapping[str, int] = {},
    ) -> None:
        self._rows, self._message_of = rows, message_of
        self._settings = {number: by_status.get(status, kept_ms) for status, number in SETTING_OF.items()}
        self._left = 0
        self.reset(0)

    def reset(self, swept_hour: int) -> None:
        """Begin from there: rows changed otherwise than by layers."""
        self.swept_hour = swept_hour
        self._swept: dict[int, bytes] = {}

    def sweep(self, log_ms: int, written: int) -> dict[str, Writes]:
        """Deletions, by workflow id, of what is past its time at `log_ms`, the log's time (epoch; 0 if unknown).

        `written`: number of rows that the layer writes."""
        found: dict[str, Writes] = {}
        hour = log_ms // HOUR_MS
        if hour == self.swept_hour:
            return found
        self._left = ROWS_MAX + written
        place = CLOSED
        while (key := self._first(place, after(CLOSED))) is not None:
            declared_ms = parse_closed_key(key).kept_ms
            # Half a day more, as the log's time may be ahead by so much.
            day = (log_ms - LEAP_MS - self._settings.get(declared_ms, declared_ms)) // DAY_MS
            if not self._sweep_days(found, declared_ms, day):
                return found
            place = closed_prefix(declared_ms + 1)
        self.reset(hour)
        return found

    def _sweep_days(self, found: dict[str, Writes], declared_ms: int, day: int) -> bool:
        """Delete the runs kept for `declared_ms` that closed before `day`; False if there are too many for a layer."""
        prefix = closed_prefix(declared_ms)
        bound = closed_bound(declared_ms, day) if day > 0 else prefix
        # From the last one deleted on: a scan over deleted rows is slow, and a sweep may take many layers.
        for key, _ in self._rows.scan(self._swept.get(declared_ms, prefix), bound):
            if not self._delete_run(found, key):
                return False
            self._swept[declared_ms] = key
        return True

    def _delete_run(self, found: dict[str, Writes], key: bytes) -> bool:
        """Delete a closed run, or as much of it as the layer takes; the header and the index entry go last: until then
        the same start is recognised as a repetition."""
        closed = parse_closed_key(key)
        writes = found.setdefault(closed.workflow_id, {})
        header = self._rows.get(run_key(closed.workflow_id))
        row = unpack_run(header) if header is not None else None
        if row is not None and _is_another(row, closed):
            self._delete(writes, key)
            return True
        if not (self._delete_history(writes, closed.workflow_id, closed.run_id) and self._left > 0):
            return False
        memo = memo_key(closed.workflow_id, closed.run_id)
        if self._rows.get(memo) is not None:
            self._delete(writes, memo)
        # The start of a run that another one followed when the history that names it was deleted already.
        start = message_key(closed.workflow_id, closed.run_id)
        known = self._rows.get(start) if start not in writes else None
        if known is not None and unpack_message(known).run_id == closed.run_id:
            self._delete(writes, start)
        if row is not None and row.run_id == closed.run_id:
            self._delete(writes, run_key(closed.workflow_id))
        self._delete(writes, key)
        return True

    def _delete_history(self, writes: Writes, workflow_id: str, run_id: str) -> bool:
        """Delete the run's history and the ids of the messages that took effect in it; False if some is left."""
        for kind in (JOINED, UPDATE, HISTORY):
            for key, value in self._rows.of_run(workflow_id, run_prefix(kind, workflow_id, run_id)):
                if self._left <= 0:
                    return False
                message_id = self._message_of(value) if kind == HISTORY else parse_message_of(key)
                message = message_key(workflow_id, message_id)
                known = self._rows.get(message) if message_id else None
                if known is not None and unpack_message(known).run_id == run_id:
                    self._delete(writes, message)
                self._delete(writes, key)
        return True

    def _delete(self, writes: Writes, key: bytes) -> None:
        writes[key] = None
        self._left -= 1

    def _first(self, start: bytes, stop: bytes) -> bytes | None:
        return next((key for key, _ in self._rows.scan(start, stop)), None)


def _is_another(row: RunRow, closed: ClosedKey) -> bool:
    """Whether the id's current run has the run id of the entry and closed later, or is open: the message that started a
    run which was deleted has started it again."""
    return row.run_id == closed.run_id and (row.status not in CLOSED_STATUSES or row.closed_ms // DAY_MS > closed.day)
