"""Bounds on held tasks (workers/intake/capacity.py)."""

from __future__ import annotations

import pytest

from penstock.workers.intake import capacity as module
from penstock.workers.intake.capacity import Capacity
from tests.workers.intake.held import held_task


def test_a_capacity_is_full_at_its_maximum_and_low_at_its_lower_bound() -> None:
    """Fetching stops at the maximum and resumes at the lower bound, not in between."""
    capacity = Capacity(3, 1)
    tasks = [held_task(offset) for offset in range(3)]
    seen = []
    for held in tasks:
        capacity.add(held)
        seen.append((capacity.full, capacity.low, capacity.room))
    for held in tasks:
        capacity.remove(held)
        seen.append((capacity.full, capacity.low, capacity.room))
    assert seen == [
        (False, True, 2),
        (False, False, 1),
        (True, False, 0),
        (False, False, 1),
        (False, True, 2),
        (False, True, 3),
    ]


def test_bytes_are_bounded_beside_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """A capacity is full at its maximum of bytes, and low at half of them."""
    monkeypatch.setattr(module, "HELD_BYTES_MAX", 100)
    capacity = Capacity(1_000, 500)
    half, rest = held_task(0, size_bytes=50), held_task(1, size_bytes=50)
    capacity.add(half)
    assert (capacity.full, capacity.low) == (False, True)
    capacity.add(rest)
    assert (capacity.full, capacity.low) == (True, False)
    capacity.remove(rest)
    assert (capacity.tasks, capacity.size_bytes) == (1, 50)
