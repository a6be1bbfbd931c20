"""Tests of durations and moments."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.schemas.errors import BadDuration
from penstock.schemas.values.durations import DURATION_MS_MAX, due_ms, duration_ms
from tests.schemas.samples import SEEDED


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        ("250ms", 250),
        ("90s", 90_000),
        ("5m", 300_000),
        ("1h30m", 5_400_000),
        ("1d", 86_400_000),
        ("2w", 1_209_600_000),
        (" 1h 5m ", 3_900_000),
        ("1.5h", 5_400_000),
        ("1.1s", 1_100),
        ("1s1ms", 1_001),
        ("0s", 0),
        ("90", 90_000),
        (" 0.25 ", 250),
        ("1.1", 1_100),
        ("0", 0),
        (0, 0),
        (90, 90_000),
        (0.25, 250),
        (timedelta(hours=48), 172_800_000),
        (timedelta(), 0),
    ],
)
def test_durations(value, milliseconds):
    """Texts with units, numbers of seconds (texts, too) and timedeltas mean the same everywhere."""
    assert duration_ms(value) == milliseconds


@pytest.mark.parametrize("value", ["0.1ms", 0.0001, timedelta(microseconds=1)])
def test_a_short_duration_is_not_none(value):
    """A positive duration below a millisecond becomes one, so that a short timeout does not become zero."""
    assert duration_ms(value) == 1


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "1h 5",
        "5 1h",
        "1.",
        "-1",
        "1e3",
        "٣",
        "s",
        "1x",
        "1h!",
        "h1",
        "-1s",
        "1,5h",
        "٣s",
        "1e3s",
        "1H",
        None,
        True,
        b"1s",
        [],
        -1,
        -0.5,
        timedelta(days=-1),
        float("nan"),
        float("inf"),
        1e308,
        10**5000,
        "9" * 50 + "w",
        timedelta.max,
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_durations(value):
    """Any other value is refused with a message that shows how to write one."""
    with pytest.raises(BadDuration, match='write it like "250ms", "90s", "1h30m"') as raised:
        duration_ms(value)
    assert len(str(raised.value)) < 250


def test_the_longest_duration():
    """A thousand years are allowed and a second more is not."""
    assert duration_ms("365250d") == DURATION_MS_MAX
    with pytest.raises(BadDuration, match="longer than 1,000 years"):
        duration_ms("365250d1s")


@SEEDED
@given(st.integers(0, DURATION_MS_MAX))
def test_whole_milliseconds_are_exact(milliseconds):
    """A whole number of milliseconds is kept, written as text or as a timedelta."""
    assert duration_ms(f"{milliseconds}ms") == milliseconds
    assert duration_ms(timedelta(milliseconds=milliseconds)) == milliseconds


@pytest.mark.parametrize(
    ("moment", "due"),
    [
        ("1s", 6_000),
        (2, 7_000),
        (timedelta(milliseconds=1), 5_001),
        (datetime(1970, 1, 1, 0, 1, tzinfo=UTC), 60_000),
        (datetime(1970, 1, 1, 2, 1, tzinfo=timezone(timedelta(hours=2))), 60_000),
        (datetime(1970, 1, 1, 0, 0, 1, 1, tzinfo=UTC), 1_001),
        (datetime(1960, 1, 1, tzinfo=UTC), 0),
    ],
)
def test_moments(moment, due):
    """A duration counts from now; an aware datetime is itself, rounded up so that nothing comes early."""
    assert due_ms(moment, 5_000) == due


def test_the_last_datetime_has_a_moment():
    """The greatest datetime, in any time zone, is a valid moment."""
    assert due_ms(datetime.max.replace(tzinfo=UTC), 0) == 253_402_300_800_000
    assert due_ms(datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))), 0) > 253_402_300_800_000


def test_a_naive_datetime_is_refused():
    """A datetime without a time zone is refused, and the message says what to add."""
    with pytest.raises(BadDuration, match="2026-01-02T00:00:00 has no time zone; add one"):
        due_ms(datetime(2026, 1, 2), 0)  # noqa: DTZ001 - the claim
