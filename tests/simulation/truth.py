"""Independent model of a run, built from its committed events; it raises Violation for events that cannot be."""

from __future__ import annotations

from typing import Any

from penstock.schemas.encoding.codec import decode
from penstock.schemas.records import schedule
from penstock.schemas.records.activity import (
    ActivityAdopted,
    ActivityAttemptFailed,
    ActivityCancelled,
    ActivityChanged,
    ActivityCompleted,
    ActivityFailed,
    ActivityHeartbeat,
    ActivityRetried,
    ActivityScheduled,
    ActivitySkipped,
    ActivityStarted,
    ActivityStopRequested,
)
from penstock.schemas.records.chain import WorkflowContinued
from penstock.schemas.records.child import (
    ChildAdopted,
    ChildScheduled,
    ChildStarted,
    ChildStopRequested,
    ParentChanged,
)
from penstock.schemas.records.decisions import DecisionRecorded
from penstock.schemas.records.external import ExternalSignalSent, RecordPublished
from penstock.schemas.records.kept import CommandGivenUp, CommandKept
from penstock.schemas.records.kinds import Event
from penstock.schemas.records.pause import WorkflowPaused, WorkflowResumed
from penstock.schemas.records.reset import WorkflowForked, WorkflowReset
from penstock.schemas.records.retention import WorkflowDeleted, WorkflowImported
from penstock.schemas.records.run import (
    HistoryExceeded,
    InputIgnored,
    ResultAwaited,
    StartDelayEnded,
    StartJoined,
    WorkflowBlocked,
    WorkflowCancelled,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowStarted,
    WorkflowTerminated,
    WorkflowTimedOut,
    WorkflowUnblocked,
)
from penstock.schemas.records.share import VersionShareSet, VersionShareUnset
from penstock.schemas.records.timer import TimerFired, TimerStarted
from penstock.schemas.records.update import UpdateAwaited
from tests.simulation.story import Violation

CLOSING = {
    WorkflowCompleted: "completed",
    WorkflowFailed: "failed",
    WorkflowCancelled: "cancelled",
    WorkflowTerminated: "terminated",
    WorkflowTimedOut: "failed",
    HistoryExceeded: "failed",
    WorkflowContinued: "continued",
    WorkflowReset: "reset",
}
REPORTS = (ActivityStarted, ActivityHeartbeat)
OF_SCHEDULES = frozenset(
    kind for kind in vars(schedule).values() if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
)
BEGINNINGS = (ActivityScheduled, ActivityRetried, ChildScheduled, TimerStarted, ExternalSignalSent, RecordPublished)
OF_SHARES = (VersionShareSet, VersionShareUnset)
UNNUMBERED = (
    *(
        InputIgnored,
        ResultAwaited,
        StartJoined,
        UpdateAwaited,
        CommandKept,
        CommandGivenUp,
        WorkflowDeleted,
        WorkflowImported,
        ParentChanged,
    ),
    *REPORTS,
    *OF_SCHEDULES,
    *OF_SHARES,
)


def is_followed(event: Any) -> bool:
    """Whether the next run of a chain begins when this event ends a run."""
    return isinstance(event, WorkflowContinued) or bool(getattr(event, "next_run_id", ""))


class Activity:
    """State of an activity: `open` (with workers), `waiting` (for its retry), or how it ended.

    `stopping`: no attempt follows. `sign_ms`: when the present attempt last said that it goes on, 0 if it did not;
    `details`: of the last heartbeat of all attempts."""

    def __init__(self, event: ActivityScheduled) -> None:
        self.name, self.input, self.attempt, self.state, self.retry_ms = event.activity, event.input, 1, "open", 0
        self.result, self.stopping = b"", False
        self.heartbeat_ms = event.bounds.heartbeat_ms if event.bounds is not None else 0
        self.sign_ms, self.details = 0, b""


