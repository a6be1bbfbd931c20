"""Tests of SkippingClock."""

from penstock.testing.clock import SkippingClock


def test_a_skip():
    """The clock stands within the block, moves on request, and continues from there."""
    real = [1_000]
    clock = SkippingClock(lambda: real[0])
    with clock.standing():
        real[0] += 50
        assert clock() == 1_000
        clock.move_to(5_000)
        assert clock() == 5_000
    assert clock() == 5_000
    real[0] += 7
    assert clock() == 5_007


def test_no_way_back():
    """A moment in the past does not move the clock."""
    clock = SkippingClock(lambda: 1_000)
    with clock.standing():
        clock.move_to(10)
        assert clock() == 1_000


def test_overlapping_blocks():
    """The clock stands until the last of overlapping blocks ends, at the latest moment."""
    real = [0]
    clock = SkippingClock(lambda: real[0])
    first, second = clock.standing(), clock.standing()
    first.__enter__()
    second.__enter__()
    clock.move_to(100)
    first.__exit__(None, None, None)
    real[0] += 5
    assert clock() == 100
    clock.move_to(300)
    second.__exit__(None, None, None)
    assert clock() == 300
