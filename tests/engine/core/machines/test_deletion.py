"""Tests of deletion: what is gone at once, what is refused, and what begins anew."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.engine.authoring.workflow import workflow
from penstock.schemas.encoding.codec import decode
from penstock.schemas.records.replies import Accepted, Rejected, RunClosed
from penstock.schemas.records.retention import DeleteWorkflow, WorkflowDeleted
from penstock.schemas.records.run import AwaitResult
from penstock.schemas.values.attributes import encode_memo
from tests.engine.core import counters, flows
from tests.engine.core.test_expiry import close, pass_time
from tests.engine.stage import Stage


@workflow
async def leaves_a_child() -> None:
    await flows.approved().options(id="kid", parent_close="abandon")


def delete(stage: Stage, message_id: str = "delete-1", id: str = "run-1", **fields: Any) -> Any:
    """The reply to a deletion."""
    return stage.replied(DeleteWorkflow(workflow_id=id, message_id=message_id, **fields))


def rows_of(stage: Stage, id: str = "run-1") -> set[bytes]:
    """Kinds of the rows of an id, without those that remember its deletion."""
    found = {key: value for key, value in stage.stores[0].scan(b"", b"\xff") if id.encode() in key}
    return {key[:1] for key, value in found.items() if b"day-" not in key + value}


def test_a_deleted_run_is_gone_at_once() -> None:
    """No row is left of a closed run with memo, signals and an earlier run; other runs and the log keep theirs."""
    stage = Stage(flows.travel)
    close(stage, memo=encode_memo({"by": "ann"}))
    close(stage, on_existing="restart_closed", memo=encode_memo({"by": "bob"}))
    close(stage, "run-2")
    assert rows_of(stage) >= {b"R", b"H", b"M", b"Z", b"N"}
    stage.take("events")
    stage.take("completions")
    reply = delete(stage, by="ann", reason="asked to")
    assert (type(reply), reply.status) == (Accepted, "deleted")
    assert (rows_of(stage), stage.described("run-2")["status"]) == (set(), "completed")
    (recorded,) = stage.take("events")
    assert (recorded.first_sequence, [decode(event) for event in recorded.events]) == (
        0,
        [WorkflowDeleted(by="ann", reason="asked to")],
    )
    assert stage.take("completions") == []


def test_updates_and_all_of_a_chain_go_with_their_run() -> None:
    """A run that continued as new, with an update in each run of the chain, leaves no row."""
    stage = Stage(counters.Counter)
    stage.start(counters.Counter, 1, True)
    stage.update("set_to", 2, message_id="u-1")
    stage.signal("close")
    stage.advance(1)
    stage.update("set_to", 3, message_id="u-2")
    stage.terminate()
    assert (stage.described()["chain_length"], rows_of(stage) >= {b"U", b"J"}) == (1, True)
    delete(stage)
    assert rows_of(stage) <= {b"Z"}, "the index entry of a run without a history goes when its time is over"
    pass_time(stage, 10)
    assert [key for key, _ in stage.stores[0].scan(b"", b"\xff") if b"run-1" in key] == []


def test_an_open_run_is_refused() -> None:
    """The refusal says what to do, and changes nothing."""
    stage = Stage(flows.travel)
    stage.start(flows.travel, [])
    refused = delete(stage)
    assert (type(refused), refused.reason) == (Rejected, "still_open")
    assert "terminate it first, or delete it with --force" in refused.message
    stage.signal("go")
    assert stage.described()["status"] == "completed"


def test_force_terminates_first() -> None:
    """A run that is open, or BLOCKED, ends: who awaits it is answered, its end is reported, and no row is left."""
    stage = Stage(flows.travel)
    stage.start(flows.travel, ["hotel"])
    stage.tell(AwaitResult(workflow_id="run-1", message_id="waits", reply_to=0))
    stage.restart()
    stage.take("replies")
    stage.tell(DeleteWorkflow(workflow_id="run-1", message_id="d", reply_to=1, force=True, reason="no more"))
    closed, accepted = sorted(stage.take("replies"), key=lambda reply: type(reply).__name__)[::-1]
    assert (type(closed), closed.status, closed.failure.message) == (RunClosed, "terminated", "no more")
    assert (type(accepted), accepted.status) == (Accepted, "deleted")
    assert stage.take("completions")[-1].status == "terminated"
    assert rows_of(stage) == set()
    for task in stage.take("tasks"):
        stage.complete(task, "late")
    assert rows_of(stage) == set(), "a result that comes late changes nothing"


def test_the_same_command_deletes_once() -> None:
    """A deletion that is sent again is accepted, and keeps the run that closed since; another one deletes it."""
    stage = Stage(flows.travel)
    close(stage)
    delete(stage)
    second = close(stage)
    assert (type(delete(stage)), stage.described()["run_id"]) == (Accepted, second)
    delete(stage, "delete-2")
    assert rows_of(stage) == set()
    assert (type(delete(stage)), type(delete(stage, "delete-2"))) == (Accepted, Accepted)
    pass_time(stage, 10)
    assert [key for key, _ in stage.stores[0].scan(b"", b"\xff") if b"run-1" in key] == []


def test_an_id_begins_anew() -> None:
    """A start under the id of a deleted run begins a run without a past, also by the message that started the old one:
    it is kept for its own time, and its messages count."""
    stage = Stage(flows.travel)
    pass_time(stage, 1)
    first = close(stage)
    delete(stage)
    pass_time(stage, 5)
    assert stage.start(flows.travel, [], message_id=first) == first
    assert stage.described()["status"] == "running"
    pass_time(stage, 5)
    stage.signal("go")
    pass_time(stage, 6)
    assert (stage.described()["status"], stage.events()[0]) == ("completed", "WorkflowStarted")


def test_what_is_not_there_is_not_deleted() -> None:
    """An unknown id, another run id and a schedule's id are refused, and a deleted run has no result."""
    stage = Stage(flows.travel)
    assert delete(stage).reason == "not_found"
    run_id = close(stage)
    assert delete(stage, run_id="other").reason == "not_found"
    refused = delete(stage, id="schedule:nightly")
    assert (refused.reason, "`penstock schedule delete` deletes it" in refused.message) == ("bad_input", True)
    delete(stage, run_id=run_id)
    assert stage.replied(AwaitResult(workflow_id="run-1", message_id="w")).reason == "not_found"


def test_a_message_id_that_is_taken_is_refused() -> None:
    """A deletion under the id of a signal that the run took is no repetition of that signal."""
    stage = Stage(flows.travel)
    stage.start(flows.travel, [])
    stage.signal("go")
    taken = next(event["message_id"] for event in stage.history() if event["event"] == "SignalReceived")
    assert "is that of another message" in delete(stage, taken).message
    assert stage.described()["status"] == "completed"


def test_the_parent_of_an_open_child_may_go() -> None:
    """A child whose parent closed and was deleted goes on, and its end is nothing to anyone but itself."""
    stage = Stage(leaves_a_child, flows.approved)
    stage.start(leaves_a_child)
    stage.terminate()
    delete(stage)
    stage.signal("price", 1, id="kid")
    assert (stage.described("kid")["status"], rows_of(stage)) == ("completed", set())
    assert stage.take("dead-letters") == []


@pytest.mark.parametrize("restarts", [False, True])
def test_a_deletion_needs_no_code(restarts: bool) -> None:
    """A run whose type is no longer hosted is deleted, from the rows of a restarted shard too."""
    stage = Stage(flows.travel)
    close(stage)
    if restarts:
        stage.restart(flows.approved)
    delete(stage)
    stage.restart()
    assert rows_of(stage) == set()
