"""Bounded cache of runs in memory: working copies with their executions, rebuilt from history when needed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from itertools import takewhile
from typing import Any

import structlog

from penstock.engine.core.evolve import begin
from penstock.engine.core.execution import CodeWithheld, Definition, Execution, InputDifference
from penstock.engine.core.hosted import Hosted
from penstock.engine.core.keys import HISTORY, kept_prefix, run_key, run_prefix
from penstock.engine.core.rows import KeptRow, unpack_kept, unpack_run
from penstock.engine.core.view import RowScanner
from penstock.engine.core.working import WorkingRun
from penstock.engine.runtime.kept import KeptCommands
from penstock.schemas.encoding.codec import decode
from penstock.schemas.errors import UnknownWorkflowType
from penstock.schemas.records.decisions import DecisionRecorded, Listening
from penstock.schemas.records.kinds import Event
from penstock.schemas.records.retention import WorkflowImported
from penstock.schemas.records.run import WorkflowStarted

logger = structlog.get_logger(__name__)

DIFFERENCES_LOGGED_MAX = 1_000

RUN_CACHE_BYTES = 256_000_000
"""Memory for runs of a process. Beyond it a run is rebuilt from its history, which costs seven times as much as a
decision."""

ROWS_BYTES = 2_000
"""A run in memory without its execution."""


class _NoRows:
    """Rows of an id of which nothing is kept."""

    def get(self, key: bytes) -> bytes | None:  # noqa: ARG002 - RowReader
        """None."""
        return None

    def of_run(self, workflow_id: str, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:  # noqa: ARG002 - RowReader
        """None."""
        return iter(())


_NO_ROWS = _NoRows()


class CachedRun(WorkingRun):
    """A WorkingRun with its execution: the RunView that `decide` sees. `size`: what the budget counts for it."""

    __slots__ = ("_cache", "_execution", "_unread", "size")

    def __init__(self, workflow_id: str, cache: RunCache) -> None:
        data = cache.reader.get(run_key(workflow_id))
        super().__init__(workflow_id, unpack_run(data) if data is not None else None, cache.reader, decode)
        self._cache = cache
        self._execution: Execution | None = None
        self._unread: list[Event] = []
        self.size = 0

    @property
    def hosted(self) -> Hosted:
        """Workflow types and signals that this processor hosts."""
        return self._cache.hosted

    def execution(self, *, observed: bool = False) -> Execution:
        """The run's execution, rebuilt if it is not in memory. `observed`: see Definition.rebuild.

        Raises NonDeterminism, CodeError, UnknownWorkflowType, CodeWithheld."""
        if self._cache.withheld:
            self._require_permitted()
        if self._execution is None:
            definition = self.hosted.workflow(self.header.workflow_type, self.header.version)
            if definition is None:
                reason, message = self.hosted.missing(self.header.workflow_type, self.header.version)
                raise UnknownWorkflowType(message, reason=reason)
            rebuilt = definition.rebuild(
                self.workflow_id,
                self.run_id,
                self.history(),
                strict_inputs=self.hosted.strict_inputs,
                observed=observed,
            )
            self._execution, self._unread = rebuilt.execution, rebuilt.unread
            for difference in rebuilt.differences:
                self._cache.report(difference, self.workflow_id)
        return self._execution

    def all_kept(self) -> list[KeptRow]:
        """The commands that came before the id's run, in their order."""
        if self.workflow_id not in self._cache.kept:
            return []
        return [unpack_kept(value) for _, value in self._reader.of_run(self.workflow_id, kept_prefix(self.workflow_id))]

    def kept_size(self) -> tuple[int, int]:
        """Number and bytes of all commands of the shard that came before their runs."""
        return self._cache.kept.size()

    def started_input(self) -> bytes | None:
        """The input (JSON) with which the current run started; None if its history is deleted."""
        record = next(self.history(), None)
        started = decode(record.events[0]) if record is not None else None
        return started.input if isinstance(started, WorkflowStarted) else None

    def import_problem(self, imported: WorkflowImported) -> str:
        """Why an imported history is none that a closed run of this id has; empty if it is one."""
        trial = WorkingRun(self.workflow_id, None, _NO_ROWS, decode)
        try:
            begin(trial, imported.run_id, [imported])
        except Exception as error:  # noqa: BLE001 - bytes of any origin may break any rule
            return str(error).rstrip(".") or type(error).__name__
        return ""

    def unread_inputs(self) -> list[Event]:
        """Inputs recorded while the run was BLOCKED; known after `execution`."""
        return self._unread

    def new_execution(self, definition: Definition, run_id: str, seed: str) -> Execution:
        """The execution of a run that starts now. Raises CodeWithheld."""
        self._require_permitted()
        self.forget()
        self._execution = definition.begin(self.workflow_id, run_id, seed)
        return self._execution

    def forked_execution(
        self, definition: Definition, base_run_id: str, to_event: int, run_id: str
    ) -> tuple[Execution, list[Event]]:
        """The execution of a run that goes on from that event of another one's history, and the inputs that its code
        has not received there. Raises NonDeterminism, CodeError, CodeWithheld."""
        self._require_permitted()
        self.forget()
        records = takewhile(lambda record: record.first_sequence <= to_event, self.history(base_run_id))
        rebuilt = definition.rebuild(self.workflow_id, run_id, records, strict_inputs=self.hosted.strict_inputs)
        self._execution = rebuilt.execution
        return rebuilt.execution, rebuilt.unread

    def _require_permitted(self) -> None:
        if self._cache.withheld == self.workflow_id:
            self.forget()
            raise CodeWithheld

    def history(self, run_id: str = "") -> Iterator[DecisionRecorded]:
        """The decisions of the current run, or of another one of the id, in order."""
        prefix = run_prefix(HISTORY, self.workflow_id, run_id or self.run_id)
        for _, value in self._reader.of_run(self.workflow_id, prefix):
            yield decode(value)

    def listening(self) -> Listening | None:
        """Signals and conditions the code awaits; if it is not in memory, those of the last decision."""
        if self._execution is not None:
            return self._execution.listening()
        return self.row.listening if self.row is not None else None

    def estimated_size(self) -> int:
        """Estimate of the bytes that it takes in memory."""
        return ROWS_BYTES if self._execution is None else ROWS_BYTES + self._execution.size()

    def measured_size(self) -> int:
        """As `estimated_size`, after a measurement where the estimate is uncertain."""
        return ROWS_BYTES if self._execution is None else ROWS_BYTES + self._execution.measured_size()

    def evict(self) -> None:
        """Remove it from its cache."""
        self._cache.evict(self.workflow_id)

    def forget(self) -> None:
        """Close the execution; it can be rebuilt."""
        if self._execution is not None:
            self._execution.close()
            self._execution = None
        self._unread = []


