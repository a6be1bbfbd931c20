"""BLOCKED runs that may go on: new code or new topics may have helped them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import structlog

from penstock.engine.core.activation import KILLS_PROCESSOR, RUNS_ON
from penstock.engine.core.decide import decide
from penstock.engine.core.hosted import WITHOUT_CODE
from penstock.engine.core.keys import BLOCKED as BLOCKED_MARKS
from penstock.engine.core.keys import after
from penstock.engine.core.statuses import BLOCKED
from penstock.engine.core.view import RowScanner
from penstock.engine.runtime.encode import Encoder
from penstock.engine.runtime.run_cache import CachedRun, RunCache
from penstock.schemas.records.activity import ActivityScheduled
from penstock.schemas.records.external import RecordPublished
from penstock.schemas.records.run import UnblockWorkflow, WorkflowBlocked

logger = structlog.get_logger(__name__)

REFUSED_RECORD = "refused_record"
"""Reason of a run whose records the log refused."""

_RETRIED_BY_OPERATORS = frozenset(map(str.encode, (REFUSED_RECORD, KILLS_PROCESSOR, RUNS_ON)))
"""Reasons whose end only the log, a processor's death or a long wait would show."""

TRIED_MAX = 100
"""BLOCKED runs tried with one layer."""


class BlockedRuns:
    """Ids of BLOCKED runs that are still to be tried."""

    def __init__(self, rows: RowScanner, runs: RunCache, encoder: Encoder) -> None:
        self._rows, self._runs, self._encoder = rows, runs, encoder
        self.waiting: deque[str] = deque()

    def try_again(self, *reasons: str) -> None:
        """Try the runs BLOCKED for one of `reasons`, by default all but those that an operator has to retry; after
        those that are still to be tried."""
        marks = self._rows.scan(BLOCKED_MARKS, after(BLOCKED_MARKS))
        wanted = {reason.encode() for reason in reasons}
        found = (
            key[1:].decode()
            for key, value in marks
            if value in wanted or (not wanted and value not in _RETRIED_BY_OPERATORS)
        )
        self.waiting = deque(dict.fromkeys((*self.waiting, *found)))

    def take(self, now_ms: int, count: int = TRIED_MAX) -> Iterator[UnblockWorkflow]:
        """Commands for the next few that would go on; one that would be BLOCKED again is left without a record, unless
        it now waits for another processor, or does no more."""
        for _ in range(min(count, len(self.waiting))):
            workflow_id = self.waiting.popleft()
            run = self._runs.get(workflow_id)
            if run.row is not None and run.row.status == BLOCKED and self._would_go_on(run, now_ms):
                yield UnblockWorkflow(workflow_id=workflow_id)

    def _would_go_on(self, run: CachedRun, now_ms: int) -> bool:
        """Dry run; the execution is discarded afterwards."""
        try:
            events = decide(run, UnblockWorkflow(workflow_id=run.workflow_id), now_ms).events
        except (Exception, SystemExit):  # user code may raise either, as in step.py
            logger.exception("retrying a blocked run failed", workflow_id=run.workflow_id)
            return False
        finally:
            run.forget()
        again = next((event for event in events if isinstance(event, WorkflowBlocked)), None)
        if again is not None:
            before = run.header.blocked_reason
            return again.reason != before and {again.reason, before} <= WITHOUT_CODE
        if self._encoder.too_large([self._encoder.event(event) for event in events]):
            return False
        queues = {event.queue for event in events if isinstance(event, ActivityScheduled)}
        topics = {event.topic for event in events if isinstance(event, RecordPublished)}
        return all(map(self._encoder.can_send, queues)) and all(map(self._encoder.can_publish, topics))
