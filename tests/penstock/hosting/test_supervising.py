"""Is a child that keeps dying given up, and one that cannot start not tried again?"""

import sys
import time

import pytest

from penstock.hosting.supervising import RESTARTS_MAX, Slot


def tended(slot, now):
    """Let the child that was started end, then tend its slot at `now`."""
    deadline = time.monotonic() + 30
    while slot.process is not None and slot.process.poll() is None:
        assert time.monotonic() < deadline, "waited 30 s for a child that exits at once"
        time.sleep(0.01)
    return slot.tend(now)


def exits_with(code):
    return [sys.executable, "-S", "-c", f"raise SystemExit({code})"]


def test_wrong_settings():
    """Exit code 2 means that starting again is pointless: it is passed on at once."""
    slot = Slot(0, exits_with(2))
    slot.tend(0.0)
    assert tended(slot, 0.1) == 2


def test_a_delay_that_grows():
    """After each death the next start waits longer, and nothing is started before."""
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
    ("code", "verdict"), [(7, 7), ("'x' if __import__('os').kill(__import__('os').getpid(), 9) else 0", 3)]
)
def test_giving_up(code, verdict):
    """A child that dies again and again within a minute is given up with its exit code, or 3 if it was killed."""
    slot = Slot(0, exits_with(code))
    now, verdicts = 0.0, []
    for _ in range(RESTARTS_MAX + 1):
        while slot.process is None:
            now += 0.5
            slot.tend(now)
        verdicts.append(tended(slot, now))
    assert verdicts == [None] * RESTARTS_MAX + [verdict]
