"""Durations such as "1h30m" and moments, converted to whole milliseconds."""

from __future__ import annotations

import math
import re
import reprlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from penstock.schemas.errors import BadDuration

Duration = str | int | float | timedelta
"""`"1d"`, `"1h30m"`, `"250ms"`, a number of seconds (`90`, or `"90"` as a text), or a timedelta."""

Moment = Duration | datetime
"""A duration from now, or an aware datetime."""

UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
DURATION_MS_MAX = 365_250 * UNIT_MS["d"]

_HOW = 'write it like "250ms", "90s", "1h30m", "1d" or "2w", as a number of seconds, or as a timedelta'
_SECONDS = re.compile(r"\s*\d+(?:\.\d+)?\s*", re.ASCII)
_ONE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def duration_ms(value: Duration) -> int:
    """The duration in milliseconds, rounded; a positive one is at least 1.

    Raises BadDuration if it cannot be parsed, is negative, or longer than 1,000 years.
    """
    exact = _exact_ms(value)
    if not 0 <= exact <= DURATION_MS_MAX:
        raise BadDuration(f"The duration {_shown(value)} is negative or longer than 1,000 years; {_HOW}.")
    return max(round(exact), math.ceil(min(exact, 1)))


def due_ms(value: Moment, now_ms: int) -> int:
    """The moment in milliseconds since the epoch; it may be in the past.

    Raises BadDuration as `duration_ms` does, and for a datetime without a time zone.
    """
    if not isinstance(value, datetime):
        return now_ms + duration_ms(value)
    if value.utcoffset() is None:
        raise BadDuration(f"The moment {value.isoformat()} has no time zone; add one, such as tzinfo=datetime.UTC.")
    return max(0, -((_EPOCH - value) // timedelta(milliseconds=1)))


def _exact_ms(value: Duration) -> Decimal | float:
    match value:
        case str():
            return _text_ms(value)
        case float() if not math.isfinite(value):
            raise BadDuration(f"The duration {value!r} is not finite; {_HOW}.")
        case int() | float() if not isinstance(value, bool):
            return value * 1_000
        case timedelta():
            return value / timedelta(milliseconds=1)
    raise BadDuration(f"The duration {_shown(value)} cannot be parsed; {_HOW}.")


def _text_ms(text: str) -> Decimal:
    """The sum of the text's parts, exactly (1.1 s are 1,100 ms, unlike with floats). A bare number means seconds."""
    if _SECONDS.fullmatch(text):
        return Decimal(text.strip()) * UNIT_MS["s"]
    parts = _ONE.findall(text)
    if not parts or _ONE.sub("", text).strip():
        raise BadDuration(f"The duration {reprlib.repr(text)} cannot be parsed; {_HOW}.")
    return sum((Decimal(number) * UNIT_MS[unit] for number, unit in parts), Decimal(0))


def _shown(value: object) -> str:
    # Python refuses to format an int of thousands of digits.
    return "given" if isinstance(value, int) and value.bit_length() > 100 else reprlib.repr(value)
