"""Tests of the clock that refuses implausible jumps."""

from __future__ import annotations

from penstock.engine.runtime.plausible import JUMP_MS_MAX, LASTS_S, PlausibleClock

START_MS = 1_700_000_000_000
YEAR_MS = 365 * 86_400_000


class _Clocks:
    """A wall clock and a steady one, set by the test."""

    def __init__(self) -> None:
        self.ahead_ms, self.s = 0, 100.0
        self.clock = PlausibleClock(lambda: START_MS + int((self.s - 100) * 1000) + self.ahead_ms, lambda: self.s)


def test_time_goes_on_while_a_jump_is_refused() -> None:
    """A clock that jumps a year ahead counts seconds from before the jump."""
    it = _Clocks()
    assert it.clock() == START_MS
    it.ahead_ms = YEAR_MS
    it.s += 5
    assert it.clock() == START_MS + 5_000


def test_a_jump_that_is_taken_back_leaves_nothing() -> None:
    """After the clock is set right again, it is the wall clock's time."""
    it = _Clocks()
    it.ahead_ms = YEAR_MS
    it.s += 5
    it.clock()
    it.ahead_ms = 0
    it.s += 5
    assert it.clock() == START_MS + 10_000


def test_a_jump_that_lasts_is_believed() -> None:
    """A clock that stays ahead counts in the end: it may have been wrong before."""
    it = _Clocks()
    it.ahead_ms = YEAR_MS
    it.clock()
    it.s += LASTS_S
    assert it.clock() == START_MS + int(LASTS_S * 1000) + YEAR_MS


def test_a_second_jump_has_to_last_as_well() -> None:
    """The wait begins again after a jump that was taken back."""
    it = _Clocks()
    it.ahead_ms = YEAR_MS
    it.clock()
    it.s += LASTS_S - 1
    it.ahead_ms = 0
    it.clock()
    it.ahead_ms = YEAR_MS
    it.s += 2
    assert it.clock() < START_MS + YEAR_MS


def test_small_jumps_and_steps_back_are_believed() -> None:
    """An hour forward, or any step back, is the wall clock's business."""
    it = _Clocks()
    it.ahead_ms = JUMP_MS_MAX
    assert it.clock() == START_MS + JUMP_MS_MAX
    it.ahead_ms = -YEAR_MS
    assert it.clock() == START_MS - YEAR_MS
