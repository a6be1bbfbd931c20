"""Retention in one shard: which rows may be deleted by age, and which must be, judged from the decisions alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penstock.engine.core.rows import unpack_message
from penstock.schemas.records.decisions import DecisionRecorded
from penstock.schemas.records.reset import WorkflowForked
from penstock.schemas.records.retention import WorkflowDeleted, WorkflowImported
from penstock.schemas.records.run import WorkflowStarted
from tests.simulation.story import Violation
from tests.simulation.truth import CLOSING, OF_SCHEDULES, OF_SHARES

DAY_MS = 86_400_000
KEPT_MS = DAY_MS
SPARE_MS = DAY_MS // 2  # everything is kept for longer, as the log's time may be ahead by so much
REMEMBERED = {
    *OF_SCHEDULES,
    *OF_SHARES,
    WorkflowDeleted,
    WorkflowImported,
}  # commands that are kept by their day, beside runs
TRANSACTIONS_MAX = 5  # so many of a shard may pass until all of a day has been deleted


class Retention:
    """Runs of one shard, the day on which each closed, and what is left of them."""

    def __init__(self) -> None:
        self._current: dict[str, str] = {}
        self._closed: dict[tuple[str, str], int] = {}
        self._limit = self._left = 0

    def follow(self, decision: DecisionRecorded, events: Sequence[Any]) -> None:
        """Note which runs a decision starts and closes."""
        if any(type(event) in REMEMBERED for event in events) and decision.trigger.message_id:
            day = max(decision.now_ms, decision.appended_ms) // DAY_MS  # commands to it are remembered by their day
            self._closed[decision.workflow_id, f"day-{day}"] = day
        for event in events:
            if isinstance(event, WorkflowStarted | WorkflowForked):
                self._current[decision.workflow_id] = decision.run_id
                self._closed.pop((decision.workflow_id, decision.run_id), None)
            elif isinstance(event, WorkflowImported):
                self._current[decision.workflow_id] = event.run_id
                closed_ms = max(decision.now_ms, decision.appended_ms)
                self._closed[decision.workflow_id, event.run_id] = closed_ms // DAY_MS
            elif type(event) in CLOSING:
                closed_ms = max(decision.now_ms, decision.appended_ms)
                self._closed[decision.workflow_id, decision.run_id] = closed_ms // DAY_MS

    def check(
        self, deleted: Mapping[bytes, bytes | None], rows: Mapping[bytes, bytes], true_ms: int, log_ms: int
    ) -> None:
        """Check what a transaction deleted by age, and what it left. Raises Violation.

        `true_ms`: when it committed; `log_ms`: the log's time, as far as the shard trusts it."""
        early = [key for key, value in deleted.items() if not self._is_old(key, value, (true_ms - KEPT_MS) // DAY_MS)]
        if early:
            raise Violation("X (expiry)", f"rows were deleted that are to be kept: {early[:5]}")
        limit = (log_ms - SPARE_MS - KEPT_MS) // DAY_MS
        if limit > self._limit:
            self._limit, self._left = limit, TRANSACTIONS_MAX
        elif self._left:
            self._left -= 1
            late = [] if self._left else [key for key, value in rows.items() if self._is_old(key, value, limit)]
            if late:
                raise Violation("X (expiry)", f"rows of the day before {limit} are still there: {late[:5]}")

    def _is_old(self, key: bytes, value: bytes | None, limit: int) -> bool:
        """Whether a row is one that age deletes, from before the day `limit`."""
        kind, rest = key[:1], key[1:]
        ids = rest.split(b"\x00")
        match kind:
            case b"Z":
                return int.from_bytes(rest[8:12], "big") < limit
            case b"R":
                workflow_id, run_id = rest.decode(), self._current.get(rest.decode(), "")
            case b"M":
                workflow_id, run_id = ids[0].decode(), unpack_message(value).run_id if value else ""
            case b"H" | b"J" | b"U":
                workflow_id, run_id = ids[0].decode(), ids[1].decode()
            case _:
                return False
        closed_day = self._closed.get((workflow_id, run_id))
        return closed_day is not None and closed_day < limit
