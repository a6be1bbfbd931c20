"""Attempts that were cancelled, for tasks that come later: task and cancellation take different ways to a worker."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.schemas.records.tasks import ActivityTask, AttemptsCancelled

REMEMBERED_MAX = 20_000


class CancelledAttempts:
    """The latest cancellations, REMEMBERED_MAX at most. Used in the event loop's thread."""

    def __init__(self) -> None:
        self._by_place: dict[tuple[str, str, int], AttemptsCancelled] = {}

    def __bool__(self) -> bool:
        return bool(self._by_place)

    def add(self, cancelled: Sequence[AttemptsCancelled]) -> None:
        """Remember these, and forget the earliest beyond the bound."""
        for one in cancelled:
            place = (one.workflow_id, one.run_id, one.sequence)
            self._by_place.pop(place, None)
            self._by_place[place] = one
        while len(self._by_place) > REMEMBERED_MAX:
            del self._by_place[next(iter(self._by_place))]

    def find(self, task: ActivityTask) -> AttemptsCancelled | None:
        """The cancellation of this attempt; None if there is none."""
        found = self._by_place.get((task.workflow_id, task.run_id, task.sequence))
        if found is not None and task.attempt <= found.attempt:
            return found
        return self._by_place.get((task.workflow_id, task.run_id, 0))
