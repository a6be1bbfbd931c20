"""Records of updates: a caller changes the state of a run, and receives an answer from its code."""

from __future__ import annotations

from typing import Literal

from penstock.schemas.failure import Failure
from penstock.schemas.records.kinds import NO_REPLY, Command, Event

WaitFor = Literal["accepted", "completed"]
"""Which moment of an update its caller waits for."""


class UpdateWorkflow(Command, frozen=True, gc=False, kw_only=True):
    """Call the run's update of that name. Empty `run_id`: the current run. The message id is the update's id.

    `wait_for`: when the caller is answered; a command that repeats a message id is answered from what is known.
    `timeout_ms`: how long the caller waits (0: 30 s): so long an update is held while the run has no handler for it."""

    update: str
    input: bytes = b""
    run_id: str = ""
    wait_for: WaitFor = "completed"
    timeout_ms: int = 0


class UpdateAccepted(Event, frozen=True, gc=False, kw_only=True):
    """An update passed its validator; its handler begins. `reply_to`: who waits until it has completed."""

    message_id: str
    update: str
    input: bytes
    reply_to: int = NO_REPLY


class UpdateHeld(Event, frozen=True, gc=False, kw_only=True):
    """An update waits for a handler, which the run has not registered yet.

    `until_ms`: when its caller gives up (epoch). `wait_for`: as in the command. `also_accepted`, `also_ended`: where
    further callers wait for its acceptance, and for its end, when it goes along to the next run."""

    message_id: str
    update: str
    input: bytes
    reply_to: int = NO_REPLY
    wait_for: WaitFor = "completed"
    until_ms: int = 0
    also_accepted: tuple[int, ...] = ()
    also_ended: tuple[int, ...] = ()


class UpdateTaken(Event, frozen=True, gc=False, kw_only=True):
    """A held update met its handler. `problem`: why it was rejected, empty if it was accepted. A request."""

    message_id: str
    problem: str = ""


class UpdateCompleted(Event, frozen=True, gc=False, kw_only=True):
    """An update's handler returned `result` (JSON). A request."""

    message_id: str
    result: bytes


class UpdateFailed(Event, frozen=True, gc=False, kw_only=True):
    """An update's handler raised an exception. A request."""

    message_id: str
    failure: Failure


class UpdateAwaited(Event, frozen=True, gc=False, kw_only=True):
    """A further caller waits for the end of an update, or for its acceptance alone if `waits_accepted`.

    On the topic `events` alone: it takes no number in the history."""

    message_id: str
    reply_to: int
    waits_accepted: bool = False
