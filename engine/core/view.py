"""What deciders may see of one workflow id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from penstock.engine.core.execution import Definition, Execution
from penstock.engine.core.hosted import Hosted
from penstock.engine.core.past import PastDecision
from penstock.engine.core.rows import (
    ActivityRow,
    ChildRow,
    KeptRow,
    MessageRow,
    RunRow,
    ScheduledRunRow,
    ScheduleRow,
    TimerRow,
    UpdateRow,
)
from penstock.schemas.records.kinds import Event
from penstock.schemas.records.retention import WorkflowImported


class RowReader(Protocol):
    """Rows as the decisions so far have left them, committed or not."""

    def get(self, key: bytes) -> bytes | None:
        """The row's value, or None."""
        ...

    def of_run(self, workflow_id: str, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows of a run of that id whose keys begin with `prefix`, in order."""
        ...


class RowScanner(RowReader, Protocol):
    """As RowReader, with ranges across runs."""

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < stop, in order."""
        ...


class RunView(Protocol):
    """Read access to an id's current run, and to its execution, which is a cache of its history."""

    @property
    def workflow_id(self) -> str: ...
    @property
    def row(self) -> RunRow | None:
        """Header of the id's current run; None if it never had one. Not to be changed."""
        ...

    @property
    def hosted(self) -> Hosted:
        """Workflow types and signals that this processor hosts."""
        ...

    def activity(self, sequence: int) -> ActivityRow | None: ...
    def timer(self, sequence: int) -> TimerRow | None: ...
    def child(self, sequence: int) -> ChildRow | None: ...
    def update(self, message_id: str) -> UpdateRow | None:
        """The update of that id, of whichever run of the workflow id took it."""
        ...

    def memo(self) -> bytes:
        """The memo (JSON) of the id's current run; empty for none."""
        ...

    def message(self, message_id: str) -> MessageRow | None:
        """What is known of a message to this workflow id that took effect."""
        ...

    def kept(self, offset: int) -> KeptRow | None: ...
    def schedule(self) -> ScheduleRow | None:
        """The schedule with this id."""
        ...

    def scheduled_runs(self) -> list[ScheduledRunRow]:
        """The open runs of this schedule."""
        ...

    def shares(self, workflow_type: str) -> Mapping[int, int]:
        """The shares of the type's versions on this shard, in ten-thousandths; without those that have the default."""
        ...

    def all_kept(self) -> list[KeptRow]:
        """The commands that came before the id's run, in their order."""
        ...

    def kept_size(self) -> tuple[int, int]:
        """Number and bytes of all commands of the shard that came before their runs."""
        ...

    def execution(self, *, observed: bool = False) -> Execution:
        """The run's execution, as its history left it. Raises NonDeterminism, CodeError, UnknownWorkflowType.

        `observed` (see Definition.rebuild) concerns one that is rebuilt now."""
        ...

    def started_input(self) -> bytes | None:
        """The input (JSON) with which the id's current run started; None if its history is deleted."""
        ...

    def has_past(self) -> bool:
        """Whether the history of any run of this id is kept."""
        ...

    def import_problem(self, imported: WorkflowImported) -> str:
        """Why an imported history is none that a closed run of this id has; empty if it is one."""
        ...

    def past(self, run_id: str) -> list[PastDecision]:
        """The history of a run of this id, as far as it is kept; empty for none."""
        ...

    def forked_execution(
        self, definition: Definition, base_run_id: str, to_event: int, run_id: str
    ) -> tuple[Execution, list[Event]]:
        """The execution of a run `run_id` that goes on from that event of the base's history, and the inputs that its
        code has not received there. Raises NonDeterminism, CodeError, CodeWithheld."""
        ...

    def forget(self) -> None:
        """Close the execution; `execution` rebuilds it."""
        ...

    def unread_inputs(self) -> list[Event]:
        """Inputs recorded while the run was BLOCKED or paused, which its code has not received; known after
        `execution`."""
        ...

    def new_execution(self, definition: Definition, run_id: str, seed: str) -> Execution:
        """The execution of a run that starts now."""
        ...
