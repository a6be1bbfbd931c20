"""Retry policies from the decorator's options (schemas/values/retry_options.py)."""

from __future__ import annotations

from datetime import timedelta

from penstock.schemas.values.retry import RetryPolicy
from penstock.workers.activity.decorator import activity


def test_explicit_delays_repeat_the_last() -> None:
    """`backoff` as a list sets those delays, the last repeated and not limited by the default longest delay."""

    @activity(retries=4, backoff=["100ms", 5, timedelta(minutes=10)])
    def slow() -> None: ...

    assert slow.retry == RetryPolicy(retries_max=4, delays_ms=(100, 5_000, 600_000), factor=1.0, delay_ms_max=600_000)
