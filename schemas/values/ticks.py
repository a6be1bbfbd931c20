"""Moments of a schedule, computed in UTC.

Debian's rules where the clock is changed: a time of the day that a clock change skips comes once, at the first moment
after the gap; one that is repeated comes once, at its first; expressions that begin a minute or an hour with `*` follow
the clock, so they keep their cadence through a repeated hour.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from hashlib import blake2b
from zoneinfo import ZoneInfo

from penstock.schemas.errors import BadInput
from penstock.schemas.values.cron import LocalTimes, calendar_times, cron_times
from penstock.schemas.values.schedule_spec import ScheduleSpec

MINUTE_MS = 60_000
_MINUTES_AN_HOUR = 60
_EPOCH_DATE = date(1970, 1, 1)
_WEST_HOURS = 26
"""Local midnight comes at most so long before midnight of UTC, whatever the clock does that day."""


def ticks(spec: ScheduleSpec, after_ms: int, *, bounded: bool = True) -> Iterator[int]:
    """The moments of a schedule after `after_ms` (epoch), in order; none twice. Raises BadInput for a wrong spec.

    `bounded`: only those from its start to its end."""
    if bounded and spec.start_ms:
        after_ms = max(after_ms, spec.start_ms - 1)
    last_ms = after_ms
    for tick_ms in _merged(spec, after_ms):
        if bounded and 0 < spec.end_ms < tick_ms:
            return
        if tick_ms > last_ms:
            last_ms = tick_ms
            yield tick_ms


def first_tick(spec: ScheduleSpec, after_ms: int) -> int:
    """The first moment of a schedule after `after_ms` (epoch); 0 if none follows."""
    return next(ticks(spec, after_ms), 0)


def jitter_of(schedule_id: str, tick_ms: int, jitter_ms: int) -> int:
    """How long after its tick a run is started: from 0 to `jitter_ms`, always the same for the same tick."""
    if jitter_ms <= 0:
        return 0
    digest = blake2b(f"{schedule_id}/{tick_ms}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % (jitter_ms + 1)


@lru_cache(maxsize=1_000)
def zone_of(name: str) -> tzinfo:
    """The time zone of that name. Raises BadInput."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; no name at all; a folder of the database
        raise BadInput(
            f"There is no time zone {name[:60]!r}; give a name of the IANA database such as 'Europe/Prague' or 'UTC'."
        ) from None


def _merged(spec: ScheduleSpec, after_ms: int) -> Iterator[int]:
    zone = zone_of(spec.timezone)
    found = [_of_times(cron_times(text), zone, after_ms) for text in spec.cron]
    found += [_of_times(calendar_times(text), zone, after_ms) for text in spec.calendar]
    if spec.every_ms:
        found.append(_of_interval(spec.every_ms, spec.start_ms, after_ms))
    return found[0] if len(found) == 1 else iter(heapq.merge(*found))


def _of_interval(every_ms: int, anchor_ms: int, after_ms: int) -> Iterator[int]:
    tick_ms = anchor_ms + ((after_ms - anchor_ms) // every_ms + 1) * every_ms
    while True:
        yield tick_ms
        tick_ms += every_ms


def _of_times(times: LocalTimes, zone: tzinfo, after_ms: int) -> Iterator[int]:
    if times.follows_clock:
        return _of_clock(times, zone, after_ms)
    return _of_days(times, zone, after_ms)


def _of_days(times: LocalTimes, zone: tzinfo, after_ms: int) -> Iterator[int]:
    """Times of days. Each local time is one moment, so the moments are in the order of the local times."""
    day: date | None = _local(after_ms // MINUTE_MS, zone).date() - timedelta(days=1)
    while day is not None and (day := times.next_day(day)) is not None:
        for hour in times.hours:
            for minute in times.minutes:
                tick_ms = _moment(datetime.combine(day, time(hour, minute)), zone) * MINUTE_MS
                if tick_ms > after_ms:
                    yield tick_ms
        day += timedelta(days=1)


def _moment(local: datetime, zone: tzinfo) -> int:
    """The minute (since the epoch) of a local time: its first one, or the first one after the gap that it is in."""
    minute = _minute_of(local.replace(tzinfo=zone))
    if _local(minute, zone) == local:
        return minute
    # In a gap the earlier offset gives a minute after it, and the later offset one before it.
    before, behind = _minute_of(local.replace(tzinfo=zone, fold=1)), minute
    while behind - before > 1:
        middle = (before + behind) // 2
        if _local(middle, zone) > local:
            behind = middle
        else:
            before = middle
    return behind


def _of_clock(times: LocalTimes, zone: tzinfo, after_ms: int) -> Iterator[int]:
    """Moments of the clock, in hours of UTC: within one, the offset mostly stays, and else each minute is looked at."""
    first = after_ms // MINUTE_MS + 1
    block = first - first % _MINUTES_AN_HOUR
    while True:
        begin, end = _local(block, zone), _local(block + _MINUTES_AN_HOUR - 1, zone)
        if times.has_day(begin.date()) or times.has_day(end.date()):
            for minute in _in_block(times, zone, block, begin, end):
                if minute >= first:
                    yield minute * MINUTE_MS
            block += _MINUTES_AN_HOUR
            continue
        day = times.next_day(end.date())
        if day is None:
            return
        midnight = (day - _EPOCH_DATE).days * 24 * _MINUTES_AN_HOUR
        block = max(block + _MINUTES_AN_HOUR, midnight - _WEST_HOURS * _MINUTES_AN_HOUR)


def _in_block(times: LocalTimes, zone: tzinfo, block: int, begin: datetime, end: datetime) -> Iterator[int]:
    """The minutes of an hour of UTC that match."""
    is_steady = end - begin == timedelta(minutes=_MINUTES_AN_HOUR - 1)
    if is_steady and begin.hour not in times.hours and end.hour not in times.hours:
        return
    for minute in range(block, block + _MINUTES_AN_HOUR):
        local = begin + timedelta(minutes=minute - block) if is_steady else _local(minute, zone)
        if local.minute in times.minutes and local.hour in times.hours and times.has_day(local.date()):
            yield minute


def _local(minute: int, zone: tzinfo) -> datetime:
    """Local time of a minute since the epoch, without its zone."""
    return datetime.fromtimestamp(minute * 60, zone).replace(tzinfo=None)


def _minute_of(aware: datetime) -> int:
    return int(aware.timestamp()) // 60
