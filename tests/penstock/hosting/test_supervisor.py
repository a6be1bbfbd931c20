"""Tests of the supervisor's slots: delays of restarts, and the end."""

import sys
import time

from penstock.hosting.supervisor import DELAY_S_MAX, Slot


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


def test_restarts_without_end():
    """However often a child dies, it is started again, after half a minute at the latest."""
    slot = Slot(0, exits_with(7))
    now = 0.0
    for _ in range(12):
        died = now
        while slot.process is None:
            now += 0.5
            slot.tend(now)
        assert now - died <= DELAY_S_MAX + 0.5
        assert tended(slot, now) is None


def test_flags_of_the_first_start():
    """What is meant for one start, such as to accept a loss, is gone when the child is started again."""
    slot = Slot(0, exits_with(5), first=exits_with(7))
    codes = []
    slot._died = lambda now, code: codes.append(code)
    for _ in range(3):
        slot.tend(0.0)
        tended(slot, 0.0)
    assert codes == [7, 5, 5]


def test_a_child_that_does_not_drain():
    """A child that had to be killed, or ended with an error, did not drain."""
    slot = Slot(0, [sys.executable, "-S", "-c", "import time; time.sleep(60)"])
    slot.tend(0.0)
    assert not slot.end(time.monotonic())


def test_a_child_that_had_not_begun():
    """A child that SIGTERM ends while it is still starting has nothing to drain."""
    slot = Slot(0, [sys.executable, "-S", "-c", "import time; time.sleep(60)"])
    slot.tend(0.0)
    slot.stop()
    assert slot.end(time.monotonic() + 30)
