"""Tests of runs as a whole: starting, joining, cancelling, blocking and closing."""

from __future__ import annotations

import asyncio

import pytest

from penstock.engine.authoring.waiting import sleep
from penstock.engine.authoring.workflow import workflow
from penstock.engine.core.keys import AWAITER
from penstock.engine.core.limits import AWAITERS_FEW
from penstock.schemas.records.run import AwaitResult, CancelWorkflow, TerminateWorkflow, UnblockWorkflow
from tests.engine.core import flows
from tests.engine.stage import Stage


@workflow
async def unfinished() -> str:
    left = [asyncio.create_task(flows.five(1)), asyncio.create_task(flows.add(1, 2)), asyncio.create_task(sleep(3600))]
    assert len(left) == 3
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return "left"


def test_a_run_that_leaves_work_behind_leaves_no_rows() -> None:
    """A run may end while its activities, timers and children are pending: all of them are removed."""
    stage = Stage(unfinished, flows.five)
    stage.start(unfinished)
    stage.advance(7200)
    described = stage.described()
    assert described["result"] == "left"
    assert not described["pending_activities"] and not described["pending_timers"] and not described["pending_children"]
    child = next(event["workflow_id"] for event in stage.history() if event["event"] == "ChildScheduled")
    assert stage.described(child)["status"] == "cancelled"
    assert not list(stage.stores[0].scan(b"T", b"U"))


def test_terminating_runs_no_code() -> None:
    """A terminated run ends at once; its late results are ignored."""
    stage = Stage(flows.travel)
    stage.start(flows.travel, ["hotel"])
    (task,) = stage.take("tasks")
    stage.tell(TerminateWorkflow(workflow_id="run-1", reason="over", message_id="m"))
    stage.complete(task, "hotel")
    described = stage.described()
    assert (described["status"], described["reason"], described["pending_activities"]) == ("terminated", "over", [])
    assert stage.take("tasks") == []


def test_cancel_runs_cleaning_code() -> None:
    """`finally` blocks run when a run is cancelled."""
    stage = Stage(flows.cleaner)
    stage.start(flows.cleaner)
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="m"))
    cleaned: list[str] = []
    stage.run(unbook_place=cleaned.append)
    assert cleaned == ["room"] and stage.described()["status"] == "cancelled"


def test_same_id_is_one_run() -> None:
    """A second start of an id joins the existing run, and its reply says so."""
    stage = Stage(flows.approved)
    first = stage.start(flows.approved, reply_to=0)
    stage.start(flows.approved, reply_to=0)
    one, two = stage.take("replies")
    assert (one.existing, two.existing, two.run_id) == (False, True, first)
    assert stage.events().count("WorkflowStarted") == 1


def test_restart_of_a_closed_id() -> None:
    """`restart_closed` begins another run under the id; a late copy of the first start does not."""
    stage = Stage(flows.failing)
    first = stage.start(flows.failing, 1)
    second = stage.start(flows.failing, 2, on_existing="restart_closed")
    stage.start(flows.failing, 1, on_existing="restart_closed", message_id=first)
    assert stage.described()["run_id"] == second
    assert [len(stage.history(run_id=run)) for run in (first, second)] == [2, 2]


def test_a_blocked_run_takes_in_everything_once() -> None:
    """Signals, cancellation, results and timers that come while a run is BLOCKED reach its code, in their order, once
    it is retried; retrying again is refused."""
    stage = Stage(flows.far_away)
    stage.start(flows.far_away, 1)
    stage.signal("go")
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="stop"))
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="stop too"))
    assert stage.described()["status"] == "blocked"
    stage.queues.add("elsewhere")
    for number in range(2):
        stage.tell(UnblockWorkflow(workflow_id="run-1", message_id=f"retry-{number}", reply_to=0))
    assert stage.events().count("CancelRequested") == 1
    assert stage.described()["status"] == "cancelled"
    assert [getattr(reply, "reason", "") for reply in stage.take("replies")] == ["", "already_closed"]


def test_terminating_a_blocked_run_leaves_no_mark() -> None:
    """A BLOCKED run that is terminated is closed and no longer listed as BLOCKED."""
    stage = Stage(flows.far_away)
    stage.start(flows.far_away, 1)
    stage.tell(TerminateWorkflow(workflow_id="run-1", message_id="end"))
    assert stage.described()["status"] == "terminated"
    assert not list(stage.stores[0].scan(b"B", b"C"))


def test_a_start_that_joined_a_run_never_starts_another() -> None:
    """Repeated with the same message id once the run has closed, it is answered with that run and restarts nothing."""
    stage = Stage(flows.approved)
    stage.start(flows.approved, message_id="first")
    stage.start(flows.approved, message_id="second", on_existing="restart_closed", reply_to=0)
    stage.terminate()
    stage.start(flows.approved, message_id="second", on_existing="restart_closed", reply_to=0)
    answers = [reply for reply in stage.take("replies") if reply.message_id == "second"]
    assert [(answer.run_id, answer.existing) for answer in answers] == [("first", True)] * 2
    assert stage.described()["status"] == "terminated"
    stage.start(flows.approved, message_id="third", on_existing="restart_closed")
    assert stage.described()["run_id"] == "third"


