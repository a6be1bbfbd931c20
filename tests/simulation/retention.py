"""Retention in one shard: which rows may be deleted by age, and which must be, judged from the decisions alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from penstock.schemas.records.decisions import DecisionRecorded
from penstock.schemas.records.run import WorkflowStarted
from tests.simulation.story import Violation
from tests.simulation.truth import CLOSING

DAY_MS = 86_400_000
KEPT_MS = DAY_MS
TRANSACTIONS_MAX = 5  # so many of a shard may pass until all of a day has been deleted
HISTORY, RUN = b"H", b"R"
BY_DAY = (b"M", b"Z")


class Retention:
    """Runs of one shard, the day on which each closed, and what is left of them."""

    def __init__(self) -> None:
        self._current: dict[str, str] = {}
        self._closed: dict[tuple[str, str], int] = {}
        self._limit = self._left = 0

    def follow(self, decision: DecisionRecorded, events: Sequence[Any]) -> None:
        """Note which runs a decision starts and closes."""
        for event in events:
            if isinstance(event, WorkflowStarted):
                self._current[decision.workflow_id] = decision.run_id
                self._closed.pop((decision.workflow_id, decision.run_id), None)
            elif type(event) in CLOSING:
                self._closed[decision.workflow_id, decision.run_id] = decision.now_ms // DAY_MS

    def check(self, deleted: Iterable[bytes], rows: Iterable[bytes], now_ms: int) -> None:
        """Check what a transaction deleted by age, and what it left. Raises Violation."""
        limit = (now_ms - KEPT_MS) // DAY_MS
        early = [key for key in deleted if not self._is_old(key, limit)]
        if early:
            raise Violation("X (expiry)", f"rows were deleted that are to be kept: {early[:5]}")
        if limit > self._limit:
            self._limit, self._left = limit, TRANSACTIONS_MAX
        elif self._left:
            self._left -= 1
            late = [key for key in rows if self._is_old(key, limit)] if not self._left else []
            if late:
                raise Violation("X (expiry)", f"rows of the day before {limit} are still there: {late[:5]}")

    def _is_old(self, key: bytes, limit: int) -> bool:
        """Whether a row is one that age deletes, from before the day `limit`."""
        kind, rest = key[:1], key[1:]
        if kind in BY_DAY:
            return int.from_bytes(rest[:4], "big") < limit
        if kind == RUN:
            workflow_id = rest.decode()
            closed_day = self._closed.get((workflow_id, self._current.get(workflow_id, "")))
        elif kind == HISTORY:
            workflow_id, run_id = (part.decode() for part in rest[:-9].split(b"\x00", 1))
            closed_day = self._closed.get((workflow_id, run_id))
        else:
            return False
        return closed_day is not None and closed_day < limit
