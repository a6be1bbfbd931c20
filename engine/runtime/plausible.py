"""The processor's clock without implausible jumps.

A shard's clock never goes back, so one reading that is a year ahead would let every timer of the shard wait for a
year. A forward jump against the time since boot is therefore refused until it has lasted; time goes on as before
meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

logger = structlog.get_logger(__name__)

JUMP_MS_MAX = 3_600_000
"""Forward jump that is believed at once: an hour, as after a slow restart of a virtual machine."""

LASTS_S = 600.0
"""How long a larger jump has to last."""


def since_boot_s() -> float:
    """Seconds since boot, those asleep included where the system counts them; it cannot be set."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.clock_gettime(clock) if clock is not None else time.monotonic()


class PlausibleClock:
    """A clock in epoch milliseconds over `wall_ms`, which may be set, and `steady_s`, which may not."""

    def __init__(self, wall_ms: Callable[[], int], steady_s: Callable[[], float] = since_boot_s) -> None:
        self._wall_ms, self._steady_s = wall_ms, steady_s
        self._seen_ms, self._seen_s = wall_ms(), steady_s()
        self._since_s: float | None = None

    def __call__(self) -> int:
        """The time; while a jump is refused, the last believed time plus what has passed since."""
        wall_ms, now_s = self._wall_ms(), self._steady_s()
        expected_ms = self._seen_ms + int((now_s - self._seen_s) * 1000)
        if wall_ms - expected_ms > JUMP_MS_MAX and not self._has_lasted(wall_ms, expected_ms, now_s):
            return expected_ms
        self._seen_ms, self._seen_s, self._since_s = wall_ms, now_s, None
        return wall_ms

    def _has_lasted(self, wall_ms: int, expected_ms: int, now_s: float) -> bool:
        ahead_s = (wall_ms - expected_ms) // 1000
        if self._since_s is None:
            self._since_s = now_s
            logger.warning(
                "the clock jumped ahead and is not believed yet; correct it, or its time counts after a while",
                ahead_s=ahead_s,
                counts_in_s=LASTS_S,
            )
        if now_s - self._since_s < LASTS_S:
            return False
        logger.warning("the clock's jump has lasted and counts from now on", ahead_s=ahead_s)
        return True


def warn_of_wrong_clock(shard: int, ahead_ms: int) -> None:
    """Log a shard whose clock a wrong clock had put ahead: its timers wait until the time has come."""
    if ahead_ms > JUMP_MS_MAX:
        logger.warning(
            "this shard's clock is ahead, and its timers wait that long: check this machine's clock; if it is right, "
            "start the processor once with --reset-clock",
            shard=shard,
            ahead_s=ahead_ms // 1000,
        )
