"""Tests of pauses: what a paused run records, and what reaches its code when it is resumed."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.engine.authoring.workflow import workflow
from penstock.engine.core.machines import pause
from penstock.schemas.encoding.codec import encode
from penstock.schemas.failure import Failure
from penstock.schemas.records.pause import PauseWorkflow, ResumeWorkflow
from penstock.schemas.records.run import CancelWorkflow, TerminateWorkflow, UnblockWorkflow
from penstock.workers.activity.decorator import activity
from tests.engine.core import counters, flows
from tests.engine.stage import Stage

SOFT = Failure(type="app.Refused", message="no")


@activity(name="pause-beat", heartbeat="5s", retries=3, backoff=["1s"])
def pause_beat() -> int:
    return 1


@workflow(name="pause-beats")
async def pause_beats() -> int:
    return await pause_beat()


def paused(*codes: Any, start: tuple[Any, ...] = (), **fields: Any) -> Stage:
    """A stage on which a run of the first workflow was started and paused."""
    stage = Stage(*codes, **fields)
    stage.start(codes[0], *start)
    hold(stage)
    return stage


def hold(stage: Stage, **fields: Any) -> Any:
    return stage.replied(PauseWorkflow(workflow_id="run-1", message_id=stage.message_id(), **fields))


def resume(stage: Stage, **fields: Any) -> Any:
    return stage.replied(ResumeWorkflow(workflow_id="run-1", message_id=stage.message_id(), **fields))


def test_inputs_reach_the_code_in_order_when_it_is_resumed() -> None:
    """A timer that is due before a signal comes is received before it, although both reach the code together."""
    stage = paused(flows.approved)
    stage.advance(3600)
    stage.signal("price", 7)
    assert stage.events()[-3:] == ["WorkflowPaused", "TimerFired", "SignalReceived"]
    assert stage.described()["status"] == "paused"
    resume(stage)
    assert stage.described()["result"] == "no answer"


def test_a_result_is_recorded_while_the_run_is_paused() -> None:
    """An attempt that runs goes on: its result is recorded, and the next activity is requested on resume alone."""
    stage = Stage(flows.five)
    stage.start(flows.five, 1)
    (task,) = stage.take("tasks")
    hold(stage)
    stage.complete(task, 1)
    assert stage.events()[-1] == "ActivityCompleted"
    assert stage.take("tasks") == []
    resume(stage)
    assert len(stage.take("tasks")) == 1
    stage.run(add=lambda a, b: a + b)


def test_no_attempt_begins_while_the_run_is_paused() -> None:
    """An attempt whose time comes during the pause begins when the run is resumed, at once."""
    for fails_first in (True, False):
        stage = Stage(flows.retried)
        stage.start(flows.retried, 1)
        (task,) = stage.take("tasks")
        if fails_first:
            stage.fail(task, SOFT)
            hold(stage)
        else:
            hold(stage)
            stage.fail(task, SOFT)
        stage.advance(600)
        assert stage.take("tasks") == []
        resume(stage)
        stage.tick()
        (task,) = stage.take("tasks")
        assert task.attempt == 2


def test_an_attempt_that_reports_is_timed_in_a_pause() -> None:
    """A pause ends no attempt: its heartbeats count; one that is silent has failed, and the next waits for resume."""
    stage = Stage(pause_beats)
    stage.start(pause_beats)
    (task,) = stage.take("tasks")
    stage.report(task, task.started("w"))
    hold(stage)
    for _ in range(3):
        stage.advance(4)
        stage.report(task, task.heartbeat(b"7"))
    assert stage.take("cancellations") == []
    assert stage.described()["pending_activities"][0]["heartbeat"] == 7
    stage.advance(60)
    assert stage.events()[-1] == "ActivityAttemptFailed"
    assert stage.take("tasks") == []
    resume(stage)
    stage.advance(1)
    (task,) = stage.take("tasks")
    assert (task.attempt, task.details) == (2, b"7")


def test_an_attempt_keeps_its_time_across_a_pause() -> None:
    """A pause that ends before the next attempt's time does not let it begin earlier."""
    stage = Stage(flows.retried)
    stage.start(flows.retried, 1)
    (task,) = stage.take("tasks")
    hold(stage)
    stage.fail(task, SOFT)
    resume(stage)
    stage.advance(0.5)
    assert stage.take("tasks") == []
    stage.advance(2)
    assert len(stage.take("tasks")) == 1


def test_the_history_says_who_paused_and_why() -> None:
    """Both events keep who asked for them and why, and the description shows it during the pause."""
    stage = Stage(flows.approved)
    stage.start(flows.approved)
    hold(stage, by="ann", reason="wrong prices")
    run = stage.described()
    assert (run["paused_by"], run["pause_reason"], run["paused_ms"]) == ("ann", "wrong prices", stage.now_ms)
    resume(stage, by="bob", reason="mended")
    first, second = [event for event in stage.history() if "by" in event]
    assert (first["by"], first["reason"], second["by"], second["reason"]) == ("ann", "wrong prices", "bob", "mended")
    assert stage.described()["paused_ms"] is None


