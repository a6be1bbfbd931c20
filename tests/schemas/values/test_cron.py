"""Tests of cron expressions and calendars: what they name, and what is said of wrong ones."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from penstock.schemas.errors import BadInput
from penstock.schemas.values.cron import calendar_times, cron_times


def days(text: str, year: int = 2026, *, month: int = 5) -> list[int]:
    """Days of a month that an expression names."""
    times, found = cron_times(text), []
    day = date(year, month, 1)
    while day.month == month:
        found += [day.day] if times.has_day(day) else []
        day += timedelta(days=1)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 0 L * *", [31]),
        ("0 0 LW * *", [29]),  # 31 May 2026 is a Sunday
        ("0 0 * * 5L", [29]),
        ("0 0 * * fri#2", [8]),
        ("0 0 1,15-17 * *", [1, 15, 16, 17]),
        ("0 0 28/2 * *", [28, 30]),
        ("0 0 * * sat-sun", [2, 3, 9, 10, 16, 17, 23, 24, 30, 31]),
        ("0 0 * * 7", [3, 10, 17, 24, 31]),
        ("0 0 13 * fri", [1, 8, 13, 15, 22, 29]),
        ("@monthly", [1]),
    ],
)
def test_days_of_an_expression(text: str, expected: list[int]) -> None:
    """Names, lists, ranges, steps and last days name the days of Debian's cron and its known additions."""
    assert days(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("61 * * * *", "wrong in its minute, '61'"),
        ("* * * *", "does not have 5 fields"),
        ("* 5-2 * * *", "wrong in its hour, '5-2'"),
        ("* * 0 * *", "wrong in its day of the month, '0'"),
        ("* * * foo *", "wrong in its month, 'foo'"),
        ("* * * * mon#6", "wrong in its weekday, 'mon#6'"),
        ("*/0 * * * *", "wrong in its minute, '*/0'"),
        ("*/90 * * * *", "wrong in its minute, '*/90'"),
        ("¹ * * * *", "wrong in its minute, '¹'"),
        ("1,,2 * * * *", "wrong in its minute, ''"),
        ("* * l5 * *", "wrong in its day of the month, 'l5'"),
        (f"{'1,' * 200}1 * * * *", "does not have 5 fields"),
    ],
)
def test_a_wrong_expression_is_one_sentence(text: str, said: str) -> None:
    """A wrong expression raises BadInput with one sentence that names the field and says what fits."""
    with pytest.raises(BadInput) as caught:
        cron_times(text)
    assert said in str(caught.value)
    assert str(caught.value).count(". ") == 0


def test_a_calendar_needs_all_of_its_fields() -> None:
    """In a calendar day and weekday must both match, and the year."""
    times = calendar_times("0 9 13 * fri 2026-2027")
    found = [
        day for day in (date(2025, 6, 1) + timedelta(days=number) for number in range(1_500)) if times.has_day(day)
    ]
    assert found == [date(2026, 2, 13), date(2026, 3, 13), date(2026, 11, 13), date(2027, 8, 13)]


def test_no_day_follows_the_last_year() -> None:
    """Behind the last year of a calendar there is no day, which is found in bounded time."""
    assert calendar_times("0 0 * * * 2027").next_day(date(2028, 1, 1)) is None
