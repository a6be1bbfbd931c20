"""Bounds on the tasks that a consumer holds, by number and by bytes."""

from __future__ import annotations

from penstock.workers.intake.partition import HeldTask

HELD_BYTES_MAX = 64_000_000


class Capacity:
    """Count of held tasks. Fetching stops when it is `full`, and resumes when it is `low`."""

    def __init__(self, tasks_max: int, tasks_low: int) -> None:
        self._tasks_max, self._tasks_low = tasks_max, tasks_low
        self.tasks = 0
        self.size_bytes = 0

    def add(self, held: HeldTask) -> None:
        """Count a task."""
        self.tasks += 1
        self.size_bytes += held.size_bytes

    def remove(self, held: HeldTask) -> None:
        """Stop counting a task."""
        self.tasks -= 1
        self.size_bytes -= held.size_bytes

    @property
    def full(self) -> bool:
        """Whether either bound is reached."""
        return self.tasks >= self._tasks_max or self.size_bytes >= HELD_BYTES_MAX

    @property
    def low(self) -> bool:
        """Whether there is room for a good batch."""
        return self.tasks <= self._tasks_low and self.size_bytes <= HELD_BYTES_MAX // 2

    @property
    def room(self) -> int:
        """Number of tasks below the bound."""
        return self._tasks_max - self.tasks
