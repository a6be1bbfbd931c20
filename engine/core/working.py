"""Working copy of a run during one decision. Its writes are a savepoint that the caller keeps or drops whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from struct import Struct
from typing import Any

from penstock.engine.core.keys import (
    ACTIVITY,
    CHILD,
    HISTORY,
    NEVER_MS,
    SCHEDULED,
    TIMER,
    due_key,
    id_prefix,
    kept_key,
    memo_key,
    message_key,
    run_key,
    run_prefix,
    schedule_key,
    scheduled_key,
    share_key,
    update_key,
)
from penstock.engine.core.limits import NEAR_MAX
from penstock.engine.core.past import PastDecision
from penstock.engine.core.pending import fits_header, pending_activities
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
    pack,
    unpack_activity,
    unpack_child,
    unpack_kept,
    unpack_message,
    unpack_schedule,
    unpack_scheduled_run,
    unpack_shares,
    unpack_timer,
    unpack_update,
)
from penstock.engine.core.view import RowReader
from penstock.schemas.records.tasks import AttemptsCancelled

_SEQUENCE = Struct(">q")


class WorkingRun:
    """One run while a decision is applied: reads through to the rows below, writes to its savepoint.

    Only `evolve` and the machines' evolve functions call the methods that write. `due_ms`: earliest due time among the
    writes (epoch). `dropped_children`, `dropped_awaiters`, `dropped_updates`, `given_up`: what an event removed, for
    its effects; `cancelled`: attempts that it cancels. `decode`: an encoded decision or event."""

    __slots__ = (
        "_activities",
        "_prefixes",
        "_prefixes_run_id",
        "_reader",
        "cancelled",
        "decode",
        "dropped_awaiters",
        "dropped_children",
        "dropped_updates",
        "due_ms",
        "given_up",
        "header_key",
        "row",
        "run_id",
        "workflow_id",
        "writes",
    )

    def __init__(self, workflow_id: str, row: RunRow | None, reader: RowReader, decode: Callable[[bytes], Any]) -> None:
        self.workflow_id, self.row, self._reader, self.decode = workflow_id, row, reader, decode
        self.run_id = row.run_id if row is not None else ""
        self.writes: dict[bytes, bytes | None] = {}
        self.due_ms = NEVER_MS
        self.header_key = run_key(workflow_id)
        self.dropped_children: Sequence[ChildRow] = ()
        self.dropped_awaiters: Sequence[tuple[str, int]] = ()
        self.dropped_updates: Sequence[UpdateRow] = ()
        self.given_up: Sequence[KeptRow] = ()
        self.cancelled: tuple[AttemptsCancelled, ...] = ()
        self._activities: dict[int, ActivityRow] = {}
        self._prefixes: dict[bytes, bytes] = {}
        self._prefixes_run_id = ""

    @property
    def header(self) -> RunRow:
        """The header of a run that exists."""
        assert self.row is not None, f"{self.workflow_id} has no run"
        return self.row

    def key(self, kind: bytes, sequence: int) -> bytes:
        """Key of a numbered row of this run: its prefix, cached, and the sequence."""
        if self._prefixes_run_id != self.run_id:
            self._prefixes_run_id, self._prefixes = self.run_id, {}
        prefix = self._prefixes.get(kind)
        if prefix is None:
            prefix = self._prefixes[kind] = run_prefix(kind, self.workflow_id, self.run_id)
        return prefix + _SEQUENCE.pack(sequence)

    # Reading.

    def get(self, key: bytes) -> bytes | None:
        """A row, this decision's writes first."""
        if key in self.writes:
            return self.writes[key]
        return self._reader.get(key)

    def activity(self, sequence: int) -> ActivityRow | None:
        """A pending activity."""
        row = self.row.near.get(sequence) if self.row is not None else None
        if row is None:
            row = self._activities.get(sequence)
        if row is None:
            data = self.get(self.key(ACTIVITY, sequence))
            if data is not None:
                row = self._activities[sequence] = unpack_activity(data)
        return row

    def activities(self) -> list[ActivityRow]:
        """All pending activities by sequence."""
        row = self.header
        has_rows = row.pending_activities > len(row.near)
        return pending_activities(row, [value for _, value in self.rows(ACTIVITY)] if has_rows else ())

    def timer(self, sequence: int) -> TimerRow | None:
        """A pending timer."""
        data = self.get(self.key(TIMER, sequence))
        return unpack_timer(data) if data is not None else None

    def child(self, sequence: int) -> ChildRow | None:
        """A pending child workflow."""
        data = self.get(self.key(CHILD, sequence))
        return unpack_child(data) if data is not None else None

    def forget_dropped(self) -> None:
        """Let what was removed so far have no effects: those of a history that is taken over happened before."""
        self.dropped_children = self.dropped_awaiters = self.dropped_updates = self.cancelled = ()

    def update(self, message_id: str) -> UpdateRow | None:
        """The update of that id, of whichever run of the workflow id took it."""
        message = self.message(message_id)
        data = self.get(update_key(self.workflow_id, message.run_id, message_id)) if message is not None else None
        return unpack_update(data) if data is not None else None

    def memo(self) -> bytes:
        """The run's memo (JSON); empty for none."""
        if self.row is None or not self.row.has_memo:
            return b""
        return self.get(memo_key(self.workflow_id, self.run_id)) or b""

    def message(self, message_id: str) -> MessageRow | None:
        """What is known of a message to this workflow id that took effect."""
        data = self.get(message_key(self.workflow_id, message_id))
        return unpack_message(data) if data is not None else None

    def kept(self, offset: int) -> KeptRow | None:
        """The command of that offset, if it came before the id's run and is still kept."""
        data = self.get(kept_key(self.workflow_id, offset))
        return unpack_kept(data) if data is not None else None

    def schedule(self) -> ScheduleRow | None:
        """The schedule with this id."""
        data = self.get(schedule_key(self.workflow_id))
        return unpack_schedule(data) if data is not None else None

    def scheduled_runs(self) -> list[ScheduledRunRow]:
        """The open runs of this schedule."""
        return [unpack_scheduled_run(value) for _, value in self.rows(SCHEDULED)]

    def scheduled_run(self, run_id: str) -> ScheduledRunRow | None:
        """An open run of this schedule."""
        data = self.get(scheduled_key(self.workflow_id, run_id))
        return unpack_scheduled_run(data) if data is not None else None

    def shares(self, workflow_type: str) -> Mapping[int, int]:
        """The shares of the type's versions on this shard, in ten-thousandths; without those that have the default."""
        data = self.get(share_key(workflow_type))
        return unpack_shares(data).shares if data is not None else {}

    def rows(self, kind: bytes, run_id: str = "") -> list[tuple[bytes, bytes]]:
        """All of the run's rows of a kind with their keys, with this decision's writes. `run_id`: of another run."""
        return self._rows(run_prefix(kind, self.workflow_id, run_id or self.run_id))

    def rows_of_id(self, kind: bytes) -> list[tuple[bytes, bytes]]:
        """As `rows`, of all runs of the id, and of its messages."""
        return self._rows(id_prefix(kind, self.workflow_id))

    def has_past(self) -> bool:
        """Whether the history of any run of this id is kept."""
        return next(self._reader.of_run(self.workflow_id, id_prefix(HISTORY, self.workflow_id)), None) is not None

    def _rows(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        """Rows whose keys begin so, with this decision's writes."""
        found = dict(self._reader.of_run(self.workflow_id, prefix))
        for key, value in self.writes.items():
            if key.startswith(prefix):
                if value is None:
                    found.pop(key, None)
                else:
                    found[key] = value
        return sorted(found.items())

    def message_of(self, decision: bytes) -> str:
        """Id of the message that caused an encoded decision; empty for none."""
        message_id: str = self.decode(decision).trigger.message_id
        return message_id

    def past(self, run_id: str) -> list[PastDecision]:
        """The history of a run of this id, as far as it is kept; one that needed several records is put together."""
        found: list[PastDecision] = []
        for _, value in self.rows(HISTORY, run_id):
            record = self.decode(value)
            events = [self.decode(event) for event in record.events]
            if found and found[-1].number == record.decision:
                found[-1].events.extend(events)
            else:
                found.append(PastDecision(record.decision, record.first_sequence, events))
        return found

    # Writing.

    def put_activity(self, row: ActivityRow) -> None:
        """Store a pending activity: a few small ones in the header, which every decision writes anyway; all others in
        rows of their own, so that thousands of them stay linear."""
        assert self.row is not None, "an activity belongs to a run"
        near, sequence = self.row.near, row.sequence
        is_near = sequence in near
        if fits_header(row) and (is_near or (sequence not in self._activities and len(near) < NEAR_MAX)):
            near[sequence] = row
            return
        if is_near:
            del near[sequence]
        self._activities[sequence] = row
        self.writes[self.key(ACTIVITY, sequence)] = pack(row)

    def drop_activity(self, sequence: int) -> None:
        """Remove an activity that is no longer pending."""
        assert self.row is not None, "an activity belongs to a run"
        self.row.pending_activities -= 1
        if self.row.near.pop(sequence, None) is None:
            self._activities.pop(sequence, None)
            self.writes[self.key(ACTIVITY, sequence)] = None

    def put_due(self, due_ms: int, kind: str, sequence: int) -> None:
        """Add an entry to the due index."""
        self.writes[due_key(due_ms, kind, self.workflow_id, self.run_id, sequence)] = b""
        self.due_ms = min(self.due_ms, due_ms)

    def drop_due(self, due_ms: int, kind: str, sequence: int) -> None:
        """Remove an entry of the due index."""
        self.writes[due_key(due_ms, kind, self.workflow_id, self.run_id, sequence)] = None

    def drop_rows(self, kind: bytes, run_id: str = "") -> list[tuple[bytes, bytes]]:
        """Remove all of the run's rows of a kind and return them. `run_id`: of another run."""
        found = self.rows(kind, run_id)
        for key, _ in found:
            self.writes[key] = None
        return found
