"""Tests of the moments of schedules, compared with naive oracles and with two libraries."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.schemas.errors import BadInput
from penstock.schemas.values.cron import LocalTimes, cron_times
from penstock.schemas.values.schedule_spec import ScheduleSpec
from penstock.schemas.values.ticks import jitter_of, ticks, zone_of

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
PRAGUE = ZoneInfo("Europe/Prague")
ZONES = (
    "UTC",
    "Europe/Prague",
    "America/New_York",
    "America/Santiago",  # midnight is skipped
    "America/Havana",  # midnight is skipped and repeated
    "America/Nuuk",
    "Australia/Lord_Howe",  # the clock changes by half an hour
    "Antarctica/Troll",  # and by two
    "Asia/Kathmandu",
    "Africa/Casablanca",
    "Pacific/Apia",
)


def ms(*parts: int, zone: str = "UTC", fold: int = 0) -> int:
    return int(datetime(*parts, tzinfo=ZoneInfo(zone), fold=fold).timestamp() * 1000)  # type: ignore[misc,arg-type]


def local(tick_ms: int, zone: str) -> str:
    return datetime.fromtimestamp(tick_ms / 1000, ZoneInfo(zone)).strftime("%m-%d %H:%M %z")


def between(spec: ScheduleSpec, after_ms: int, until_ms: int) -> list[int]:
    return list(itertools.takewhile(lambda tick_ms: tick_ms <= until_ms, ticks(spec, after_ms)))


def of_clock(times: LocalTimes, zone: str, after_ms: int, until_ms: int) -> list[int]:
    """Oracle: every minute of the clock that matches."""
    found = []
    for tick_ms in range(after_ms - after_ms % 60_000 + 60_000, until_ms + 1, 60_000):
        at = datetime.fromtimestamp(tick_ms / 1000, zone_of(zone))
        if at.minute in times.minutes and at.hour in times.hours and times.has_day(at.date()):
            found.append(tick_ms)
    return found


def of_days(times: LocalTimes, zone: str, after_ms: int, until_ms: int) -> list[int]:
    """Oracle: each local time of a day at the first minute whose clock shows it, or a later time."""
    first = after_ms - 2 * DAY_MS
    first -= first % 60_000
    wanted = []
    latest = datetime.fromtimestamp(first / 1000, zone_of(zone)).replace(tzinfo=None)
    for tick_ms in range(first, until_ms + 60_000, 60_000):
        now = datetime.fromtimestamp(tick_ms / 1000, zone_of(zone)).replace(tzinfo=None)
        shown = []  # local times that have come by now
        while latest < now:
            latest += timedelta(minutes=1)
            shown.append(latest)
        if any(at.minute in times.minutes and at.hour in times.hours and times.has_day(at.date()) for at in shown):
            wanted.append(tick_ms)
    return [tick_ms for tick_ms in wanted if after_ms < tick_ms <= until_ms]


def changes_of(zone: str, year: int = 2026) -> list[int]:
    """Hours (epoch, ms) in which the clock of a zone is changed."""
    start, found = ms(year, 1, 1), []
    for hour_ms in range(start, start + 366 * DAY_MS, HOUR_MS):
        offsets = {datetime.fromtimestamp(at / 1000, zone_of(zone)).utcoffset() for at in (hour_ms, hour_ms + HOUR_MS)}
        found += [hour_ms] if len(offsets) > 1 else []
    return found


def expression(random: Random) -> str:
    def field(least: int, most: int) -> str:
        number = random.randint(least, most)
        return random.choice(
            (
                "*",
                f"*/{random.randint(1, min(most, 20))}",
                str(number),
                f"{least}-{number}",
                f"{number},{random.randint(least, most)}",
            )
        )

    day, weekday = random.choice((("*", "*"), ("*", "*"), (field(1, 28), "*"), ("*", field(0, 6)), ("*/2", "1-5")))
    return f"{field(0, 59)} {random.choice((field(0, 23), field(0, 4)))} {day} * {weekday}"


@pytest.mark.parametrize("zone", ZONES)
def test_ticks_around_clock_changes_are_those_of_a_search_by_minutes(zone: str) -> None:
    """Around every change of the clock, in both directions, the ticks equal those that looking at each minute gives."""
    random = Random(zone)
    around = changes_of(zone) or [ms(2026, 5, 1)]
    for change_ms in around[:3]:
        for _ in range(8):
            text = expression(random)
            times, after_ms = cron_times(text), change_ms - DAY_MS + random.randrange(HOUR_MS)
            oracle = of_clock if times.follows_clock else of_days
            expected = oracle(times, zone, after_ms, change_ms + 2 * DAY_MS)
            found = between(ScheduleSpec(cron=(text,), timezone=zone), after_ms, change_ms + 2 * DAY_MS)
            assert found == expected, f"{text} in {zone} after {after_ms}"


@pytest.mark.parametrize("zone", ZONES)
def test_times_of_days_agree_with_cronsim(zone: str) -> None:
    """Times of a day come when cronsim says, over years: it was written after Debian's cron."""
    random = Random(zone)
    for _ in range(15):
        text = f"{random.randint(0, 59)} {random.randint(0, 23)} {random.choice(('*', '1', '31', '*/2', 'L', '13'))} * "
        text += random.choice(("*", "1-5", "0", "5L", "5#2"))
        after_ms = ms(2026, 1, 1) + random.randrange(300 * DAY_MS)
        theirs = CronSim(text, datetime.fromtimestamp(after_ms / 1000, zone_of(zone)))
        expected = [int(next(theirs).timestamp() * 1000) for _ in range(40)]
        found = list(itertools.islice(ticks(ScheduleSpec(cron=(text,), timezone=zone), after_ms), 40))
        assert found == [tick_ms for tick_ms in expected if tick_ms > after_ms][: len(found)], text


