"""Tests of resets of parents and of children."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.engine.audit import apply
from penstock.engine.authoring.children import start_child
from penstock.engine.authoring.workflow import workflow
from penstock.engine.core.keys import SHARD_KEY, run_key
from penstock.engine.core.rows import unpack_run
from penstock.engine.core.working import WorkingRun
from penstock.schemas.encoding.codec import decode, encode
from penstock.schemas.records.child import AdoptChild
from penstock.schemas.records.reset import ResetWorkflow
from penstock.schemas.records.run import CancelWorkflow, TerminateWorkflow
from tests.engine.core import flows
from tests.engine.core.machines.test_chain import _Rows
from tests.engine.stage import Stage


@workflow
async def leaves_its_child() -> str:
    kid = await start_child(flows.five(1).options(id="kid", parent_close="abandon"))
    await flows.go.wait()
    return f"child said {await kid.result()}"


def reset(stage: Stage, to_event: int, *, id: str = "run-1", **fields: Any) -> Any:
    command = ResetWorkflow(workflow_id=id, to_event=to_event, message_id=stage.message_id(), **fields)
    return stage.replied(command)


def add(a: int, b: int) -> int:
    return a + b


@pytest.mark.parametrize("shards", [1, 3])
def test_a_child_that_completed_after_its_parent_closed_is_seen(shards: int) -> None:
    """A parent that was terminated and is reset receives the result of a child that ended in between."""
    stage = Stage(leaves_its_child, flows.five, shards=shards)
    stage.start(leaves_its_child)
    cut = stage.described()["events"]
    stage.terminate()
    stage.run(add=add)
    assert stage.described("kid")["status"] == "completed"
    reset(stage, cut)
    stage.signal("go")
    assert stage.described()["result"] == "child said 11"


@pytest.mark.parametrize("shards", [1, 3])
def test_an_open_child_reports_to_the_run_that_goes_on(shards: int) -> None:
    """A child that runs when its parent is reset goes on: its result reaches the new run, and it starts once."""
    stage = Stage(flows.parent, flows.five, shards=shards)
    stage.start(flows.parent, "kid")
    kid = stage.described("kid")["run_id"]
    reset(stage, 2)
    assert stage.described("kid")["run_id"] == kid
    stage.run(add=add)
    assert stage.described()["result"] == "child said 11"


def test_a_start_that_is_awaited_is_confirmed_again() -> None:
    """A parent that was reset before it learned of its child's start goes on when the child is asked again."""
    stage = Stage(leaves_its_child, flows.five)
    stage.start(leaves_its_child)
    first = next(event["number"] for event in stage.history() if event["event"] == "ChildScheduled")
    stage.terminate()
    reset(stage, first)
    assert "ChildStarted" in stage.events()
    stage.run(add=add)
    stage.signal("go")
    assert stage.described()["result"] == "child said 11"


def test_children_behind_the_cut_are_stopped() -> None:
    """A child that was requested after the cut is terminated, so that it can be requested again under its id."""
    stage = Stage(flows.parent, flows.five)
    stage.start(flows.parent, "kid")
    first = stage.described("kid")["run_id"]
    reset(stage, 0)
    second = stage.described("kid")["run_id"]
    assert first != second
    assert stage.history("kid", first)[-1]["event"] == "WorkflowTerminated"
    stage.run(add=add)
    assert stage.described()["result"] == "child said 11"


def test_a_reset_child_reports_no_end_to_its_parent() -> None:
    """The parent of a child that is reset learns of nothing until the child has ended."""
    stage = Stage(flows.parent, flows.five)
    stage.start(flows.parent, "kid")
    before = stage.events()
    reset(stage, 2, id="kid")
    assert stage.events() == before
    assert stage.described()["status"] == "running"
    stage.run(add=add)
    assert stage.described()["result"] == "child said 11"


def test_a_reset_child_of_a_reset_parent_reports_to_it() -> None:
    """Whichever of both is reset first, the child's result reaches the parent's current run."""
    for order in (("run-1", "kid"), ("kid", "run-1"), ("run-1", "kid", "run-1")):
        stage = Stage(flows.parent, flows.five)
        stage.start(flows.parent, "kid")
        for id in order:
            reset(stage, 2, id=id)
        stage.run(add=add)
        assert stage.described()["result"] == "child said 11"


def test_a_reset_cancels_no_child_that_it_keeps() -> None:
    """Of the commands that leave with a reset, none stops a child of before the cut."""
    stage = Stage(flows.parent, flows.five)
    stage.start(flows.parent, "kid")
    stage.take("commands")
    reset(stage, 2)
    assert [type(command) for command in stage.take("commands")] == [AdoptChild]
    assert not any(isinstance(command, CancelWorkflow | TerminateWorkflow) for command in stage.take("commands"))


def test_a_child_that_is_not_kept_any_more_is_reported_as_such() -> None:
    """A parent whose child is no longer known receives a failure that says so, and does not wait for ever."""
    stage = Stage(leaves_its_child, flows.five)
    stage.start(leaves_its_child)
    cut = stage.described()["events"]
    stage.terminate()
    stage.run(add=add)
    stage.stores[0].write({run_key("kid"): None})
    stage.restart()
    reset(stage, cut)
    stage.signal("go")
    failed = next(event for event in stage.history() if event["event"] == "ChildFailed")
    assert (failed["status"], failed["failure"]["type"]) == ("rejected", "not_found")


def test_the_rows_of_a_reset_run_follow_from_the_events() -> None:
    """The topic `events` alone gives the rows of runs that were reset, open or closed, and of their children."""
    stage = Stage(flows.parent, flows.five, flows.retried)
    stage.start(flows.parent, "kid")
    reset(stage, 2)
    reset(stage, 2, id="kid")
    stage.run(add=add)
    reset(stage, 2)
    stage.start(flows.retried, 1, id="other", run_timeout_ms=600_000, memo=b'{"a":1}')
    stage.signal("go", id="other")
    reset(stage, 2, id="other")
    stage.run(shaky=lambda n: n)
    reset(stage, 2, id="other")
    rows = _Rows()
    for record in stage.sent["events"]:
        header = rows.get(run_key(record.workflow_id))
        run = WorkingRun(record.workflow_id, unpack_run(header) if header else None, rows, decode)
        apply(run, encode(record))
        rows.write(run.writes)
    kept = {key: value for key, value in stage.stores[0].scan(b"\x01", b"\xff") if key != SHARD_KEY}
    assert rows.rows == kept
