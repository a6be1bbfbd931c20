"""How long closed runs are kept: for all statuses alike, or by the status that they closed with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.schemas.errors import BadInput
from penstock.schemas.values.durations import Duration, duration_ms

STATUSES = ("completed", "failed", "cancelled", "terminated", "continued", "reset")
"""Statuses of closed runs. `failed`: also those that were over their time, or whose history was too long."""

KEPT_MS_MIN = 1_000
"""Shorter times become this: the index of closed runs has other meanings for smaller numbers."""


class Kept(msgspec.Struct, frozen=True):
    """How long closed runs are kept (milliseconds): `by_status`, and all others for `others`, 0 if that is not said."""

    others: int = 0
    by_status: Mapping[str, int] = {}


def kept_of(given: Duration | Mapping[str, Duration] | None) -> Kept:
    """A time for all statuses, or one for each status that is named. Raises BadDuration, BadInput."""
    if given is None:
        return Kept()
    if not isinstance(given, Mapping):
        return Kept(_ms(given))
    return Kept(by_status={_checked(status): _ms(duration) for status, duration in given.items()})


def parse_kept(text: str) -> Kept:
    """As `kept_of`, from a text such as `7d` or `7d, failed=30d`. Raises BadDuration, BadInput."""
    others: list[str] = []
    by_status: dict[str, Duration] = {}
    for part in text.split(","):
        status, equals, duration = part.partition("=")
        if equals:
            by_status[status.strip()] = duration.strip()
        else:
            others.append(part.strip())
    if len(others) > 1:
        raise BadInput(f"it has several times for all statuses ({', '.join(others)}); write it like `7d, failed=30d`.")
    return Kept(_ms(others[0]) if others else 0, kept_of(by_status).by_status)


def _checked(status: Any) -> str:
    if status not in STATUSES:
        raise BadInput(f"{status!r} is no status of a closed run; write one of {', '.join(STATUSES)}.")
    return str(status)


def _ms(duration: Duration) -> int:
    return max(KEPT_MS_MIN, duration_ms(duration))
