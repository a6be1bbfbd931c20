"""A run's history as values, and what of it goes over to a run that goes on from an earlier point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.engine.core.keys import NEVER_MS
from penstock.schemas.failure import Failure
from penstock.schemas.records.activity import (
    ActivityAdopted,
    ActivityAttemptFailed,
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityRetried,
    ActivityScheduled,
    ActivitySkipped,
    ActivityStopRequested,
)
from penstock.schemas.records.child import (
    ChildCancelRequested,
    ChildCompleted,
    ChildFailed,
    ChildScheduled,
    ChildStarted,
)
from penstock.schemas.records.kinds import NO_REPLY, Event
from penstock.schemas.records.reset import WorkflowForked
from penstock.schemas.records.run import StartDelayEnded, WorkflowStarted
from penstock.schemas.records.signal import SignalReceived
from penstock.schemas.records.timer import TimerCancelled, TimerFired, TimerStarted
from penstock.schemas.records.update import (
    UpdateAccepted,
    UpdateCompleted,
    UpdateFailed,
    UpdateHeld,
    UpdateTaken,
)


class PastDecision(msgspec.Struct, frozen=True):
    """One decision of a history. `first`: number of its first event; `number`: that of the decision in its shard."""

    number: int
    first: int
    events: list[Any]

    @property
    def last(self) -> int:
        """Number of its last event."""
        return self.first + len(self.events) - 1


class OpenActivity:
    """An activity that is open at the cut. `seed`: of the run that requested it.

    `attempt`, `failure`: of the last attempt in the whole history. `is_given_up`: the code gave it up after the cut."""

    def __init__(self, seed: str) -> None:
        self.seed, self.attempt, self.is_given_up = seed, 1, False
        self.failure: Failure | None = None

    def follow(self, event: Any) -> None:
        """Take over what an event says of its attempts."""
        if isinstance(event, ActivityAttemptFailed | ActivityFailed):
            self.attempt, self.failure = event.attempt, event.failure
        elif isinstance(event, ActivityRetried | ActivityAdopted):
            self.attempt = event.attempt
        elif isinstance(event, ActivityStopRequested | ActivityCancelled):
            self.is_given_up = True


class Open:
    """Requests that are open at a point of a history, and whether its start is delayed. `last`: the highest number of a
    request; `seed`: of requests that follow."""

    def __init__(self, past: Sequence[PastDecision]) -> None:
        self.activities: dict[int, OpenActivity] = {}
        self.timers: set[int] = set()
        self.children: dict[int, ChildScheduled] = {}
        self.unstarted: set[int] = set()
        self.is_delayed = False
        self.last, self.seed = 0, ""
        for decision in past:
            for event in decision.events:
                self._follow(event)
        for activity in self.activities.values():
            activity.is_given_up = False

    def _follow(self, event: Any) -> None:
        sequence = getattr(event, "sequence", 0)
        self.last = max(self.last, sequence)
        match event:
            case WorkflowStarted():
                self.seed, self.is_delayed = event.seed, bool(event.begins_ms)
            case WorkflowForked():
                self.seed = event.seed
            case StartDelayEnded():
                self.is_delayed = False
            case ActivityScheduled():
                self.activities[sequence] = OpenActivity(self.seed)
            case ActivityCompleted() | ActivityFailed() | ActivityCancelled() | ActivitySkipped():
                self.activities.pop(sequence, None)
            case TimerStarted():
                self.timers.add(sequence)
            case TimerFired() | TimerCancelled():
                self.timers.discard(sequence)
            case ChildScheduled():
                self.children[sequence] = event
                self.unstarted.update({sequence} if event.awaits_start else ())
            case ChildStarted():
                self.unstarted.discard(sequence)
            case ChildCompleted() | ChildFailed() | ChildCancelRequested():
                self.children.pop(sequence, None)
            case _ if sequence in self.activities:
                self.activities[sequence].follow(event)


def received_again(open: Open, tail: Sequence[PastDecision], again: int) -> list[Event]:
    """What arrived after the cut and is received again, in its order: signals, updates that were not rejected, and what
    answers requests that are open at the cut. `open` is left with those that stay open.

    `again`: number of a request whose outcome does not count, since it is to be made again; 0 for none."""
    events = [event for decision in tail for event in decision.events]
    rejected = {event.message_id for event in events if isinstance(event, UpdateTaken) and event.problem}
    taken = {event.message_id for event in events if isinstance(event, UpdateTaken)} - rejected
    ended = {event.message_id for event in events if isinstance(event, UpdateCompleted | UpdateFailed)}
    found: list[Event] = []
    for event in events:
        sequence = getattr(event, "sequence", 0)
        if sequence in open.activities:
            open.activities[sequence].follow(event)
        match event:
            case SignalReceived():  # its id is known by the run that received it first
                found.append(msgspec.structs.replace(event, message_id=""))
            case UpdateAccepted():
                found.append(_held(event, event.reply_to if event.message_id not in ended else NO_REPLY))
            case UpdateHeld() if event.message_id not in rejected:
                reply_to = event.reply_to if event.message_id not in ended else NO_REPLY
                until_ms = event.until_ms if event.message_id not in taken else NEVER_MS
                found.append(msgspec.structs.replace(event, reply_to=reply_to, until_ms=until_ms))
            case StartDelayEnded() if open.is_delayed:
                open.is_delayed = False
                found.append(event)
            case _ if sequence and sequence != again and _answers(open, event, sequence):
                found.append(event)
    return found


def _held(event: UpdateAccepted, reply_to: int) -> UpdateHeld:
    """An accepted update as one that waits for its handler, which may not be there yet at the cut."""
    return UpdateHeld(
        message_id=event.message_id, update=event.update, input=event.input, reply_to=reply_to, until_ms=NEVER_MS
    )


def _answers(open: Open, event: Any, sequence: int) -> bool:
    """Whether an event answers a request that is open; it is not any more then."""
    match event:
        case ActivityCompleted() | ActivitySkipped():
            return open.activities.pop(sequence, None) is not None
        case ActivityFailed():
            activity = open.activities.get(sequence)
            if activity is None or activity.is_given_up:  # it had fewer attempts than its policy says
                return False
            return open.activities.pop(sequence, None) is not None
        case TimerFired() if sequence in open.timers:
            open.timers.discard(sequence)
            return True
        case ChildStarted() if sequence in open.unstarted and sequence in open.children:
            open.unstarted.discard(sequence)
            return True
        case ChildCompleted() | ChildFailed():
            return open.children.pop(sequence, None) is not None
    return False
