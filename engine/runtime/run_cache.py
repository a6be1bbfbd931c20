"""Which run is in memory? A working copy with its code at hand, rebuilt from history when it is not."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

from penstock.engine.authoring.workflow import WorkflowDefinition
from penstock.engine.core.rows import Listening, run_key, run_prefix, unpack_run
from penstock.engine.core.working import RowReader, WorkingRun
from penstock.engine.execution.program import Program
from penstock.engine.execution.replayer import history_record, rebuild
from penstock.schemas.errors import UnknownWorkflowType
from penstock.schemas.records.decisions import DecisionRecorded

Definitions = Mapping[str, WorkflowDefinition[Any, Any]]


class LiveRun(WorkingRun):
    """A WorkingRun that can bring its code to where the history ends (the RunView that `decide` sees)."""

    __slots__ = ("_definitions", "_program", "_unread")

    def __init__(self, workflow_id: str, reader: RowReader, definitions: Definitions) -> None:
        data = reader.get(run_key(workflow_id))
        super().__init__(workflow_id, unpack_run(data) if data is not None else None, reader)
        self._definitions = definitions
        self._program: Program | None = None
        self._unread: list[Any] = []

    def program(self) -> Program:
        """The run's code. Raises NonDeterminism, UnknownWorkflowType."""
        if self._program is None:
            assert self.row is not None, f"{self.workflow_id} has no run to rebuild"
            definition = self._definitions.get(self.row.workflow_type)
            if definition is None:
                raise UnknownWorkflowType(
                    f"no workflow called {self.row.workflow_type!r} is hosted here any more; add its module to the "
                    "processor's command line and restart it"
                )
            rebuilt = rebuild(definition, self.workflow_id, self.run_id, self.history())
            self._program, self._unread = rebuilt.program, rebuilt.unread
        return self._program

    def unread_facts(self) -> list[Any]:
        """Facts recorded while the run was BLOCKED; known once `program` was asked for."""
        return self._unread

    def new_program(self, definition: WorkflowDefinition[Any, Any], run_id: str) -> Program:
        """Begin a run: its code has seen nothing yet."""
        self.forget()
        self.run_id = run_id
        self._program = Program(definition, self.workflow_id, run_id)
        return self._program

    def definition(self, workflow_type: str) -> WorkflowDefinition[Any, Any] | None:
        """The workflow type as hosted here."""
        return self._definitions.get(workflow_type)

    def hosted(self) -> list[str]:
        """The names of all workflow types hosted here."""
        return sorted(self._definitions)

    def history(self) -> Iterator[DecisionRecorded]:
        """The present run's decisions in order."""
        prefix = run_prefix(b"H", self.workflow_id, self.run_id)
        for _, value in self._reader.of_run(self.workflow_id, prefix):
            yield history_record(value)

    def listening(self) -> Listening | None:
        """What the code listens for; while it is not in memory, it listens for what it last did."""
        if self._program is not None:
            return self._program.listening()
        return self.row.listening if self.row is not None else None

    def forget(self) -> None:
        """Drop the code; it can be rebuilt."""
        if self._program is not None:
            self._program.close()
            self._program = None
        self._unread = []

    @property
    def has_program(self) -> bool:
        """Whether the code is in memory."""
        return self._program is not None


class RunCache:
    """The runs in memory: at most `runs_max`, the longest unused leaves first."""

    def __init__(self, reader: RowReader, definitions: Definitions, runs_max: int) -> None:
        self._reader, self._definitions, self._runs_max = reader, definitions, runs_max
        self._runs: OrderedDict[str, LiveRun] = OrderedDict()

    def get(self, workflow_id: str) -> LiveRun:
        """The run of that id, read from its rows when it is not in memory."""
        run = self._runs.get(workflow_id)
        if run is None:
            run = self._runs[workflow_id] = LiveRun(workflow_id, self._reader, self._definitions)
            if len(self._runs) > self._runs_max:
                self._runs.popitem(last=False)[1].forget()
        else:
            self._runs.move_to_end(workflow_id)
        return run

    def evict(self, workflow_id: str) -> None:
        """Forget what is in memory of that id."""
        run = self._runs.pop(workflow_id, None)
        if run is not None:
            run.forget()

    def clear(self) -> None:
        """Forget everything."""
        for run in self._runs.values():
            run.forget()
        self._runs.clear()

    def __len__(self) -> int:
        return len(self._runs)