def test_a_second_pause_changes_nothing() -> None:
    """A run that is paused already stays so by one event; a run that is not paused cannot be resumed."""
    stage = paused(flows.approved)
    reply = hold(stage, reason="again")
    assert type(reply).__name__ == "Accepted"
    assert stage.events().count("WorkflowPaused") == 1
    resume(stage)
    refused = resume(stage)
    assert refused.message == "run-1 is running; only a paused run can be resumed."


def test_a_repeated_pause_does_not_hold_a_resumed_run() -> None:
    """A message that paused a run before has no effect after the run was resumed."""
    stage = Stage(flows.approved)
    stage.start(flows.approved)
    command = PauseWorkflow(workflow_id="run-1", message_id="p", reply_to=0)
    stage.tell(command)
    resume(stage)
    stage.tell(command)
    assert stage.described()["status"] == "running"


def test_a_query_of_a_paused_run_is_answered_by_its_state_before() -> None:
    """Its code answers queries, and has not seen what was recorded since."""
    stage = Stage(counters.Counter)
    stage.start(counters.Counter, 1)
    before = stage.query("get").result
    hold(stage)
    stage.update("pay", 1, message_id="u", timeout_ms=600_000)
    assert stage.query("get").result == before
    assert stage.query("get").result == before


def test_an_update_of_a_paused_run_is_held() -> None:
    """An update waits until the run is resumed, and is then taken and answered."""
    stage = Stage(counters.Counter)
    stage.start(counters.Counter, 1)
    hold(stage)
    assert stage.update("pay", 1, message_id="u", wait_for="accepted") is None
    assert [update["state"] for update in stage.described()["open_updates"]] == ["held"]
    stage.tell(ResumeWorkflow(workflow_id="run-1", message_id="r", reply_to=0))
    assert "UpdateTaken" in stage.events()
    assert "u" in {reply.message_id for reply in stage.take("replies")}


def test_a_blocked_run_may_be_paused() -> None:
    """A BLOCKED run that is paused is no longer tried, cannot be unblocked, and is tried when it is resumed."""
    stage = Stage(flows.far_away)
    stage.start(flows.far_away, 1)
    assert stage.described()["status"] == "blocked"
    hold(stage)
    stage.queues.add("elsewhere")
    stage.restart()
    assert stage.described()["status"] == "paused"
    refused = stage.replied(UnblockWorkflow(workflow_id="run-1", message_id="u"))
    assert refused.message.startswith("run-1 is paused; `penstock resume` lets it go on")
    resume(stage)
    assert len(stage.take("tasks")) == 1


def test_a_run_that_still_cannot_go_on_is_blocked_when_it_is_resumed() -> None:
    """A paused run that was BLOCKED is BLOCKED again on resume if its cause is still there."""
    stage = paused(flows.far_away, start=(1,))
    resume(stage)
    assert stage.described()["status"] == "blocked"
    assert list(stage.stores[0].scan(b"B", b"C"))


def test_a_paused_run_ends_from_outside() -> None:
    """A paused run can be terminated, is over its time when that has come, and keeps no row of its pause."""
    stage = paused(flows.approved)
    stage.tell(TerminateWorkflow(workflow_id="run-1", message_id="t"))
    assert (stage.described()["status"], stage.described()["paused_ms"]) == ("terminated", None)
    stage = Stage(flows.approved)
    stage.start(flows.approved, run_timeout_ms=1_000)
    hold(stage)
    stage.advance(2)
    assert stage.described()["status"] == "failed"


def test_a_cancellation_waits_for_the_end_of_the_pause() -> None:
    """A request to stop is recorded, and reaches the code when the run is resumed."""
    stage = paused(flows.approved)
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="c"))
    assert stage.described()["cancel_requested"]
    resume(stage)
    assert stage.described()["status"] == "cancelled"


@pytest.mark.parametrize("restarts", [True, False])
def test_a_pause_survives_a_restart(restarts: bool) -> None:
    """A run that was paused and resumed replays, and a paused one stays so in another process."""
    stage = paused(flows.five, start=(1,), strict_inputs=True)
    if restarts:
        stage.restart()
        assert stage.described()["status"] == "paused"
    resume(stage)
    stage.restart()
    stage.run(add=lambda a, b: a + b)
    assert stage.described()["result"] == 11


def test_pauses_and_steps_leave_a_pause_that_can_be_lifted() -> None:
    """Whatever came before it in the same layer, a pause holds, and the run ends as it would have without it."""
    for before in range(5):
        stage = Stage(flows.five)
        stage.start(flows.five, 1)
        for _ in range(before):
            (task,) = stage.take("tasks")
            stage.complete(task, task.attempt)
        (task,) = stage.take("tasks")
        stage.put("results", task.shard, encoded_result(task))
        stage.tell(PauseWorkflow(workflow_id="run-1", message_id="p"))
        run = stage.described()
        if before == 4:
            assert run["status"] == "completed"
            continue
        assert run["status"] == "paused"
        resume(stage)
        stage.run(add=lambda a, b: 1)
        assert stage.described()["status"] == "completed"


def encoded_result(task: Any) -> bytes:
    return encode(task.completed(b"1"))


def test_the_table_names_a_pause_of_each_open_run() -> None:
    """A running and a BLOCKED run can be paused; a paused one is resumed alone."""
    assert {state for state, event in pause.TRANSITIONS if event.__name__ == "WorkflowPaused"} == {"running", "blocked"}