class Run:
    """History of one run, as on the topic `events`."""

    def __init__(self, workflow_id: str, run_id: str, started: WorkflowStarted) -> None:
        self.workflow_id, self.run_id, self.workflow_type = workflow_id, run_id, started.workflow_type
        self.started = started
        self.status, self.blocked_reason, self.next_number = "running", "", 1
        self.is_deleted = self.is_imported = False
        self.records: list[DecisionRecorded] = []
        self.events: list[Any] = []
        self.timed: list[tuple[int, Any]] = []  # events with the times of their decisions
        self.activities: dict[int, Activity] = {}
        self.timers: dict[int, int] = {}  # due times of pending ones
        self.children: dict[int, str] = {}  # workflow ids of pending ones
        self.requests = 0
        self.fork: Fork | None = None

    @classmethod
    def forked(cls, base: Run, record: DecisionRecorded, forked: WorkflowForked) -> Run:
        """The run that begins with the history of another one, up to the cut that its WorkflowForked names."""
        run = cls(base.workflow_id, record.run_id, base.started)
        for kept in base.records:
            if kept.first_sequence + len(kept.events) - 1 <= forked.to_event:
                run.take(kept, [decode(data) for data in kept.events])
        run.fork = Fork(base, forked, record, run)
        return run

    def __str__(self) -> str:
        return f"{self.workflow_id} (run {self.run_id}, {self.workflow_type})"

    @property
    def is_closed(self) -> bool:
        return self.status in CLOSING.values()

    @property
    def chain_id(self) -> str:
        """Run id of the first run of its chain."""
        return self.fork.event.first_run_id if self.fork else self.started.first_run_id or self.run_id

    @property
    def own(self) -> list[Any]:
        """Its events without those that it shares with the run from which it goes on."""
        return self.events[self.fork.kept :] if self.fork else self.events

    @property
    def first_decision(self) -> int:
        """Number of the decision in which it began, or went on from another one."""
        return self.fork.record.decision if self.fork else self.records[0].decision

    def is_received_again(self, index: int) -> bool:
        """Whether the event of that index is of the decision in which the run went on from another one."""
        return self.fork is not None and self.fork.kept <= index < self.fork.until

    def is_followed_by(self, other: Run) -> bool:
        """Whether it has ended and the other one goes on in its place."""
        if other.fork is not None:
            return isinstance(self.events[-1], WorkflowReset) and other.fork.base is self
        return other.started.previous_run_id == self.run_id

    @property
    def is_followed(self) -> bool:
        """Whether it has ended and the next run of its chain goes on."""
        return self.is_closed and is_followed(self.events[-1])

    def take(self, record: DecisionRecorded, events: list[Any]) -> None:
        """Apply the next decision. Raises Violation."""
        if record.first_sequence != self.next_number:
            raise Violation("H (history)", f"{self} has event {record.first_sequence}, not {self.next_number}")
        self.records.append(record)
        if isinstance(events[0], WorkflowUnblocked) and not record.trigger.topic:
            again = next((event.reason for event in events if isinstance(event, WorkflowBlocked)), "")
            if again and again != "refused_record":  # only the log can say whether it refuses a record
                raise Violation("B (blocked)", f"{self} was tried again although it stays BLOCKED: {again}")
        if self.fork is not None and self.fork.record.decision == record.decision:
            self.fork.until = len(self.events) + len(events)
        for event in events:
            if self.is_closed:
                raise Violation("H (history)", f"{self} continues after its end with {event}")
            self.next_number += 1
            self.events.append(event)
            self.timed.append((record.now_ms, event))
            self._apply(event, record.now_ms)

    def report(self, event: ActivityStarted | ActivityHeartbeat, now_ms: int) -> None:
        """Apply what a running attempt said of itself. Raises Violation for one that is over."""
        found = self.activities.get(event.sequence)
        if found is None or found.state != "open" or found.attempt != event.attempt or self.is_closed:
            raise Violation("R (results)", f"{self}: {event} is about an attempt that is over")
        found.sign_ms = now_ms
        if isinstance(event, ActivityHeartbeat):
            found.details = event.details or found.details

    def _check_silence(self, event: Any, found: Activity, now_ms: int) -> None:
        """Check that an attempt that the shard timed out was silent for its heartbeat's time."""
        was_timed_out = event.failure.kind == "timeout" and not self.is_received_again(len(self.events) - 1)
        if was_timed_out and (not found.sign_ms or now_ms - found.sign_ms < found.heartbeat_ms):
            raise Violation(
                "C (timers)", f"{self}: {event} at {now_ms}, and the last heartbeat came at {found.sign_ms}"
            )

    def of(self, kind: type) -> list[Any]:
        """The run's events of a kind, in order."""
        return [event for event in self.events if type(event) is kind]

    def _apply(self, event: Any, now_ms: int) -> None:
        kind = type(event)
        if self.status == "paused" and kind in BEGINNINGS:
            raise Violation("P (pause)", f"{self} is paused, and begins {event}")
        if kind in CLOSING:
            self.status = CLOSING[kind]
        elif kind is WorkflowBlocked:
            self.status, self.blocked_reason = "blocked", event.reason
        elif kind is WorkflowPaused:
            self.status, self.blocked_reason = "paused", ""
        elif kind in (WorkflowUnblocked, WorkflowResumed, WorkflowForked):
            self.status, self.blocked_reason = "running", ""
        elif kind.__name__.startswith("Activity"):
            self._apply_activity(event, now_ms)
        elif kind.__name__.startswith("Timer"):
            self._apply_timer(event, now_ms)
        elif kind.__name__.startswith("Child"):
            self._apply_child(event)
        elif kind is StartDelayEnded and now_ms < self.started.begins_ms:
            raise Violation("C (timers)", f"{self} began {self.started.begins_ms - now_ms} ms early")
        is_request = kind.__name__.endswith(("Scheduled", "Started", "Recorded", "Marked", "Sent", "Published"))
        if is_request and hasattr(event, "sequence") and kind is not ChildStarted:
            self._request(event.sequence)

    def _request(self, sequence: int) -> None:
        if sequence != self.requests + 1:
            raise Violation("H (history)", f"{self} numbers a request {sequence} after {self.requests}")
        self.requests = sequence

    def _apply_activity(self, event: Any, now_ms: int) -> None:
        if isinstance(event, ActivityScheduled):
            self.activities[event.sequence] = Activity(event)
            return
        found = self.activities.get(event.sequence)
        if found is None:
            raise Violation("R (results)", f"{self}: {event} is about an unknown activity")
        attempt = getattr(event, "attempt", found.attempt)
        if self.is_received_again(len(self.events) - 1) and found.state == "waiting" and attempt > found.attempt:
            found.state = "open"  # its later attempts came after the cut
        if self.is_received_again(len(self.events) - 1) and not isinstance(event, ActivityAdopted):
            found.attempt = attempt
        match event:
            case ActivityAdopted() if found.state in ("open", "waiting"):
                found.state, found.retry_ms = "waiting" if event.retry_ms else "open", event.retry_ms
                found.attempt, found.details = event.attempt, event.details or found.details
                found.sign_ms = now_ms if event.started_ms else 0
            case ActivityCompleted() if found.state == "open" and attempt == found.attempt:
                found.state, found.result = "completed", event.result
            case ActivitySkipped() if found.state in ("open", "waiting"):
                found.state, found.result = "completed", event.result
            case ActivityChanged() if found.state in ("open", "waiting") and not found.stopping:
                if event.retry_ms:
                    found.state, found.retry_ms = "waiting", event.retry_ms
            case ActivityFailed() if attempt == found.attempt and (found.state == "open" or found.stopping):
                self._check_silence(event, found, now_ms)
                found.state = "failed"
            case ActivityAttemptFailed() if found.state == "open" and attempt == found.attempt and not found.stopping:
                self._check_silence(event, found, now_ms)
                found.state, found.retry_ms = "waiting", event.retry_ms
                found.details = event.details or found.details
            case ActivityRetried() if found.state == "waiting" and attempt == found.attempt + 1 and not found.stopping:
                if now_ms < found.retry_ms:
                    raise Violation("C (timers)", f"{self} retried activity {event.sequence} before {found.retry_ms}")
                found.state, found.attempt, found.sign_ms = "open", attempt, 0
            case ActivityCancelled() if found.state in ("open", "waiting") and not found.stopping:
                found.state = "cancelled"
            case ActivityStopRequested() if found.state in ("open", "waiting") and not found.stopping:
                found.stopping = True
            case _:
                raise Violation(
                    "R (results)", f"{self}: {event} while attempt {found.attempt} of that activity is {found.state}"
                )

    def _apply_timer(self, event: Any, now_ms: int) -> None:
        if isinstance(event, TimerStarted):
            self.timers[event.sequence] = event.due_ms
            return
        due_ms = self.timers.pop(event.sequence, None)
        if due_ms is None:
            raise Violation("C (timers)", f"{self}: {event}, but no such timer is pending")
        if isinstance(event, TimerFired) and now_ms < due_ms:
            raise Violation("C (timers)", f"{self}: timer {event.sequence} fired {due_ms - now_ms} ms early")

    def _apply_child(self, event: Any) -> None:
        if isinstance(event, ChildScheduled):
            self.children[event.sequence] = event.workflow_id
        elif event.sequence not in self.children:
            raise Violation("R (results)", f"{self}: {event}, but no such child is pending")
        elif not isinstance(event, ChildStopRequested | ChildStarted | ChildAdopted):
            del self.children[event.sequence]


class Fork:
    """How a run came to go on from another one: `base`, its WorkflowForked, and the decision's record.

    `kept`: number of events that it shares with the base; `until`: those and the ones of that decision; `activities`,
    `children`: those that are open at the cut; `was_open`: whether the base was open until then."""

    def __init__(self, base: Run, event: WorkflowForked, record: DecisionRecorded, run: Run) -> None:
        self.base, self.event, self.record = base, event, record
        self.kept = self.until = len(run.events)
        self.activities = {number for number, found in run.activities.items() if found.state in ("open", "waiting")}
        self.children = set(run.children)
        self.was_open = base.status == "reset" and base.records[-1].decision == record.decision
