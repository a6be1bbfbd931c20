"""Tests of Schedule: what it means, and what is said of a wrong one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from penstock.schemas.errors import BadInput, BadName
from penstock.schemas.values.schedule import Calendar, Schedule, schedule_id, schedule_name
from penstock.schemas.values.schedule_spec import CATCH_UP_MS, ScheduleSpec


def test_a_schedule_as_records_hold_it() -> None:
    """Options become milliseconds, calendars texts of six fields."""
    schedule = Schedule(
        cron="0 2 * * *",
        calendar=Calendar(hour=9, minute=[0, 30], weekday="mon-fri", year=2027),
        every=timedelta(hours=1),
        timezone=ZoneInfo("Europe/Prague"),
        overlap="buffer_one",
        jitter="5m",
        catch_up="1h",
        start=datetime(2026, 1, 1, tzinfo=UTC),
        end=datetime(2030, 1, 1, tzinfo=UTC),
        remaining=3,
    )
    assert schedule.spec() == ScheduleSpec(
        cron=("0 2 * * *",),
        calendar=("0,30 9 * * mon-fri 2027",),
        every_ms=3_600_000,
        timezone="Europe/Prague",
        start_ms=1_767_225_600_000,
        end_ms=1_893_456_000_000,
        jitter_ms=300_000,
        overlap="buffer_one",
        catch_up_ms=3_600_000,
        remaining=3,
    )


def test_an_unset_catch_up_is_the_default() -> None:
    """Without `catch_up` late ticks are made up for up to a year; it is never zero."""
    assert Schedule(every="1h").spec().catch_up_ms == CATCH_UP_MS == 365 * 86_400_000
    with pytest.raises(BadInput, match="catch_up must be at least 10 s"):
        Schedule(every="1h", catch_up=0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "has no ticks"),
        ({"cron": "0 2 * *"}, "does not have 5 fields"),
        ({"cron": "0 25 * * *"}, "wrong in its hour, '25'"),
        ({"every": "0.2s"}, "once a second at most"),
        ({"every": "40000d"}, "every is 100 years at most"),
        ({"every": "1d", "start": datetime(2200, 1, 1, tzinfo=UTC)}, "before the year 2200"),
        ({"every": "1d", "end": datetime(9999, 12, 31, tzinfo=UTC)}, "before the year 2200"),
        ({"every": "1h", "timezone": "Europe/Prag"}, "no time zone 'Europe/Prag'"),
        ({"every": "1h", "timezone": "Europe/Prag"}, "Did you mean 'Europe/Prague'?"),
        ({"every": "1h", "timezone": "../etc"}, "no time zone"),
        ({"every": "1h", "timezone": "Europe"}, "no time zone"),
        ({"every": "1h", "timezone": 3}, "name of a time zone"),
        ({"every": "1h", "overlap": "queue"}, "overlap must be one of skip, buffer_one"),
        ({"every": "1h", "jitter": "2d"}, "jitter must be from 0 to one day"),
        ({"every": "1h", "remaining": 0}, "remaining must be"),
        ({"calendar": Calendar(hour="9 10")}, "must not be empty or contain spaces"),
        ({"calendar": Calendar(hour=[])}, "takes a number, a text"),
        ({"calendar": Calendar(weekday="mo")}, "wrong in its weekday, 'mo'"),
        ({"cron": ["0 * * * *"] * 21}, "more than 20 expressions"),
        (
            {"every": "1h", "start": datetime(2027, 1, 1, tzinfo=UTC), "end": datetime(2026, 1, 1, tzinfo=UTC)},
            "ends before it starts",
        ),
    ],
)
def test_a_wrong_schedule_is_one_sentence(options: dict[str, Any], said: str) -> None:
    """Each mistake raises BadInput where the schedule is written, and says what to do."""
    with pytest.raises(BadInput) as caught:
        Schedule(**options)
    assert said in str(caught.value)


def test_names_of_schedules() -> None:
    """A schedule's records stand under a reserved id; its name has the limits of workflow ids, less the ids of runs."""
    assert schedule_id("nightly") == "schedule:nightly"
    assert schedule_name("schedule:nightly") == "nightly"
    with pytest.raises(BadName, match="more than 200 bytes"):
        schedule_id("x" * 201)
    with pytest.raises(BadName, match="begins with `schedule:`"):
        schedule_id("schedule:nightly")
