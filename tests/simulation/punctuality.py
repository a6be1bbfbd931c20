"""Due times in one shard: which timers and retries are pending, and whether they fire when they are due."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from penstock.schemas.records.activity import (
    ActivityAttemptFailed,
    ActivityCancelled,
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

    def follow(
        self, decisions: Sequence[tuple[DecisionRecorded, Sequence[Any]]], now_ms: int, *, isolates: bool
    ) -> None:
        """Apply the decisions of a transaction at `now_ms`. Raises Violation if timers that are due never fire.

        `isolates`: it holds one input, perhaps so that a record which the log refuses is found: no timer fires then."""
        overdue = {key: due_ms for key, due_ms in self.due.items() if due_ms <= now_ms}
        for decision, events in decisions:
            for event in events:
                self._apply(decision, event)
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
            case ActivityAttemptFailed() if (workflow_id, run_id) in self._held:
                self.due.pop(("w", workflow_id, run_id, event.sequence), None)
                self._held[workflow_id, run_id]["r", workflow_id, run_id, event.sequence] = event.retry_ms
            case ActivityAttemptFailed():
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

    def _begin(self, decision: DecisionRecorded, started: WorkflowStarted) -> None:
        if started.begins_ms:
            self.due["s", decision.workflow_id, decision.run_id, 0] = started.begins_ms
        bounds = [started.execution_until_ms] if started.execution_until_ms else []
        if started.run_timeout_ms:
            bounds.append((started.begins_ms or decision.now_ms) + started.run_timeout_ms)
        if bounds:
            self.due["d", decision.workflow_id, decision.run_id, 0] = min(bounds)
