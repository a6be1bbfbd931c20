"""Delay before the next attempt of a failed activity."""

from __future__ import annotations

from penstock.schemas.failure import Failure
from penstock.schemas.values.retry import RetryPolicy


def retry_delay_ms(policy: RetryPolicy, failure: Failure, attempt: int) -> int | None:
    """Milliseconds to wait after attempt number `attempt` (from 1) failed like this; None if no retry is left."""
    if failure.non_retryable or failure.kind == "cancelled":
        return None
    if policy.retries_max >= 0 and attempt > policy.retries_max:
        return None
    return delay_ms(policy, attempt)


def delay_ms(policy: RetryPolicy, retry: int) -> int:
    """Milliseconds before retry number `retry` (from 1): the listed delays, then the last one growing by `factor`."""
    delays = policy.delays_ms or (0,)
    if retry <= len(delays):
        return min(delays[retry - 1], policy.delay_ms_max) if policy.factor != 1.0 else delays[retry - 1]
    most = max(policy.delay_ms_max, delays[-1])
    try:
        return int(min(delays[-1] * policy.factor ** min(retry - len(delays), 64), most))
    except (OverflowError, ValueError):  # ValueError: no delay times an endless factor
        return most
