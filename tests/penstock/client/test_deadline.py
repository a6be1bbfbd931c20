"""Tests of deadlines."""

import time

import pytest

from penstock.client.deadline import deadline_after, seconds_left
from penstock.schemas.errors import BadDuration


def test_a_timeout():
    """A deadline is its timeout from now, as a duration or a number of seconds."""
    assert 59 < seconds_left(deadline_after("1m")) <= 60
    assert 59 < seconds_left(deadline_after(60)) <= 60


def test_no_limit():
    """Without a timeout there is no deadline and no limit."""
    assert deadline_after(None) is None
    assert seconds_left(None) is None


def test_a_past_deadline():
    """After the deadline no seconds are left."""
    assert seconds_left(time.monotonic() - 1) == 0.0


def test_an_invalid_timeout():
    """An invalid timeout raises BadDuration."""
    with pytest.raises(BadDuration):
        deadline_after("soon")
