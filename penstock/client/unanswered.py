"""Warnings about missing replies: what is waited for, for how long, and what to start.

A processor replies to a start, a signal and every other command at once, so a few seconds without a reply mean that no
processor runs. A result may take long: `Run.result` checks whether a processor serves the run. One warning is emitted
until the next reply arrives.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import structlog

from penstock.schemas.records.kinds import Command

logger = structlog.get_logger(__name__)

_COMMAND_WORDS = {
    "StartWorkflow": "the start of",
    "SignalWorkflow": "the signal to",
    "CancelWorkflow": "the cancellation of",
    "TerminateWorkflow": "the termination of",
    "UnblockWorkflow": "the unblocking of",
    "PauseWorkflow": "the pause of",
    "ResumeWorkflow": "the resuming of",
    "CompleteActivity": "the result of an activity of",
    "FailActivity": "the failure of an activity of",
    "HeartbeatActivity": "a heartbeat of an activity of",
    "SkipActivity": "the skip in",
    "ChangeActivity": "the change of an activity of",
    "ResetWorkflow": "the reset of",
    "RetryWorkflow": "the retry of",
    "QueryWorkflow": "the query of",
    "UpdateWorkflow": "the update of",
    "DescribeWorkflow": "the description of",
    "ReadHistory": "the history of",
    "ListWorkflows": "the list of runs",
    "DeleteWorkflow": "the deletion of",
    "ImportWorkflow": "the import of",
    "CreateSchedule": "the creation of",
    "UpdateSchedule": "the change of",
    "PauseSchedule": "the pause of",
    "ResumeSchedule": "the resumption of",
    "TriggerSchedule": "the trigger of",
    "BackfillSchedule": "the backfill of",
    "DeleteSchedule": "the deletion of",
    "DescribeSchedule": "the description of",
    "ListSchedules": "the list of schedules",
    "SetVersionShare": "the share of a version",
    "ListVersionShares": "the shares of versions",
}


class Unanswered:
    """Warnings of one client. `warn` takes the sentence; by default it is logged as a warning."""

    after_s = 3.0
    check_every_s = 30.0

    def __init__(self, host: str, namespace: str) -> None:
        self.warn: Callable[[str], None] = logger.warning
        self.remedy = f"if no processor runs for namespace {namespace}, start {host}."
        self._warned = False
        self._checked_s = -math.inf

    def reset(self) -> None:
        """Allow the next warning: a processor has replied."""
        self._warned = False

    def check_due(self) -> bool:
        """Return whether to check now if runs are served; one check counts for all results that are awaited."""
        now_s = time.monotonic()
        due = now_s - self._checked_s >= self.check_every_s
        if due:
            self._checked_s = now_s
        return due

    def command(self, command: Command, others: int, timeout_s: float | None) -> None:
        """Warn that a command, and as many `others`, got no reply for `after_s`."""
        what = f"{_COMMAND_WORDS.get(type(command).__name__, 'a command to')} {command.workflow_id}".rstrip()
        what += f" and {others} more" if others else ""
        left_s = None if timeout_s is None else timeout_s - self.after_s
        self._warn_once(f"no processor has answered {what} for {self.after_s:g} s", left_s)

    def result(self, workflow_id: str, left_s: float | None) -> None:
        """Warn that no processor serves the run whose result is awaited."""
        self._warn_once(f"no processor that serves {workflow_id} can be reached", left_s)

    def _warn_once(self, what: str, left_s: float | None) -> None:
        if not self._warned:
            self._warned = True
            limit = "without a time limit" if left_s is None else f"up to {math.ceil(left_s)} s more"
            self.warn(f"{what}; waiting {limit}: {self.remedy}")