class MemoryBudget:
    """Memory for runs, shared by the shards of a process: the run that was used least recently is evicted first.

    `used_bytes`: an estimate (footprint.py), renewed at the end of each layer for the runs that it decided.
    `use_again`: counts a run, which is counted already, as the one used last."""

    def __init__(self, bytes_max: int = RUN_CACHE_BYTES) -> None:
        self.bytes_max, self.used_bytes = bytes_max, 0
        self._order: OrderedDict[CachedRun, None] = OrderedDict()
        self.use_again: Callable[[CachedRun], None] = self._order.move_to_end

    def use(self, run: CachedRun) -> None:
        """Count a run as the one used last."""
        self._order[run] = None

    def note_size(self, run: CachedRun, size: int) -> None:
        """Set the bytes that a run takes; others are evicted if all take too many together."""
        self.used_bytes += size - run.size
        run.size = size
        if self.used_bytes > self.bytes_max:
            self._make_room(run)

    def release(self, run: CachedRun) -> None:
        """Count a run no longer."""
        self._order.pop(run, None)
        self.used_bytes -= run.size
        run.size = 0

    def _make_room(self, kept: CachedRun) -> None:
        while self.used_bytes > self.bytes_max:
            run = next(iter(self._order))
            if run is kept:
                return  # a decision needs it
            self.used_bytes -= run.size
            run.size = run.measured_size()
            self.used_bytes += run.size
            if self.used_bytes > self.bytes_max:
                run.evict()


class RunCache:
    """The runs of one shard that are in memory, within the budget of its process.

    `withheld`: id of a run whose code is not to be executed now. `kept`: commands that came before their runs."""

    def __init__(self, reader: RowScanner, hosted: Hosted, budget: MemoryBudget) -> None:
        self.reader, self.hosted, self.budget = reader, hosted, budget
        self.kept = KeptCommands(reader)
        self._runs: dict[str, CachedRun] = {}
        self._reported: set[Any] = set()
        self.withheld = ""

    def get(self, workflow_id: str) -> CachedRun:
        """The run of that id, read from its rows if it is not in memory."""
        run = self._runs.get(workflow_id)
        if run is None:
            run = self._runs[workflow_id] = CachedRun(workflow_id, self)
            self.budget.use(run)
            self.budget.note_size(run, ROWS_BYTES)
        else:
            self.budget.use_again(run)
        return run

    def renew_sizes(self, workflow_ids: Iterable[str]) -> None:
        """Note what these runs take after a layer's decisions; others are evicted if the budget is exceeded."""
        for workflow_id in workflow_ids:
            run = self._runs.get(workflow_id)
            if run is not None:
                self.budget.note_size(run, run.estimated_size())

    def evict(self, workflow_id: str) -> None:
        """Remove the run of that id from memory."""
        run = self._runs.pop(workflow_id, None)
        if run is not None:
            self.budget.release(run)
            run.forget()

    def clear(self) -> None:
        """Remove all runs from memory."""
        for workflow_id in list(self._runs):
            self.evict(workflow_id)

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
