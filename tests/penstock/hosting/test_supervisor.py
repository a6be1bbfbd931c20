"""Tests of the supervisor's slots: delays and limits of restarts."""

import sys
import time

import pytest

from penstock.hosting.supervisor import RESTARTS_MAX, Slot


def tended(slot, now):
    """Wait until the slot's child has ended, then tend the slot at `now`."""
    deadline = time.monotonic() + 30
    while slot.process is not None and slot.process.poll() is None:
        assert time.monotonic() < deadline, "waited 30 s for a child that exits at once"
        time.sleep(0.01)
    return slot.tend(now)


def exits_with(code):
    return [sys.executable, "-S", "-c", f"raise SystemExit({code})"]


def test_wrong_settings():
    """Exit code 2 means that a restart would not help: it is returned at once."""
    slot = Slot(0, exits_with(2))
    slot.tend(0.0)
    assert tended(slot, 0.1) == 2


def test_a_delay_that_grows():
    """After each death the delay of the next start doubles."""
    slot = Slot(0, exits_with(1))
    now, delays = 0.0, []
    for _ in range(3):
        slot.tend(now)
        assert tended(slot, now) is None
        started = now
        while slot.process is None:
            now += 0.5
            slot.tend(now)
        delays.append(now - started)
        slot.end(time.monotonic() + 30)
    assert delays == [1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("code", "exit_code"), [(7, 7), ("'x' if __import__('os').kill(__import__('os').getpid(), 9) else 0", 3)]
)
def test_too_many_deaths(code, exit_code):
    """A child that dies too often within a minute is given up with its exit code, or 3 if it was killed."""
    slot = Slot(0, exits_with(code))
    now, exit_codes = 0.0, []
    for _ in range(RESTARTS_MAX + 1):
        while slot.process is None:
            now += 0.5
            slot.tend(now)
        exit_codes.append(tended(slot, now))
    assert exit_codes == [None] * RESTARTS_MAX + [exit_code]
