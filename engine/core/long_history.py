"""Bound of a run's history: a run that would exceed it fails, and one that is halted takes no more."""

from __future__ import annotations

from typing import Any

from penstock.engine.core.answers import rejected
from penstock.engine.core.catalogue import REQUESTS
from penstock.engine.core.decision import Decision, Rejection
from penstock.engine.core.rows import RunRow
from penstock.engine.core.statuses import HALTED
from penstock.engine.core.view import RunView
from penstock.schemas.failure import Failure
from penstock.schemas.records.chain import WorkflowContinued
from penstock.schemas.records.run import (
    HistoryExceeded,
    WorkflowCancelled,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from penstock.schemas.records.signal import SignalWorkflow
from penstock.schemas.records.update import UpdateWorkflow

_CLOSING = frozenset(
    {WorkflowCompleted, WorkflowContinued, WorkflowFailed, WorkflowTimedOut, WorkflowCancelled, WorkflowTerminated}
)


def bounded_history(run: RunView, row: RunRow, input: Any, decision: Decision) -> Decision:
    """The decision, if it ends the run or the history has room for it; else one that fails the run.

    A BLOCKED or paused run cannot read what is sent to it, so that signals and updates are refused instead."""
    limit = run.hosted.history_max
    events = decision.events
    if decision.unnumbered or decision.run_id != row.run_id or not events or type(events[-1]) in _CLOSING:
        return decision
    if row.next_number - 1 + len(events) <= limit:
        return decision
    if row.status in HALTED and isinstance(input, SignalWorkflow | UpdateWorkflow):
        message = (
            f"{run.workflow_id} is {row.status}, and its history has {row.next_number - 1:,} events of at most "
            f"{limit:,}: let it go on, then send this again."
        )
        return rejected(Rejection("too_many", message, row.run_id))
    run.forget()
    failure = Failure(
        type="HistoryTooLong",
        message=(
            f"the history of {run.workflow_id} would exceed {limit:,} events; let the workflow continue as new before, "
            "or hand parts of it to children"
        ),
        non_retryable=True,
    )
    inputs = [event for event in events if type(event) not in REQUESTS]
    return Decision(run_id=row.run_id, events=[*inputs, HistoryExceeded(failure=failure)], reply=decision.reply)
