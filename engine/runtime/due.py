"""Due timers and retries of one shard, read from its due index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from penstock.engine.core.decision import (
    BeginRun,
    FireSchedule,
    FireTimer,
    GiveUpCommand,
    ResumeActivation,
    RetryActivity,
    TimeOutActivity,
    TimeOutRun,
)
from penstock.engine.core.keys import (
    ACTIVATION_DUE,
    DEADLINE_DUE,
    KEPT_DUE,
    NEVER_MS,
    RETRY_DUE,
    SCHEDULE_DUE,
    START_DUE,
    TIMEOUT_DUE,
    TIMER_DUE,
    due_bound,
    due_ms_of,
    parse_due_key,
)
from penstock.engine.core.view import RowScanner

DUE_MAX = 1_000
"""Due timers decided in one layer."""

POSTPONED_MS = 60_000
"""Delay of a timer whose decision failed."""

DueInput = (
    FireTimer
    | RetryActivity
    | TimeOutActivity
    | ResumeActivation
    | BeginRun
    | TimeOutRun
    | GiveUpCommand
    | FireSchedule
)

_INPUTS: Mapping[str, type[DueInput]] = {
    TIMER_DUE: FireTimer,
    RETRY_DUE: RetryActivity,
    TIMEOUT_DUE: TimeOutActivity,
    ACTIVATION_DUE: ResumeActivation,
    START_DUE: BeginRun,
    DEADLINE_DUE: TimeOutRun,
    KEPT_DUE: GiveUpCommand,
    SCHEDULE_DUE: FireSchedule,
}


class DueTimers:
    """The earliest entries of the due index. Rows are changed by the events of the timers alone."""

    def __init__(self, rows: RowScanner) -> None:
        self._rows = rows
        self._next_ms = self._scanned_ms = 0
        self._postponed: dict[bytes, int] = {}

    @property
    def next_ms(self) -> int:
        """When the next timer is due (epoch); NEVER_MS without any."""
        return min(self._next_ms, *self._postponed.values()) if self._postponed else self._next_ms

    def note(self, due_ms: int) -> None:
        """Register a timer that was added to the index, perhaps at a time before the last look: clocks are set back."""
        self._next_ms, self._scanned_ms = min(self._next_ms, due_ms), min(self._scanned_ms, due_ms)

    def reset(self) -> None:
        """Read the index from its beginning again: rows changed otherwise than by decisions."""
        self._next_ms = self._scanned_ms = 0
        self._postponed.clear()

    def take(self, now_ms: int, count: int = DUE_MAX) -> list[tuple[bytes, DueInput]]:
        """The timers due at `now_ms`, the earliest first, `count` at most; each with its key."""
        found = [key for key, until_ms in self._postponed.items() if until_ms <= now_ms]
        for key in found:
            del self._postponed[key]
        self._next_ms = NEVER_MS
        bound = due_bound(now_ms + 1)
        # From the last scan on: nothing that was added since is due earlier, and a scan over deleted timers is slow.
        for key, _ in self._rows.scan(due_bound(self._scanned_ms), b"U"):
            if key >= bound or len(found) >= count:
                self._next_ms = due_ms_of(key)
                break
            if key not in self._postponed and key not in found:
                found.append(key)
        self._scanned_ms = min(now_ms, self._next_ms)
        return [(key, _input_of(key)) for key in found]

    def first(self, now_ms: int) -> bytes | None:
        """Key of the first timer due at `now_ms`; None without one."""
        for key, _ in self.take(now_ms, 1):
            self.put_back([key])
            return key
        return None

    def put_back(self, keys: Sequence[bytes]) -> None:
        """Return timers that were taken and not decided."""
        for key in keys:
            due_ms = due_ms_of(key)
            self._next_ms, self._scanned_ms = min(self._next_ms, due_ms), min(self._scanned_ms, due_ms)

    def postpone(self, key: bytes, now_ms: int) -> None:
        """Try a timer again later, as its decision failed."""
        self._postponed[key] = now_ms + POSTPONED_MS


def _input_of(key: bytes) -> DueInput:
    found = parse_due_key(key)
    return _INPUTS[found.kind](workflow_id=found.workflow_id, run_id=found.run_id, sequence=found.sequence)
