"""Bounded cache of runs in memory: working copies with their executions, rebuilt from history when needed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import structlog

from penstock.engine.core.execution import CodeWithheld, Definition, Execution, InputDifference
from penstock.engine.core.hosted import Hosted
from penstock.engine.core.keys import HISTORY, run_key, run_prefix
from penstock.engine.core.rows import unpack_run
from penstock.engine.core.view import RowReader
from penstock.engine.core.working import WorkingRun
from penstock.schemas.encoding.codec import decode
from penstock.schemas.errors import UnknownWorkflowType
from penstock.schemas.records.decisions import DecisionRecorded, Listening
from penstock.schemas.records.kinds import Event

logger = structlog.get_logger(__name__)

DIFFERENCES_LOGGED_MAX = 1_000


class CachedRun(WorkingRun):
    """A WorkingRun with its execution: the RunView that `decide` sees."""

    __slots__ = ("_cache", "_execution", "_unread")

    def __init__(self, workflow_id: str, cache: RunCache) -> None:
        data = cache.reader.get(run_key(workflow_id))
        super().__init__(workflow_id, unpack_run(data) if data is not None else None, cache.reader)
        self._cache = cache
        self._execution: Execution | None = None
        self._unread: list[Event] = []

    @property
    def hosted(self) -> Hosted:
        """Workflow types and signals that this processor hosts."""
        return self._cache.hosted

    def execution(self) -> Execution:
        """The run's execution, rebuilt if it is not in memory.

        Raises NonDeterminism, UnknownWorkflowType, CodeWithheld."""
        self._require_permitted()
        if self._execution is None:
            definition = self.hosted.workflow(self.header.workflow_type)
            if definition is None:
                reason, message = self.hosted.missing(self.header.workflow_type)
                raise UnknownWorkflowType(message, reason=reason)
            rebuilt = definition.rebuild(
                self.workflow_id, self.run_id, self.history(), strict_inputs=self.hosted.strict_inputs
            )
            self._execution, self._unread = rebuilt.execution, rebuilt.unread
            for difference in rebuilt.differences:
                self._cache.report(difference, self.workflow_id)
        return self._execution

    def unread_inputs(self) -> list[Event]:
        """Inputs recorded while the run was BLOCKED; known after `execution`."""
        return self._unread

    def new_execution(self, definition: Definition, run_id: str, seed: str) -> Execution:
        """The execution of a run that starts now. Raises CodeWithheld."""
        self._require_permitted()
        self.forget()
        self._execution = definition.begin(self.workflow_id, run_id, seed)
        return self._execution

    def _require_permitted(self) -> None:
        if self._cache.withheld and self._cache.withheld == self.workflow_id:
            self.forget()
            raise CodeWithheld

    def history(self) -> Iterator[DecisionRecorded]:
        """The current run's decisions in order."""
        prefix = run_prefix(HISTORY, self.workflow_id, self.run_id)
        for _, value in self._reader.of_run(self.workflow_id, prefix):
            yield decode(value)

    def listening(self) -> Listening | None:
        """Signals and conditions the code awaits; if it is not in memory, those of the last decision."""
        if self._execution is not None:
            return self._execution.listening()
        return self.row.listening if self.row is not None else None

    def forget(self) -> None:
        """Close the execution; it can be rebuilt."""
        if self._execution is not None:
            self._execution.close()
            self._execution = None
        self._unread = []


class RunCache:
    """At most `runs_max` runs; the least recently used is evicted first.

    `withheld`: id of a run whose code is not to be executed now."""

    def __init__(self, reader: RowReader, hosted: Hosted, runs_max: int) -> None:
        self.reader, self.hosted, self._runs_max = reader, hosted, runs_max
        self._runs: OrderedDict[str, CachedRun] = OrderedDict()
        self._reported: set[Any] = set()
        self.withheld = ""

    def get(self, workflow_id: str) -> CachedRun:
        """The run of that id, read from its rows if it is not in memory."""
        run = self._runs.get(workflow_id)
        if run is None:
            run = self._runs[workflow_id] = CachedRun(workflow_id, self)
            if len(self._runs) > self._runs_max:
                self._runs.popitem(last=False)[1].forget()
        else:
            self._runs.move_to_end(workflow_id)
        return run

    def evict(self, workflow_id: str) -> None:
        """Remove the run of that id from memory."""
        run = self._runs.pop(workflow_id, None)
        if run is not None:
            run.forget()

    def clear(self) -> None:
        """Remove all runs from memory."""
        for run in self._runs.values():
            run.forget()
        self._runs.clear()

    def report(self, difference: InputDifference, workflow_id: str) -> None:
        """Log a changed input, once for each workflow type and kind of request."""
        key = (difference.workflow_type, difference.request)
        if key in self._reported or len(self._reported) >= DIFFERENCES_LOGGED_MAX:
            return
        self._reported.add(key)
        logger.warning(
            "an input differs from the recorded one on replay; the recorded result is used",
            workflow_type=difference.workflow_type,
            workflow_id=workflow_id,
            request=difference.request,
            sequence=difference.sequence,
        )

    def __len__(self) -> int:
        return len(self._runs)