def test_expressions_agree_with_crondst() -> None:
    """Where the clock is not changed, ticks of random expressions are those of another library."""
    from crondst import CronDst

    random = Random(7)
    for _ in range(150):
        text = expression(random)
        after = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=random.randrange(500_000))
        theirs = CronDst(text).iter(after)
        expected = [int(next(theirs).timestamp() * 1000) for _ in range(30)]
        assert list(itertools.islice(ticks(ScheduleSpec(cron=(text,)), int(after.timestamp() * 1000)), 30)) == expected


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(ZONES),
    st.integers(0, 10_000),
    st.integers(ms(2020, 1, 1), ms(2035, 1, 1)),
)
def test_a_tick_is_always_later(zone: str, seed: int, after_ms: int) -> None:
    """The next tick is after the moment asked for, and asking at a tick gives the one behind it."""
    spec = ScheduleSpec(cron=(expression(Random(seed)),), timezone=zone)
    found = list(itertools.islice(ticks(spec, after_ms), 3))
    assert after_ms < found[0] < found[1] < found[2]
    assert next(ticks(spec, found[0])) == found[1]
    assert next(ticks(spec, found[1] - 1)) == found[1]


def test_a_time_in_a_gap_comes_once_just_after_it() -> None:
    """A fixed 02:30 that the clock skips fires at 03:00, once, and is back at 02:30 the day after."""
    spec = ScheduleSpec(cron=("30 2 * * *",), timezone="Europe/Prague")
    found = between(spec, ms(2026, 3, 28, 12), ms(2026, 3, 31))
    assert [local(tick_ms, "Europe/Prague") for tick_ms in found] == ["03-29 03:00 +0200", "03-30 02:30 +0200"]


def test_a_shifted_time_does_not_fire_again() -> None:
    """A time that was shifted to the end of the gap neither moves the next ones nor fires beside the one there."""
    spec = ScheduleSpec(cron=("0,30 2,3 * * *",), timezone="Europe/Prague")
    found = between(spec, ms(2026, 3, 29), ms(2026, 3, 29, 12))
    assert [local(tick_ms, "Europe/Prague") for tick_ms in found] == ["03-29 03:00 +0200", "03-29 03:30 +0200"]


def test_a_time_in_the_repeated_hour_comes_once() -> None:
    """A fixed 02:30 that the clock shows twice fires at the first of both."""
    spec = ScheduleSpec(cron=("30 2 * * *",), timezone="Europe/Prague")
    found = between(spec, ms(2026, 10, 24, 12), ms(2026, 10, 26))
    assert [local(tick_ms, "Europe/Prague") for tick_ms in found] == ["10-25 02:30 +0200"]


def test_a_cadence_goes_on_through_the_repeated_hour() -> None:
    """Every twenty minutes is every twenty minutes of real time, the repeated hour included."""
    spec = ScheduleSpec(cron=("*/20 * * * *",), timezone="Europe/Prague")
    found = between(spec, ms(2026, 10, 24, 23), ms(2026, 10, 25, 3))
    assert {after - before for before, after in itertools.pairwise(found)} == {20 * 60_000}
    assert len(found) == 12


def test_the_second_pass_of_an_hour_has_no_ticks_of_the_first() -> None:
    """Asked in the second pass of a repeated hour, a fixed time of that hour comes the day after."""
    spec = ScheduleSpec(cron=("45 2 * * *",), timezone="Europe/Prague")
    after_ms = ms(2026, 10, 25, 2, 30, zone="Europe/Prague", fold=1)
    assert local(next(ticks(spec, after_ms)), "Europe/Prague") == "10-26 02:45 +0100"


def test_a_midnight_that_does_not_exist() -> None:
    """Where midnight is skipped, a daily midnight fires at one o'clock, and the day after at midnight."""
    spec = ScheduleSpec(cron=("@daily",), timezone="America/Santiago")
    found = between(spec, ms(2026, 9, 5, 12), ms(2026, 9, 8))
    shown = [local(tick_ms, "America/Santiago") for tick_ms in found]
    assert shown == ["09-06 01:00 -0300", "09-07 00:00 -0300"]


