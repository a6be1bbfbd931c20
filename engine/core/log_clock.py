"""The log's time as a shard sees it in the append times of its inputs; retention goes by it."""

from __future__ import annotations

from penstock.engine.core.keys import NEVER_MS

LEAP_MS = 43_200_000
"""Half a day. An append time that is further away from the log's time than this counts only once it has lasted as long:
a clock that is set forward by days, and back again, must not delete what has just closed."""


class LogClock:
    """Time that advances with append times (epoch); at most LEAP_MS ahead of the true time. `now_ms`: 0 until it is
    known. `last_ms`: the last append time; `leap_ms`: the one at which a leap began, 0 without one."""

    __slots__ = ("last_ms", "leap_ms", "now_ms")

    def __init__(self, now_ms: int = 0, last_ms: int = 0, leap_ms: int = 0) -> None:
        self.now_ms, self.last_ms, self.leap_ms = now_ms, last_ms, leap_ms

    def note(self, appended_ms: int) -> None:
        """Take the earliest append time of a layer's inputs; NEVER_MS if it has none."""
        if appended_ms == NEVER_MS:
            return
        if self.leap_ms and appended_ms - self.leap_ms >= LEAP_MS:
            self.now_ms, self.leap_ms = self.leap_ms, 0
        if self.now_ms and abs(appended_ms - self.now_ms) <= LEAP_MS:
            self.leap_ms = 0
            if appended_ms - self.last_ms <= LEAP_MS:  # several wrong ones must not add up
                self.now_ms = max(self.now_ms, appended_ms)
        elif not self.leap_ms or appended_ms < self.leap_ms:
            self.leap_ms = appended_ms
        self.last_ms = appended_ms
