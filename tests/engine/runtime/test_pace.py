"""Tests of the bounds of a turn."""

from __future__ import annotations

from penstock.engine.runtime.due import DUE_MAX
from penstock.engine.runtime.pace import Pace


def test_the_first_abort_halves_nothing() -> None:
    """One failed turn is tried again as it was: most failures pass."""
    pace = Pace(4_000)
    pace.failed(certain=False)
    assert pace.inputs == 4_000


def test_repeated_aborts_isolate() -> None:
    """Turns that keep failing are halved, inputs and timers alike, down to one."""
    pace = Pace(4_000)
    seen = []
    for _ in range(14):
        pace.failed(certain=False)
        seen.append((pace.inputs, pace.timers))
    assert seen[1] == (2_000, DUE_MAX // 2)
    assert seen[-1] == (1, 1) and pace.isolates


def test_turns_that_commit_grow_again() -> None:
    """After commits, the bounds are what they were."""
    pace = Pace(64)
    for _ in range(8):
        pace.failed(certain=True)
    for _ in range(6):
        pace.committed()
    assert (pace.inputs, pace.timers, pace.isolates) == (64, DUE_MAX, False)


def test_a_turn_full_of_inputs_has_room_for_timers() -> None:
    """Due timers get a part of the bounds even if inputs have used all."""
    pace = Pace(10, records_max=100, bytes_max=1_000)
    room = pace.room()
    room.use(500, 10)
    pace.extend(room)
    assert (room.records, room.bytes, room.is_used) == (25, 990, False)