def test_half_an_hour_at_lord_howe() -> None:
    """A change by half an hour loses no tick of the clock, and shifts a time of the day by as much as it must."""
    clock = ScheduleSpec(cron=("*/20 3 * * *",), timezone="Australia/Lord_Howe")
    fixed = ScheduleSpec(cron=("15 2 * * *",), timezone="Australia/Lord_Howe")
    window = (ms(2026, 10, 3, 10), ms(2026, 10, 3, 20))
    shown = [local(tick_ms, "Australia/Lord_Howe") for tick_ms in between(clock, *window)]
    assert shown == ["10-04 03:00 +1100", "10-04 03:20 +1100", "10-04 03:40 +1100"]
    assert [local(tick_ms, "Australia/Lord_Howe") for tick_ms in between(fixed, *window)] == ["10-04 02:30 +1100"]


def test_an_interval_is_elapsed_time() -> None:
    """24 hours are 24 hours, also where a local day has 23 or 25; a calendar keeps the local time instead."""
    every = ScheduleSpec(every_ms=DAY_MS, start_ms=ms(2026, 3, 27, 9, zone="Europe/Prague"), timezone="Europe/Prague")
    assert {b - a for a, b in itertools.pairwise(itertools.islice(ticks(every, every.start_ms), 300))} == {DAY_MS}
    daily = ScheduleSpec(calendar=("0 9 * * * *",), timezone="Europe/Prague")
    shown = {local(tick_ms, "Europe/Prague")[6:11] for tick_ms in itertools.islice(ticks(daily, every.start_ms), 300)}
    assert shown == {"09:00"}


def test_an_interval_is_counted_from_its_start() -> None:
    """A weekly interval has the same ticks whenever it is asked; without a start, it is counted from the epoch."""
    start_ms = ms(2026, 11, 2, 10, 17)
    spec = ScheduleSpec(every_ms=7 * DAY_MS, start_ms=start_ms)
    assert next(ticks(spec, 0)) == start_ms
    assert {next(ticks(spec, start_ms + day * DAY_MS)) for day in range(7)} == {start_ms + 7 * DAY_MS}
    assert next(ticks(ScheduleSpec(every_ms=HOUR_MS), start_ms)) == ms(2026, 11, 2, 11)


def test_start_and_end_are_included() -> None:
    """A tick at the start, or at the end, counts; none comes before or after."""
    spec = ScheduleSpec(cron=("0 * * * *",), start_ms=ms(2026, 5, 1, 10), end_ms=ms(2026, 5, 1, 12))
    assert list(ticks(spec, 0)) == [ms(2026, 5, 1, hour) for hour in (10, 11, 12)]
    assert list(ticks(spec, ms(2026, 5, 1, 12))) == []


def test_expressions_together_have_each_tick_once() -> None:
    """Several expressions, a calendar and an interval together give every tick once, in order."""
    spec = ScheduleSpec(cron=("0 * * * *", "*/30 * * * *"), calendar=("30 10 * * * *",), every_ms=HOUR_MS)
    found = between(spec, ms(2026, 5, 1, 9, 59), ms(2026, 5, 1, 11))
    assert found == [ms(2026, 5, 1, 10), ms(2026, 5, 1, 10, 30), ms(2026, 5, 1, 11)]


def test_a_star_with_a_step_beside_a_weekday_means_both() -> None:
    """`*/2` beside a weekday means that both must match, and `1-31` that either suffices, as in Vixie's cron."""
    both, either = cron_times("0 0 */2 * 1"), cron_times("0 0 1-31 * 1")
    assert not both.has_day(date(2026, 5, 3))
    assert both.has_day(date(2026, 5, 11))
    assert either.has_day(date(2026, 5, 3))


@pytest.mark.parametrize("text", ["0 0 30 2 *", "0 0 31 4,6 *"])
def test_a_day_that_never_comes_is_refused(text: str) -> None:
    """An expression for a day that no month has is refused in one sentence, in bounded time."""
    with pytest.raises(BadInput, match="names no day that exists"):
        cron_times(text)


def test_a_rare_day_is_found() -> None:
    """29 February as the fifth Monday comes decades later, and is found."""
    (found,) = itertools.islice(ticks(ScheduleSpec(calendar=("0 0 29 2 1#5 *",)), ms(2026, 1, 1)), 1)
    assert found == ms(2044, 2, 29)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**41), st.integers(0, DAY_MS), st.text(max_size=8))
def test_jitter_is_a_function_within_its_bound(tick_ms: int, jitter_ms: int, name: str) -> None:
    """The jitter of a tick depends on schedule and tick alone, and stays within its bound."""
    found = jitter_of(name, tick_ms, jitter_ms)
    assert 0 <= found <= jitter_ms
    assert found == jitter_of(name, tick_ms, jitter_ms)


def test_jitter_is_the_same_for_every_build() -> None:
    """Processes of different builds start the run of a tick at one moment, so the jitter never changes."""
    found = [jitter_of("schedule:nightly", 1_700_000_000_000 + hour * HOUR_MS, HOUR_MS) for hour in range(2)]
    assert found == [3_307_547, 1_512_230]


def test_jitter_spreads_schedules() -> None:
    """Schedules of the same tick start at different moments."""
    assert len({jitter_of(f"s-{number}", 0, 300_000) for number in range(100)}) > 90
