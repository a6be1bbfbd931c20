"""Inputs of the shard's own making, and what an input causes: events, a reply, or the reason why nothing happened."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.schemas.records.kinds import Event
from penstock.schemas.records.replies import Reply
from penstock.schemas.records.run import CancelWorkflow
from penstock.schemas.records.signal import SignalWorkflow


class FireTimer(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A timer of workflow code is due."""

    workflow_id: str
    run_id: str
    sequence: int


class RetryActivity(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The delay before an activity's next attempt is over."""

    workflow_id: str
    run_id: str
    sequence: int


class TimeOutActivity(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An activity, or its attempt, is over its time."""

    workflow_id: str
    run_id: str
    sequence: int


class ResumeActivation(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A suspended activation goes on. `sequence`: always 0."""

    workflow_id: str
    run_id: str
    sequence: int = 0


class BeginRun(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The delay of a start is over. `sequence`: always 0."""

    workflow_id: str
    run_id: str
    sequence: int = 0


class TimeOutRun(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A run, or the chain it belongs to, is over its time. `sequence`: always 0."""

    workflow_id: str
    run_id: str
    sequence: int = 0


class KeepCommand(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A command came for an id without a run. The other fields are those of its record."""

    command: SignalWorkflow | CancelWorkflow
    partition: int
    offset: int
    key: bytes
    value: bytes

    @property
    def workflow_id(self) -> str:
        return self.command.workflow_id

    @property
    def message_id(self) -> str:
        return self.command.message_id


class GiveUpCommand(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The time is over for which a command was kept. `run_id`: empty; `sequence`: offset of its record."""

    workflow_id: str
    run_id: str
    sequence: int


class FireSchedule(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A tick of a schedule is due. `workflow_id`: the schedule's id; `run_id`: empty; `sequence`: always 0."""

    workflow_id: str
    run_id: str
    sequence: int = 0


class Rejection(msgspec.Struct, frozen=True, gc=False):
    """Why an input was refused. `keep`: it goes to `dead-letters` if it asked for no reply."""

    reason: str
    message: str
    run_id: str = ""
    keep: bool = True


class RunEvents(msgspec.Struct, frozen=True, gc=False):
    """Events of one run."""

    run_id: str
    events: list[Event]


class Decision(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What one input causes.

    `events` of the run `run_id` continue its history, unless they are `unnumbered`. `before`: events that end earlier
    runs of the id, when this decision starts the next one. `ignored` says why the input had no effect; there are no
    events then. `reply` answers the sender, `rejection` refuses the input. `is_read`: the input asked for an answer
    alone, so that no record of it is kept."""

    run_id: str
    events: list[Any] = []
    before: tuple[RunEvents, ...] = ()
    ignored: str = ""
    reply: Reply | None = None
    rejection: Rejection | None = None
    unnumbered: bool = False
    is_read: bool = False
