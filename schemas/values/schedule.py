"""Schedules as users write them, and what may be wrong with one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from difflib import get_close_matches
from typing import Literal
from zoneinfo import ZoneInfo, available_timezones

from penstock.schemas.errors import BadInput, BadName
from penstock.schemas.ids import SCHEDULE_PREFIX, check_workflow_id
from penstock.schemas.values.cron import calendar_times, cron_times
from penstock.schemas.values.durations import Duration, due_ms, duration_ms
from penstock.schemas.values.schedule_spec import CATCH_UP_MS, DAY_MS, OVERLAPS, ScheduleSpec
from penstock.schemas.values.ticks import zone_of

Overlap = Literal["skip", "buffer_one", "buffer_all", "cancel_other", "terminate_other", "allow_all"]

EVERY_MS_MIN = 1_000
EVERY_MS_MAX = 100 * 365 * 86_400_000
MOMENT_MS_MAX = 7_258_118_399_999  # the end of 2199, the last year of cron expressions (cron.py)
JITTER_MS_MAX = DAY_MS
CATCH_UP_MS_MIN = 10_000
"""A shard may take some seconds to change hands."""

SCHEDULE_NAME_BYTES_MAX = 200
"""Its runs have longer ids, which are workflow ids."""

EXPRESSIONS_MAX = 20

_Part = int | str | Sequence[int | str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calendar:
    """Local times of days, such as `Calendar(hour=9, minute=30, weekday="mon-fri")`.

    Each field takes a number, a text as in a cron expression (`"mon-fri"`, `"*/15"`, day `"L"` for the last of the
    month, weekday `"fri#2"`), or several of both in a list. All fields must match."""

    minute: _Part = 0
    hour: _Part = 0
    day: _Part = "*"
    month: _Part = "*"
    weekday: _Part = "*"
    year: _Part = "*"

    def text(self) -> str:
        """The fields as one text (ScheduleSpec). Raises BadInput."""
        parts = [_part_text(field.name, getattr(self, field.name)) for field in dataclasses.fields(self)]
        text = " ".join(parts)
        calendar_times(text)
        return text


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """When a schedule starts runs: the ticks of `cron`, `every` and `calendar` together; at least one is needed.

    `cron`: an expression such as `"0 2 * * *"`, or several. `every`: an interval of elapsed time (`"90m"`), counted
    from `start` if that is given. `calendar`: a Calendar, or several. `timezone`: IANA name, for `cron` and `calendar`.
    `start`, `end`: aware datetimes; ticks before and after them do not count. `jitter`: a run starts up to so long
    after its tick, always equally long for the same tick.

    `overlap`, while a run of the schedule is open: `skip` the tick; `buffer_one` lets one tick wait, `buffer_all` each;
    `cancel_other` and `terminate_other` end the open run, then start; `allow_all` starts at once. `catch_up`: age up to
    which a tick is made up for that no processor decided in time, a year by default, 10 s at least. `remaining`: number
    of ticks to take. `paused`, `note`: begin paused, and why. `pause_on_failure`: pause when a run fails.

    Raises BadInput, BadDuration."""

    cron: str | Sequence[str] = ()
    every: Duration | None = None
    calendar: Calendar | Sequence[Calendar] = ()
    timezone: str | ZoneInfo = "UTC"
    overlap: Overlap = "skip"
    jitter: Duration = 0
    catch_up: Duration | None = None
    start: datetime | None = None
    end: datetime | None = None
    remaining: int | None = None
    paused: bool = False
    note: str = ""
    pause_on_failure: bool = False

    def __post_init__(self) -> None:
        self.spec()

    def spec(self) -> ScheduleSpec:
        """The schedule as records hold it."""
        calendars = (self.calendar,) if isinstance(self.calendar, Calendar) else tuple(self.calendar)
        zone = self.timezone.key if isinstance(self.timezone, ZoneInfo) else self.timezone
        if not isinstance(zone, str):
            raise BadInput(f"timezone must be the name of a time zone such as 'Europe/Prague', not {zone!r}.")
        spec = ScheduleSpec(
            cron=(self.cron,) if isinstance(self.cron, str) else tuple(self.cron),
            calendar=tuple(calendar.text() for calendar in calendars),
            every_ms=0 if self.every is None else max(1, duration_ms(self.every)),
            timezone=zone,
            start_ms=0 if self.start is None else due_ms(self.start, 0),
            end_ms=0 if self.end is None else due_ms(self.end, 0),
            jitter_ms=duration_ms(self.jitter),
            overlap=self.overlap,
            catch_up_ms=CATCH_UP_MS if self.catch_up is None else duration_ms(self.catch_up),
            remaining=-1 if self.remaining is None else self.remaining,
            pause_on_failure=self.pause_on_failure,
        )
        try:
            check_spec(spec)
        except BadInput as error:
            raise BadInput(f"{error}{_meant(zone)}") from None
        return spec


def check_spec(spec: ScheduleSpec) -> None:
    """Check when a schedule starts runs. Raises BadInput with one sentence about the first mistake."""
    if not (spec.cron or spec.calendar or spec.every_ms):
        raise BadInput("The schedule has no ticks: give it cron=, every= or calendar=.")
    if len(spec.cron) + len(spec.calendar) > EXPRESSIONS_MAX:
        raise BadInput(f"The schedule has more than {EXPRESSIONS_MAX} expressions; make several schedules of them.")
    for text in spec.cron:
        cron_times(text)
    for text in spec.calendar:
        calendar_times(text)
    zone_of(spec.timezone)
    check_overlap(spec.overlap)
    if spec.every_ms and spec.every_ms < EVERY_MS_MIN:
        raise BadInput(f"every is {spec.every_ms} ms; a schedule ticks once a second at most.")
    if spec.every_ms > EVERY_MS_MAX or max(spec.start_ms, spec.end_ms) > MOMENT_MS_MAX:
        raise BadInput("every is 100 years at most, and start and end are before the year 2200.")
    if not 0 <= spec.jitter_ms <= JITTER_MS_MAX:
        raise BadInput("jitter must be from 0 to one day.")
    if spec.catch_up_ms < CATCH_UP_MS_MIN:
        raise BadInput(
            f"catch_up must be at least {CATCH_UP_MS_MIN // 1000} s: a shard may take some seconds to change hands."
        )
    if spec.remaining < -1 or spec.remaining == 0:
        raise BadInput("remaining must be the number of ticks to take, 1 or more.")
    if min(spec.start_ms, spec.end_ms) < 0 or 0 < spec.end_ms < spec.start_ms:
        raise BadInput("The schedule ends before it starts; change start or end.")


def check_overlap(overlap: str) -> None:
    """Check the name of an overlap policy. Raises BadInput."""
    if overlap not in OVERLAPS:
        raise BadInput(f"overlap must be one of {', '.join(OVERLAPS)}, not {str(overlap)[:40]!r}.")


def schedule_id(name: str) -> str:
    """The id under which a schedule's records stand. Raises BadName."""
    check_workflow_id(name)
    if len(name.encode()) > SCHEDULE_NAME_BYTES_MAX:
        raise BadName(f"The schedule's name {name[:40]!r}… has more than {SCHEDULE_NAME_BYTES_MAX} bytes; shorten it.")
    return f"{SCHEDULE_PREFIX}{name}"


def schedule_name(id: str) -> str:
    """The name of a schedule by the id of its records."""
    return id.removeprefix(SCHEDULE_PREFIX)


def _part_text(name: str, part: _Part) -> str:
    parts = [part] if isinstance(part, int | str) else list(part)
    if not parts or any(isinstance(one, bool) or not isinstance(one, int | str) for one in parts):
        raise BadInput(f"Calendar({name}=…) takes a number, a text, or a list of them, not {part!r}.")
    text = ",".join(str(one) for one in parts)
    if not text or any(character.isspace() for character in text):
        raise BadInput(f"Calendar({name}={text!r}) must not be empty or contain spaces.")
    return text


def _meant(zone: str) -> str:
    """A question that names a similar time zone, if the given one is unknown."""
    try:
        zone_of(zone)
    except BadInput:
        similar = get_close_matches(zone, available_timezones(), n=1)
        return f" Did you mean {similar[0]!r}?" if similar else ""
    return ""
