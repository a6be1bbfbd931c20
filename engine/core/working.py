"""What does a decision see of a run, and what does it change?

`RunView` is what deciders may read. `WorkingRun` is the working copy of one decision: its writes are a savepoint that
the shard keeps or drops whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from penstock.engine.core.rows import (
    NEVER_MS,
    ActivityRow,
    ChildRow,
    RunRow,
    TimerRow,
    pack,
    run_key,
    run_prefix,
    unpack_activity,
    unpack_child,
    unpack_timer,
)

if TYPE_CHECKING:
    from penstock.engine.authoring.workflow import WorkflowDefinition
    from penstock.engine.execution.program import Program


AT_HAND_MAX = 4
AT_HAND_INPUT_BYTES_MAX = 512


def _is_small(row: ActivityRow) -> bool:
    """Whether it may lie in its run's header: a failure brings a traceback along."""
    return row.failure is None and len(row.input) <= AT_HAND_INPUT_BYTES_MAX


class RowReader(Protocol):
    """Rows as the decisions so far have left them, committed or not yet."""

    def get(self, key: bytes) -> bytes | None:
        """The row's value, or None."""
        ...

    def of_run(self, workflow_id: str, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows whose keys begin with `prefix`, in order: some of a run of that id."""
        ...


class RunView(Protocol):
    """What deciders may see of one workflow id."""

    @property
    def workflow_id(self) -> str: ...
    @property
    def row(self) -> RunRow | None:
        """The header of the id's present run; None if there never was one. Not to be changed."""
        ...

    def activity(self, sequence: int) -> ActivityRow | None: ...
    def timer(self, sequence: int) -> TimerRow | None: ...
    def child(self, sequence: int) -> ChildRow | None: ...
    def program(self) -> Program:
        """The run's code, brought to where its history ends. Raises NonDeterminism, UnknownWorkflowType."""
        ...

    def unread_facts(self) -> list[object]:
        """Facts recorded while the run was BLOCKED, which its code has not seen."""
        ...

    def new_program(self, definition: WorkflowDefinition[..., object], run_id: str) -> Program:
        """The code of a run that begins now."""
        ...

    def definition(self, workflow_type: str) -> WorkflowDefinition[..., object] | None:
        """The workflow type as hosted here."""
        ...

    def hosted(self) -> list[str]:
        """The names of all workflow types hosted here."""
        ...


class WorkingRun:
    """One run while one decision is made: reads through to the overlay, writes to a savepoint of its own.

    `due_ms`: the earliest timer or retry among the writes."""

    __slots__ = (
        "_activities",
        "_prefixes",
        "_prefixes_of",
        "_reader",
        "due_ms",
        "header_key",
        "row",
        "run_id",
        "workflow_id",
        "writes",
    )

    def __init__(self, workflow_id: str, row: RunRow | None, reader: RowReader) -> None:
        self.workflow_id, self.row, self._reader = workflow_id, row, reader
        self.run_id = row.run_id if row is not None else ""
        self.writes: dict[bytes, bytes | None] = {}
        self.due_ms = NEVER_MS
        self.header_key = run_key(workflow_id)
        self._activities: dict[int, ActivityRow] = {}
        self._prefixes: dict[bytes, bytes] = {}
        self._prefixes_of = ""

    def key(self, kind: bytes, sequence: int) -> bytes:
        """The key of a numbered row of this run: `sequence_key`, its beginning made once."""
        if self._prefixes_of != self.run_id:
            self._prefixes_of, self._prefixes = self.run_id, {}
        prefix = self._prefixes.get(kind)
        if prefix is None:
            prefix = self._prefixes[kind] = run_prefix(kind, self.workflow_id, self.run_id)
        return prefix + sequence.to_bytes(8, "big")

    def put_activity(self, row: ActivityRow) -> None:
        """Keep a pending activity: a few small ones in the header, which each decision writes anyway; all others in
        rows of their own, so that thousands stay linear."""
        assert self.row is not None, "an activity without its run"
        at_hand, sequence = self.row.at_hand, row.sequence
        is_known = sequence in at_hand
        if _is_small(row) and (is_known or (sequence not in self._activities and len(at_hand) < AT_HAND_MAX)):
            at_hand[sequence] = row
            return
        if is_known:
            del at_hand[sequence]
        self._activities[sequence] = row
        self.writes[self.key(b"A", sequence)] = pack(row)

    def drop_activity(self, sequence: int) -> None:
        """Forget an activity that is no longer pending."""
        assert self.row is not None, "an activity without its run"
        if self.row.at_hand.pop(sequence, None) is None:
            self._activities.pop(sequence, None)
            self.writes[self.key(b"A", sequence)] = None

    def get(self, key: bytes) -> bytes | None:
        """A row, this decision's writes first."""
        if key in self.writes:
            return self.writes[key]
        return self._reader.get(key)

    def activity(self, sequence: int) -> ActivityRow | None:
        """A pending activity."""
        row = self.row.at_hand.get(sequence) if self.row is not None else None
        if row is None:
            row = self._activities.get(sequence)
        if row is None:
            data = self.get(self.key(b"A", sequence))
            if data is not None:
                row = self._activities[sequence] = unpack_activity(data)
        return row

    def activities(self) -> list[ActivityRow]:
        """All pending activities."""
        assert self.row is not None, "activities without their run"
        found = list(self.row.at_hand.values())
        if self.row.pending_activities > len(found):
            found += [unpack_activity(value) for _, value in self.rows(b"A")]
        return found

    def timer(self, sequence: int) -> TimerRow | None:
        """A pending timer."""
        data = self.get(self.key(b"t", sequence))
        return unpack_timer(data) if data is not None else None

    def child(self, sequence: int) -> ChildRow | None:
        """A pending child workflow."""
        data = self.get(self.key(b"C", sequence))
        return unpack_child(data) if data is not None else None

    def rows(self, kind: bytes) -> list[tuple[bytes, bytes]]:
        """All of the run's rows of a kind, this decision's writes included."""
        prefix = run_prefix(kind, self.workflow_id, self.run_id)
        found = dict(self._reader.of_run(self.workflow_id, prefix))
        for key, value in self.writes.items():
            if key.startswith(prefix):
                if value is None:
                    found.pop(key, None)
                else:
                    found[key] = value
        return sorted(found.items())

    def pending(self, kind: bytes, unpack: Callable[[bytes], object]) -> list[object]:
        """The run's rows of a kind, decoded."""
        return [unpack(value) for _, value in self.rows(kind)]
