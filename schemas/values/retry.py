"""Retry policy of an activity or a workflow."""

from __future__ import annotations

import msgspec


class RetryPolicy(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Retries of a failed attempt.

    `retries_max`: attempts after the first, -1 without bound. Retry n waits `delays_ms[n-1]` milliseconds; past the end
    of that list the last delay is multiplied by `factor` each time, up to `delay_ms_max`."""

    retries_max: int = -1
    delays_ms: tuple[int, ...] = (1_000,)
    factor: float = 2.0
    delay_ms_max: int = 120_000
