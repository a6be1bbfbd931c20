"""Tests of the time that runs and chains may take."""

from __future__ import annotations

from penstock.engine.authoring.waiting import sleep
from penstock.engine.authoring.workflow import workflow
from penstock.schemas.errors import ChildWorkflowFailed
from penstock.schemas.records.run import AwaitResult, CancelWorkflow
from penstock.schemas.values.retry import RetryPolicy
from tests.engine.core import flows
from tests.engine.stage import Stage

TWICE = RetryPolicy(retries_max=1, delays_ms=(5_000,))


@workflow
async def bounded_sleep(seconds: float) -> str:
    await sleep(seconds)
    return "slept"


@workflow
async def bounded_parent(seconds: float) -> str:
    try:
        return await bounded_sleep(seconds).options(id="kid", run_timeout="2s", retries=1, backoff=["3s"])
    except ChildWorkflowFailed as error:
        return str(error)


def test_a_run_over_its_time_fails_and_its_pending_work_is_dropped() -> None:
    """A run that waits longer than its run timeout fails with kind `timeout`, and leaves no timer behind."""
    stage = Stage(bounded_sleep)
    stage.start(bounded_sleep, 60, run_timeout_ms=10_000)
    stage.advance(9)
    assert stage.described()["status"] == "running"
    stage.advance(1)
    run = stage.described()
    assert (run["status"], run["failure"]["kind"]) == ("failed", "timeout")
    assert run["failure"]["message"] == "it did not close within its run timeout of 10 s"
    assert run["pending_timers"] == []
    assert stage.events()[-1] == "WorkflowTimedOut"


def test_a_run_that_closes_in_time_leaves_no_due_entry() -> None:
    """The end of its time is dropped with a run that closes before it."""
    stage = Stage(bounded_sleep)
    stage.start(bounded_sleep, 1, run_timeout_ms=10_000)
    stage.advance(2)
    assert stage.described()["status"] == "completed"
    assert list(stage.stores[0].scan(b"T", b"U")) == []


def test_the_time_of_a_delayed_run_begins_with_its_code() -> None:
    """A start's delay does not count for the run timeout."""
    stage = Stage(bounded_sleep)
    stage.start(bounded_sleep, 5, run_timeout_ms=10_000, start_delay_ms=60_000)
    stage.advance(66)
    assert stage.described()["status"] == "completed"


def test_a_blocked_run_is_over_its_time_too() -> None:
    """A BLOCKED run fails at the end of its time, and is no longer marked as BLOCKED."""
    stage = Stage(flows.far_away)
    stage.start(flows.far_away, 1, run_timeout_ms=10_000)
    assert stage.described()["status"] == "blocked"
    stage.advance(10)
    assert stage.described()["status"] == "failed"
    assert list(stage.stores[0].scan(b"B", b"C")) == []


def test_a_run_over_its_time_is_tried_again() -> None:
    """A run that is over its own time counts as failed: its retry begins after the delay, with a time of its own."""
    stage = Stage(bounded_sleep)
    stage.start(bounded_sleep, 60, run_timeout_ms=10_000, retry=TWICE)
    stage.advance(14)
    assert stage.described()["status"] == "running"
    assert stage.events() == ["WorkflowStarted"]
    stage.advance(11)
    assert stage.described()["status"] == "failed"


def test_the_execution_timeout_bounds_the_chain() -> None:
    """A chain that is over its time fails for good, whatever retries are left."""
    stage = Stage(bounded_sleep)
    stage.start(bounded_sleep, 60, run_timeout_ms=10_000, execution_timeout_ms=18_000, retry=TWICE)
    stage.advance(18)
    run = stage.described()
    assert run["status"] == "failed"
    assert "its execution timeout" in run["failure"]["message"]


def test_no_retry_begins_after_the_execution_timeout() -> None:
    """A failed run whose next try would begin too late fails at once, with its own failure."""
    stage = Stage(flows.failing)
    stage.start(flows.failing, 1, execution_timeout_ms=4_000, retry=TWICE)
    assert stage.described()["failure"]["message"] == "rejected 1"


def test_bounds_reach_children() -> None:
    """A child's timeout and retries are those of its options, and the parent sees the last end alone."""
    stage = Stage(bounded_parent, bounded_sleep)
    stage.start(bounded_parent, 60)
    stage.advance(6)
    assert stage.described()["status"] == "running"
    stage.advance(2)
    assert "within its run timeout of 2 s" in stage.described()["result"]
    assert stage.events().count("ChildFailed") == 1


def test_a_run_over_its_time_replays() -> None:
    """A chain that timed out and is tried again goes on after a restart of the processor."""
    stage = Stage(bounded_sleep)
    stage.start(bounded_sleep, 12, run_timeout_ms=10_000, execution_timeout_ms=600_000, retry=TWICE)
    stage.advance(12)
    stage.restart()
    stage.signal("go")
    stage.advance(20)
    assert stage.described()["failure"]["kind"] == "timeout"


def test_a_run_that_was_asked_to_stop_is_not_tried_again() -> None:
    """A cancelled run ends as cancelled, with retries left."""
    stage = Stage(bounded_sleep)
    stage.start(bounded_sleep, 60, retry=TWICE)
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="stop"))
    assert stage.described()["status"] == "cancelled"


def test_an_awaiting_caller_is_answered_with_the_last_end() -> None:
    """A caller that awaits the result of the first run is answered once, when the last one has failed."""
    stage = Stage(bounded_sleep)
    first = stage.start(bounded_sleep, 60, run_timeout_ms=1_000, retry=TWICE)
    stage.tell(AwaitResult(workflow_id="run-1", run_id=first, message_id="asks", reply_to=0, timeout_ms=100_000))
    stage.advance(3)
    assert stage.take("replies") == []
    stage.advance(10)
    (closed,) = stage.take("replies")
    assert (closed.message_id, closed.status) == ("asks", "failed")
    assert len(stage.take("completions")) == 1
