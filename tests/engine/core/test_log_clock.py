"""Tests of the log's time: what it makes of append times that leap."""

from __future__ import annotations

from random import Random

from penstock.engine.core.keys import DAY_MS, NEVER_MS
from penstock.engine.core.log_clock import LEAP_MS, LogClock

T0 = 1_700_000_000_000
HOUR_MS = 3_600_000


def known() -> LogClock:
    """A clock that knows the time T0."""
    return LogClock(T0, T0)


def test_it_follows_append_times() -> None:
    """It is the latest append time, and a layer without inputs changes nothing."""
    clock = known()
    for appended_ms in (T0 + 5, T0 + 3, NEVER_MS, T0 + HOUR_MS):
        clock.note(appended_ms)
    assert (clock.now_ms, clock.leap_ms) == (T0 + HOUR_MS, 0)


def test_a_leap_does_not_count_until_it_has_lasted() -> None:
    """Three days more, for some hours, leave the time as it was; the same for half a day advances it."""
    clock = known()
    for hour in range(12):
        clock.note(T0 + 3 * DAY_MS + hour * HOUR_MS)
        assert clock.now_ms == T0
    clock.note(T0 + 3 * DAY_MS + LEAP_MS)
    assert clock.now_ms == T0 + 3 * DAY_MS + LEAP_MS


def test_a_leap_that_is_taken_back_is_forgotten() -> None:
    """After a leap was corrected, another one has to last as long again."""
    clock = known()
    clock.note(T0 + 3 * DAY_MS)
    clock.note(T0 + HOUR_MS)
    clock.note(T0 + 3 * DAY_MS + LEAP_MS)
    assert clock.now_ms == T0 + HOUR_MS


def test_a_time_that_was_wrong_is_left_again() -> None:
    """A clock that had been years ahead for days is followed back, once that has lasted."""
    clock = LogClock(T0 + 900 * DAY_MS, T0 + 900 * DAY_MS)
    clock.note(T0)
    clock.note(T0 + LEAP_MS)
    assert clock.now_ms == T0 + LEAP_MS


def test_a_shard_that_is_seldom_used_follows_with_a_delay() -> None:
    """With one input a week it is one or two inputs behind, not more."""
    clock = known()
    for week in range(1, 20):
        clock.note(T0 + week * 7 * DAY_MS)
        assert T0 + (week - 2) * 7 * DAY_MS <= clock.now_ms <= T0 + week * 7 * DAY_MS


def test_single_wrong_stamps_never_advance_it() -> None:
    """Stamps that are days ahead, up to every second one, leave it within half a day of the true time (300 seeds)."""
    for seed in range(300):
        chance = Random(seed)
        clock, true_ms = LogClock(), T0
        for _ in range(200):
            true_ms += chance.randrange(4 * HOUR_MS)
            clock.note(true_ms)
            if chance.random() < 0.5:
                clock.note(true_ms + chance.randrange(30 * DAY_MS))
            assert clock.now_ms <= true_ms + LEAP_MS, f"seed {seed}"