def test_a_refused_start_says_how_to_join() -> None:
    """The refusal of a start under a taken id says how to join its run, in words of clients and command line."""
    stage = Stage(flows.approved)
    stage.start(flows.approved)
    stage.start(flows.approved, on_existing="reject", reply_to=0)
    (refusal,) = stage.take("replies")
    assert refusal.message.endswith("choose another id, or start it without `reject` to join it.")


@workflow
async def sleeps_and_calls() -> int:
    left = asyncio.create_task(sleep(3600))
    await flows.go.wait()
    return await flows.far(1) if not left.done() else 0


@pytest.mark.parametrize("status", ["running", "blocked"])
def test_terminate_existing_replaces_an_open_run(status: str) -> None:
    """`terminate_existing` closes the open run and starts the next in one decision; no row of the first is left."""
    stage = Stage(sleeps_and_calls, flows.approved)
    first = stage.start(sleeps_and_calls)
    if status == "blocked":
        stage.signal("go")  # the queue of `far` has no topic
    assert stage.described()["status"] == status
    stage.tell(AwaitResult(workflow_id="run-1", message_id="awaits", reply_to=0))
    second = stage.start(flows.approved, on_existing="terminate_existing", reply_to=0)
    assert (stage.described()["run_id"], stage.described()["status"]) == (second, "running")
    ending = stage.history(run_id=first)[-1]
    assert (ending["event"], ending["reason"]) == ("WorkflowTerminated", f"replaced by run {second}")
    replies = [(reply.message_id, reply.run_id) for reply in stage.take("replies")]
    assert replies == [("awaits", first), (second, second)]
    assert [completion.run_id for completion in stage.take("completions")] == [first]
    assert not list(stage.stores[0].scan(b"B", b"C"))
    assert len(list(stage.stores[0].scan(b"T", b"U"))) == 1
    *_, ended, started = stage.take("events")
    assert [ended.run_id, started.run_id] == [first, second]
    assert ended.decision == started.decision


def _awaits(stage: Stage, message_id: str, timeout_ms: int = 0) -> None:
    stage.tell(AwaitResult(workflow_id="run-1", message_id=message_id, reply_to=0, timeout_ms=timeout_ms))


def test_a_client_that_polls_has_one_row_and_one_reply() -> None:
    """However often a result is awaited under one message id, the run keeps one row for it and answers it once."""
    stage = Stage(flows.travel)
    stage.start(flows.travel, [])
    for _ in range(200):
        _awaits(stage, "client", 1_000)
        stage.advance(0.5)
    assert len(list(stage.stores[0].scan(AWAITER, AWAITER + b"\xff"))) == 1
    stage.take("replies")
    stage.signal("go")
    assert [reply.message_id for reply in stage.take("replies")] == ["client"]


def test_callers_that_no_longer_wait_are_forgotten() -> None:
    """Of 500 callers that waited for a second each, a run keeps a few rows, and its end is sent to those alone that
    still wait."""
    stage = Stage(flows.travel)
    stage.start(flows.travel, [])
    _awaits(stage, "patient")
    for number in range(500):
        _awaits(stage, f"caller-{number}", 1_000)
        stage.advance(2)
        assert len(list(stage.stores[0].scan(AWAITER, AWAITER + b"\xff"))) <= 2 * AWAITERS_FEW
    stage.take("replies")
    stage.signal("go")
    assert [reply.message_id for reply in stage.take("replies")] == ["patient"]
    assert list(stage.stores[0].scan(AWAITER, AWAITER + b"\xff")) == []


def test_callers_that_wait_are_all_kept() -> None:
    """The search for callers that no longer wait removes none that does, and many cost one search each time their
    number has doubled."""
    stage = Stage(flows.travel)
    stage.start(flows.travel, [])
    for number in range(300):
        _awaits(stage, f"caller-{number}", 60_000)
    assert stage.nodes[0].runs.get("run-1").header.awaiters == 300
    stage.take("replies")
    stage.signal("go")
    assert len(stage.take("replies")) == 300


def test_a_caller_waits_a_day_at_most() -> None:
    """A time limit that no clock holds is that of a day, and none is an hour."""
    stage = Stage(flows.travel)
    stage.start(flows.travel, [])
    for message_id, timeout_ms in (("long", 1 << 62), ("none", 0), ("negative", -5)):
        _awaits(stage, message_id, timeout_ms)
    stage.advance(3_601)
    stage.take("replies")
    stage.signal("go")
    assert [reply.message_id for reply in stage.take("replies")] == ["long"]
