"""Options that bound an activity (workers/activity/bounds.py)."""

from __future__ import annotations

import re
from typing import Any

import pytest

from penstock.schemas.errors import BadDuration, BadInput
from penstock.schemas.values.bounds import ActivityBounds
from penstock.workers.activity.decorator import activity


def test_an_activity_without_such_options_has_no_bounds() -> None:
    """A plain activity asks for nothing beside its timeout and its retries."""

    @activity(timeout="10s", retries=2, non_retryable=TimeoutError)
    def plain() -> None: ...

    assert plain.request.bounds is None


def test_options_of_a_call_change_those_of_the_activity() -> None:
    """A call replaces single options, keeps the others, and may remove one with None."""

    @activity(heartbeat="10s", schedule_to_close="1h", jitter=0.5)
    def bounded() -> None: ...

    call = bounded().options(heartbeat=None, schedule_to_start="5m", cancel="wait")
    assert call.request.bounds == ActivityBounds(
        schedule_to_start_ms=300_000, schedule_to_close_ms=3_600_000, jitter=0.5, waits=True
    )
    none = call.options(schedule_to_close=None, schedule_to_start=None, jitter=0.0, cancel="abandon")
    assert none.request.bounds is None
    none.close()


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"heartbeat": 0}, BadDuration, "heartbeat=0 is too short"),
        ({"schedule_to_start": "soon"}, BadDuration, "'soon' cannot be parsed"),
        ({"schedule_to_close": "-1s"}, BadDuration, "cannot be parsed"),
        ({"jitter": 2}, BadInput, "jitter=2 is invalid: give a fraction of the delay from 0 to 1, such as 0.2."),
        ({"jitter": "5m"}, BadInput, "jitter='5m' is invalid"),
        ({"cancel": "kill"}, BadInput, 'cancel=\'kill\' is invalid: give "abandon" or "wait".'),
    ],
)
def test_mistakes(options: dict[str, Any], error: type[Exception], says: str) -> None:
    """An option that makes no sense is one sentence at the decoration."""
    with pytest.raises(error, match=re.escape(says)):
        activity(**options)(lambda: None)
