"""Due times in one shard: which timers and retries are pending, and whether they fire when they are due."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

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
from penstock.schemas.records.decisions import DecisionRecorded
from penstock.schemas.records.kept import CommandGivenUp, CommandKept, CommandTaken
from penstock.schemas.records.pause import WorkflowPaused, WorkflowResumed
from penstock.schemas.records.reset import WorkflowForked
from penstock.schemas.records.run import StartDelayEnded, WorkflowStarted
from penstock.schemas.records.schedule import ScheduleAdvanced, ScheduleDeleted
from penstock.schemas.records.suspension import ActivationResumed, ActivationSuspended
from penstock.schemas.records.timer import TimerCancelled, TimerFired, TimerStarted
from tests.simulation.story import Violation
from tests.simulation.truth import CLOSING

MISSED_MAX = 30  # transactions of the shard, and one more for each timer that is due as well

Pending = tuple[str, str, str, int]
"""Kind (`t`, `r`, `a`, `s`, `d`, `k`, `p` or `w`, as in the due index), workflow id, run id, sequence."""


class Punctuality:
    """Pending timers and retries of one shard, by due time (epoch)."""

    def __init__(self) -> None:
        self.due: dict[Pending, int] = {}
        self._held: dict[tuple[str, str], dict[Pending, int]] = {}  # attempts of runs that are paused
        self._missed: Counter[Pending] = Counter()
        self._silence_ms: dict[tuple[str, str, int], int] = {}  # heartbeats' times of activities that have one
        self._past: dict[tuple[str, str], list[tuple[DecisionRecorded, Sequence[Any]]]] = {}

    def follow(
        self, decisions: Sequence[tuple[DecisionRecorded, Sequence[Any]]], now_ms: int, *, isolates: bool
    ) -> None:
        """Apply the decisions of a transaction at `now_ms`. Raises Violation if timers that are due never fire.

        `isolates`: it holds one input, perhaps so that a record which the log refuses is found: no timer fires then."""
        overdue = {key: due_ms for key, due_ms in self.due.items() if due_ms <= now_ms}
        for decision, events in decisions:
            forked = next((event for event in events[:2] if isinstance(event, WorkflowForked)), None)
            if forked is not None:
                self._go_on(decision, forked)
            for event in events:
                self._apply(decision, event)
            if decision.first_sequence:
                self._past.setdefault((decision.workflow_id, decision.run_id), []).append((decision, events))
        for key, due_ms in overdue.items():
            if self.due.get(key) != due_ms:
                self._missed.pop(key, None)
                continue
            self._missed[key] += not isolates
            if self._missed[key] > MISSED_MAX + len(overdue):
                late_ms, missed = now_ms - due_ms, self._missed[key]
                raise Violation("C (timers)", f"{key} is due for {late_ms} ms and {missed} transactions")

    def _apply(self, decision: DecisionRecorded, event: Any) -> None:
        workflow_id, run_id = decision.workflow_id, decision.run_id
        match event:
            case WorkflowStarted():
                self._begin(decision, event)
            case WorkflowForked():
                self._begin_again(decision, event)
            case ActivityAdopted():
                self._adopt(decision, event)
            case CommandKept():
                self.due["k", workflow_id, "", event.offset] = event.until_ms
            case CommandTaken() | CommandGivenUp():
                self.due.pop(("k", workflow_id, "", event.offset), None)
            case ScheduleAdvanced() if event.due_ms:
                self.due["p", workflow_id, "", 0] = event.due_ms
            case ScheduleAdvanced() | ScheduleDeleted():
                self.due.pop(("p", workflow_id, "", 0), None)
            case StartDelayEnded():
                self.due.pop(("s", workflow_id, run_id, 0), None)
            case ActivationSuspended():
                self.due["a", workflow_id, run_id, 0] = decision.now_ms + 1
            case ActivationResumed():
                self.due.pop(("a", workflow_id, run_id, 0), None)
            case TimerStarted():
                self.due["t", workflow_id, run_id, event.sequence] = event.due_ms
            case TimerFired() | TimerCancelled():
                self.due.pop(("t", workflow_id, run_id, event.sequence), None)
            case ActivityScheduled() if event.bounds is not None:
                self._silence_ms[workflow_id, run_id, event.sequence] = event.bounds.heartbeat_ms
            case ActivityStarted() | ActivityHeartbeat():
                silence_ms = self._silence_ms[workflow_id, run_id, event.sequence]
                self.due["w", workflow_id, run_id, event.sequence] = decision.now_ms + silence_ms
            case ActivityChanged() if not event.retry_ms:
                pass
            case ActivityAttemptFailed() | ActivityChanged() if (workflow_id, run_id) in self._held:
                self.due.pop(("w", workflow_id, run_id, event.sequence), None)
                self._held[workflow_id, run_id]["r", workflow_id, run_id, event.sequence] = event.retry_ms
            case ActivityAttemptFailed() | ActivityChanged():
                self.due.pop(("w", workflow_id, run_id, event.sequence), None)
                self.due["r", workflow_id, run_id, event.sequence] = event.retry_ms
            case WorkflowPaused():
                held = {key: due for key, due in self.due.items() if key[:3] == ("r", workflow_id, run_id)}
                self._held[workflow_id, run_id] = held
                self.due = {key: due for key, due in self.due.items() if key not in held}
            case WorkflowResumed():
                self.due.update(self._held.pop((workflow_id, run_id), {}))
            case ActivityStopRequested() if ("r", workflow_id, run_id, event.sequence) in self.due:
                self.due["r", workflow_id, run_id, event.sequence] = decision.now_ms + 1
            case ActivityRetried() | ActivityCancelled() | ActivityFailed() | ActivityCompleted() | ActivitySkipped():
                self._held.get((workflow_id, run_id), {}).pop(("r", workflow_id, run_id, event.sequence), None)
                self.due.pop(("r", workflow_id, run_id, event.sequence), None)
                self.due.pop(("w", workflow_id, run_id, event.sequence), None)
            case _ if type(event) in CLOSING:
                self.due = {key: due_ms for key, due_ms in self.due.items() if key[1:3] != (workflow_id, run_id)}

    def _go_on(self, decision: DecisionRecorded, forked: WorkflowForked) -> None:
        """Let a run have what is pending in another one's history at the cut."""
        for kept, events in self._past.get((decision.workflow_id, forked.base_run_id), ()):
            if kept.first_sequence + len(kept.events) - 1 <= forked.to_event:
                copied = msgspec.structs.replace(kept, run_id=decision.run_id)
                for event in events:
                    self._apply(copied, event)
                self._past.setdefault((decision.workflow_id, decision.run_id), []).append((copied, events))

    def _begin_again(self, decision: DecisionRecorded, forked: WorkflowForked) -> None:
        """Let nothing be held, and the run's time begin anew."""
        run = (decision.workflow_id, decision.run_id)
        self.due.update(self._held.pop(run, {}))
        past = self._past.get(run)
        if past:
            started: WorkflowStarted = past[0][1][0]
            self.due.pop(("d", *run, 0), None)
            begins_ms = max(started.begins_ms, decision.now_ms)
            self._bound(decision, forked.execution_until_ms, started.run_timeout_ms, begins_ms)

    def _adopt(self, decision: DecisionRecorded, event: ActivityAdopted) -> None:
        request = (decision.workflow_id, decision.run_id, event.sequence)
        for kind in ("r", "w"):
            self.due.pop((kind, *request), None)
        if event.retry_ms:
            self.due["r", *request] = event.retry_ms
        elif event.started_ms and request in self._silence_ms:
            self.due["w", *request] = decision.now_ms + self._silence_ms[request]

    def _begin(self, decision: DecisionRecorded, started: WorkflowStarted) -> None:
        if started.begins_ms:
            self.due["s", decision.workflow_id, decision.run_id, 0] = started.begins_ms
        begins_ms = started.begins_ms or decision.now_ms
        self._bound(decision, started.execution_until_ms, started.run_timeout_ms, begins_ms)

    def _bound(self, decision: DecisionRecorded, until_ms: int, run_timeout_ms: int, begins_ms: int) -> None:
        bounds = [until_ms] if until_ms else []
        if run_timeout_ms:
            bounds.append(begins_ms + run_timeout_ms)
        if bounds:
            self.due["d", decision.workflow_id, decision.run_id, 0] = min(bounds)
