"""Tests of the delays between attempts."""

from __future__ import annotations

from penstock.engine.core.retry import delay_ms, retry_delay_ms
from penstock.schemas.failure import Failure
from penstock.schemas.values.retry import RetryPolicy


def test_no_retries_are_none() -> None:
    """With `retries_max` 0 the first failure is the last."""
    failure = Failure(type="builtins.OSError", message="no")
    assert retry_delay_ms(RetryPolicy(retries_max=0), failure, 1) is None
    assert retry_delay_ms(RetryPolicy(retries_max=1), failure, 1) is not None


def test_no_backoff_factor_is_too_large() -> None:
    """Delays stop growing at their maximum, before the factor's power exceeds the range of floats."""
    policy = RetryPolicy(delays_ms=(1_000,), factor=1e200, delay_ms_max=120_000)
    assert [delay_ms(policy, retry) for retry in (1, 2, 50)] == [1_000, 120_000, 120_000]
