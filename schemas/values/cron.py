"""Cron expressions and calendars: which local times of which days they name.

A cron expression is read as Debian's cron reads it: five fields; the day of the month and the weekday must both match
if one of them begins with `*`, and either suffices otherwise. A calendar has a sixth field, the year, and all of its
fields must match. Added to both: names of months and weekdays, `L` (last day), `LW` (last day from Monday to Friday),
`5L` (last Friday), `5#2` (second Friday), and for cron @hourly, @daily, @weekly, @monthly, @yearly.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from datetime import date, timedelta
from functools import lru_cache
from typing import NamedTuple

import msgspec

from penstock.schemas.errors import BadInput

YEARS_AHEAD = 50
"""How far a next day is searched. All combinations of day and weekday recur within it."""

LAST = -1
"""In place of a number: the last one of the month."""

_EXPRESSION_CHARS_MAX = 200
_NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


class _Field(NamedTuple):
    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()


_MINUTE, _HOUR, _DAY = _Field("minute", 0, 59), _Field("hour", 0, 23), _Field("day of the month", 1, 31)
_MONTH = _Field(
    "month", 1, 12, ("", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
)
_WEEKDAY = _Field("weekday", 0, 7, ("sun", "mon", "tue", "wed", "thu", "fri", "sat"))
_YEAR = _Field("year", 1970, 2199)
_FIELDS = (_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY, _YEAR)


class LocalTimes(msgspec.Struct, frozen=True):
    """Local times of days that match.

    `follows_clock`: they are moments of the clock (every so many minutes), which come twice in a repeated hour and not
    at all in a skipped one; otherwise they are times of a day, which come once on each. `weekdays`: from 0 for Sunday.
    `nth_weekdays`: weekday, and which of the month, LAST for the last. `needs_both`: day and weekday must match.
    `years`: empty for all."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    nth_weekdays: frozenset[tuple[int, int]]
    last_workday: bool
    needs_both: bool
    follows_clock: bool
    years: frozenset[int] = frozenset()

    def has_day(self, day: date) -> bool:
        """Whether the times are those of this day."""
        if day.month not in self.months or (self.years and day.year not in self.years):
            return False
        if self.needs_both:
            return self._has_number(day) and self._has_weekday(day)
        return self._has_number(day) or self._has_weekday(day)

    def next_day(self, day: date) -> date | None:
        """The first day from `day` on that matches; None if none does within YEARS_AHEAD."""
        year_max = min(day.year + YEARS_AHEAD, max(self.years, default=_YEAR.most), _YEAR.most)
        while day.year <= year_max:
            if self.years and day.year not in self.years:
                day = date(day.year + 1, 1, 1)
            elif day.month not in self.months:
                day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
            elif self.has_day(day):
                return day
            else:
                day += timedelta(days=1)
        return None

    def _has_number(self, day: date) -> bool:
        if day.day in self.days:
            return True
        if LAST not in self.days and not self.last_workday:
            return False
        last = calendar.monthrange(day.year, day.month)[1]
        if LAST in self.days and day.day == last:
            return True
        if not self.last_workday:
            return False
        last_weekday = day.replace(day=last).weekday()
        return day.day == last - max(0, last_weekday - 4)

    def _has_weekday(self, day: date) -> bool:
        weekday = (day.weekday() + 1) % 7
        if weekday in self.weekdays:
            return True
        if not self.nth_weekdays:
            return False
        if (weekday, (day.day + 6) // 7) in self.nth_weekdays:
            return True
        return (weekday, LAST) in self.nth_weekdays and day.day + 7 > calendar.monthrange(day.year, day.month)[1]


@lru_cache(maxsize=1_000)
def cron_times(text: str) -> LocalTimes:
    """The times of a cron expression. Raises BadInput."""
    return _times(text, "cron expression", _NAMED.get(text.strip().lower(), text), _FIELDS[:5])


@lru_cache(maxsize=1_000)
def calendar_times(text: str) -> LocalTimes:
    """The times of a calendar: minute, hour, day of the month, month, weekday, year. Raises BadInput."""
    return _times(text, "calendar", text, _FIELDS)


def _times(text: str, what: str, expression: str, fields: tuple[_Field, ...]) -> LocalTimes:
    parts = expression.lower().split()
    if len(text) > _EXPRESSION_CHARS_MAX or len(parts) != len(fields):
        shown = text if len(text) <= _EXPRESSION_CHARS_MAX else f"{text[:40]}…"
        names = ", ".join(field.name for field in fields)
        raise BadInput(
            f"The {what} {shown!r} does not have {len(fields)} fields: {names}; for example {_like(fields)}."
        )
    reader = _Reader(text, what)
    minute, hour, day, month, weekday, *year = (
        reader.read(field, part) for field, part in zip(fields, parts, strict=True)
    )
    is_calendar = bool(year)
    times = LocalTimes(
        minutes=tuple(sorted(minute.numbers)),
        hours=tuple(sorted(hour.numbers)),
        days=frozenset(day.numbers),
        months=frozenset(month.numbers),
        weekdays=frozenset(number % 7 for number in weekday.numbers),
        nth_weekdays=frozenset((number % 7, nth) for number, nth in weekday.nth),
        last_workday=day.last_workday,
        needs_both=is_calendar or parts[2].startswith("*") or parts[4].startswith("*"),
        follows_clock=parts[0].startswith("*") or parts[1].startswith("*"),
        years=frozenset(year[0].numbers) if is_calendar and parts[5] != "*" else frozenset(),
    )
    if times.next_day(date(max(min(times.years, default=2_000), 2_000), 1, 1)) is None:
        raise BadInput(f"The {what} {text!r} names no day that exists; change its day, month or weekday.")
    return times


def _like(fields: tuple[_Field, ...]) -> str:
    return "'30 2 * * mon-fri'" if len(fields) == 5 else "'30 2 * * mon-fri *'"


class _Read:
    """What one field names."""

    def __init__(self) -> None:
        self.numbers: set[int] = set()
        self.nth: set[tuple[int, int]] = set()
        self.last_workday = False


class _Reader:
    """Reads the fields of one expression. `text`, `what`: for errors."""

    def __init__(self, text: str, what: str) -> None:
        self._text, self._what = text, what

    def read(self, field: _Field, part: str) -> _Read:
        found = _Read()
        for term in part.split(","):
            try:
                self._term(found, field, term)
            except ValueError:
                raise BadInput(self._problem(field, term)) from None
        return found

    def _term(self, found: _Read, field: _Field, term: str) -> None:
        """Add what a term names. Raises ValueError."""
        if field is _DAY and term in {"l", "lw"}:
            found.last_workday |= term == "lw"
            found.numbers |= {LAST} if term == "l" else set()
        elif field is _WEEKDAY and "#" in term:
            number, _, nth = term.partition("#")
            found.nth.add((_number(field, number), _between(1, _digits(nth), 5)))
        elif field is _WEEKDAY and term.endswith("l") and len(term) > 1:
            found.nth.add((_number(field, term[:-1]), LAST))
        else:
            found.numbers |= set(_range(field, term))

    def _problem(self, field: _Field, term: str) -> str:
        extra = {"day of the month": ", L for the last", "weekday": ", sun to sat, 5L, 5#2", "month": ", jan to dec"}
        return (
            f"The {self._what} {self._text!r} is wrong in its {field.name}, {term!r}: write `*` or numbers from "
            f"{field.least} to {field.most}, as 1,15 or 1-5 or */5{extra.get(field.name, '')}."
        )


def _range(field: _Field, term: str) -> Iterator[int]:
    whole, slash, step_text = term.partition("/")
    step = _between(1, _digits(step_text), field.most) if slash else 1
    if whole == "*":
        first, last = field.least, field.most
    elif "-" in whole:
        first_text, _, last_text = whole.partition("-")
        first, last = _number(field, first_text), _number(field, last_text)
        if field is _WEEKDAY and last == 0 and first > 0:  # sat-sun
            last = 7
    else:
        first = _number(field, whole)
        last = field.most if slash else first
    _between(first, last, field.most)
    return iter(range(first, last + 1, step))


def _number(field: _Field, text: str) -> int:
    if text and text in field.names:
        return field.names.index(text)
    return _between(field.least, _digits(text), field.most)


def _digits(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(text)
    return int(text)


def _between(least: int, number: int, most: int) -> int:
    if not least <= number <= most:
        raise ValueError(number)
    return number
