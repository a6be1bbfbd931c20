"""Tests of what the test kit reads off a history."""

from __future__ import annotations

import pytest

from penstock.engine.core.statuses import BLOCKED
from penstock.schemas.encoding.codec import encode
from penstock.schemas.records.decisions import DecisionRecorded, Trigger
from penstock.schemas.records.kinds import Event
from penstock.schemas.records.pause import WorkflowPaused, WorkflowResumed
from penstock.schemas.records.reset import WorkflowForked
from penstock.schemas.records.run import WorkflowBlocked, WorkflowUnblocked
from penstock.testing.histories import History

BLOCKS = WorkflowBlocked(reason="code_error", message="a bug")
FORKS = WorkflowForked(run_id="r", base_run_id="b", to_event=1, seed="s", first_run_id="b")


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ((BLOCKS,), BLOCKED),
        ((BLOCKS, WorkflowUnblocked()), ""),
        ((BLOCKS, WorkflowPaused()), BLOCKED),
        ((BLOCKS, WorkflowPaused(), WorkflowResumed()), ""),
        ((BLOCKS, WorkflowPaused(), WorkflowResumed(), BLOCKS), BLOCKED),
        ((BLOCKS, FORKS), ""),
        ((WorkflowPaused(),), ""),
    ],
)
def test_a_run_that_goes_on_is_not_blocked(events: tuple[Event, ...], status: str) -> None:
    """A history is that of a BLOCKED run until the run goes on: unblocked, resumed after a pause, or reset."""
    record = DecisionRecorded(
        workflow_id="w",
        run_id="r",
        shard=0,
        decision=1,
        now_ms=1,
        trigger=Trigger(),
        first_sequence=1,
        events=tuple(map(encode, events)),
    )
    assert History("w", "r", [record]).status == status
