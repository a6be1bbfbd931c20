"""Does a shard keep its word at the edges? Parked runs, inputs too large, engine errors, duplicates, retention."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from penstock.engine.authoring.external import get_run
from penstock.engine.authoring.workflow import workflow
from penstock.engine.core.keys import DAY_MS
from penstock.engine.execution.program import Program
from penstock.schemas.encoding.codec import encode
from penstock.schemas.errors import ActivityFailedError, ChildWorkflowFailed
from penstock.schemas.failure import Failure
from penstock.schemas.records.child import ResolveChild
from penstock.schemas.records.run import AwaitResult, CancelWorkflow, RetryWorkflow, StartWorkflow, TerminateWorkflow
from penstock.schemas.records.signal import SignalWorkflow
from penstock.topics.catalogue import RECORD_BYTES_MAX
from tests.engine.core import flows
from tests.engine.stage import Stage


@workflow
async def chooser(far: bool) -> int:
    return await flows.far(1) if far else 0


@workflow
async def shaky_far(n: int) -> int:
    return await flows.far(n)


@workflow
async def caller() -> str:
    try:
        return str(await flows.add(1, 2))
    except ActivityFailedError as error:
        return f"failed: {error.type}"


@workflow
async def mother() -> str:
    try:
        return str(await flows.five(1).options(id="child"))
    except ChildWorkflowFailed as error:
        return f"child: {error.type}"


def test_a_restart_that_is_parked_at_once_is_a_run_of_its_own() -> None:
    """A closed id started anew, and BLOCKED at its first step, has its own run id and history from the first event."""
    stage = Stage(chooser)
    first = stage.start(chooser, False)
    second = stage.start(chooser, True, on_existing="restart_closed")
    told = stage.described()
    assert (told["status"], told["run_id"]) == ("blocked", second)
    assert [event["event"] for event in stage.history(run_id=first)] == ["WorkflowStarted", "WorkflowCompleted"]
    assert stage.events() == ["WorkflowStarted", "WorkflowBlocked"]
    stage.queues.add("elsewhere")
    stage.tell(RetryWorkflow(workflow_id="run-1", message_id="again"))
    stage.run(far=lambda n: 7)
    assert stage.described()["result"] == 7


# Inputs that fit into the log, but not into a history.


@pytest.mark.parametrize("size", [RECORD_BYTES_MAX - 20_000, RECORD_BYTES_MAX - 1, RECORD_BYTES_MAX, 1_040_000])
def test_a_signal_too_large_for_a_history_harms_nobody(size: int) -> None:
    """A signal whose event would not fit is refused and kept in dead-letters; its run goes on unharmed."""
    stage = Stage(flows.travel)
    stage.start(flows.travel, [])
    stage.tell(SignalWorkflow(workflow_id="run-1", signal="other", input=b'"%b"' % (b"x" * size), message_id="big"))
    assert stage.described()["status"] == "running"
    fits = size == RECORD_BYTES_MAX - 20_000
    assert [letter.reason for letter in stage.take("dead-letters")] == ([] if fits else ["too_large"])
    stage.signal("go")
    assert stage.described()["status"] == "completed"


def test_a_start_too_large_for_a_history_is_answered() -> None:
    """Whoever starts a run with an input that no history holds is told so; nothing is left behind."""
    stage = Stage(flows.travel)
    big = b'["%b"]' % (b"x" * RECORD_BYTES_MAX)
    stage.tell(StartWorkflow(workflow_id="run-1", workflow_type="travel", input=big, message_id="big", reply_to=0))
    assert [(reply.message_id, reply.reason) for reply in stage.take("replies")] == [("big", "too_large")]
    assert not list(stage.stores[0].scan(b"R", b"S"))
    stage.start(flows.travel, [])
    assert stage.described()["status"] == "running"


def test_a_result_too_large_for_a_history_fails_its_activity() -> None:
    """A result that no history holds counts as a failure of its activity: nobody waits for ever."""
    stage = Stage(caller)
    stage.start(caller)
    [task] = stage.take("tasks")
    stage.complete(task, "x" * RECORD_BYTES_MAX)
    assert stage.described()["result"] == "failed: penstock.schemas.errors.PayloadTooLarge"


def test_a_failure_too_large_for_a_history_is_shortened() -> None:
    """A failure with endless text fails its activity all the same, without the text."""
    stage = Stage(flows.retried)
    stage.start(flows.retried, 1)
    [task] = stage.take("tasks")
    stage.fail(task, Failure(type="Huge", message="m", traceback="x" * RECORD_BYTES_MAX, non_retryable=True))
    assert stage.described()["status"] == "completed"


def test_a_childs_result_too_large_for_its_parent_fails_there() -> None:
    """What a child returns and its parent's history cannot hold is a failed child, not a parent that waits for ever."""
    stage = Stage(mother, flows.five)
    run_id = stage.start(mother)
    sequence = next(event["sequence"] for event in stage.history() if event["event"] == "ChildScheduled")
    stage.tell(
        ResolveChild(
            workflow_id="run-1",
            run_id=run_id,
            sequence=sequence,
            child_workflow_id="child",
            child_run_id="any",
            status="completed",
            result=b"1" * RECORD_BYTES_MAX,
            message_id="big",
        )
    )
    assert stage.described()["result"] == "child: too_large"


@pytest.mark.parametrize("reply_to", [-1, 0])
def test_no_answer_quotes_without_end(reply_to: int) -> None:
    """An input that is refused by quoting it is quoted in part: every record about it stays small."""
    stage = Stage(flows.travel)
    name = "x" * 900_000
    stage.tell(StartWorkflow(workflow_id="a", workflow_type=name, message_id="m", reply_to=reply_to))
    [told] = stage.take("replies" if reply_to == 0 else "dead-letters")
    assert len(told.message) < 10_000
    [record] = stage.take("events")
    assert sum(map(len, record.events)) < 10_000


# Topics that come and go.


def test_a_retry_whose_topic_is_gone_waits_for_it() -> None:
    """When a task queue's topic is deleted while an activity waits for its next attempt, the run is BLOCKED for that
    reason, and the attempt is made once the topic is back."""
    stage = Stage(shaky_far, queues=("elsewhere",))
    stage.start(shaky_far, 1)
    [task] = stage.take("tasks")
    stage.fail(task, Failure(type="Shaky", message="once"))
    stage.queues.clear()
    stage.advance(5)
    assert stage.described()["blocked_reason"] == "missing_topic"
    stage.queues.add("elsewhere")
    stage.nodes[0].blocked.try_again("missing_topic")
    stage.tick()
    stage.advance(120)
    assert [again.attempt for again in stage.take("tasks")] == [2]
    assert stage.described()["status"] == "running"


# Errors of the engine itself.


def _breaks(monkeypatch: pytest.MonkeyPatch, workflow_id: str) -> list[bool]:
    """While the list holds True, driving that run's code fails inside of the engine."""
    broken = [True]
    driven = Program.activate

    def activate(self: Program, facts: Any, now_ms: int) -> list[Any]:
        orders = driven(self, facts, now_ms)
        if broken[0] and self.workflow_id == workflow_id and not self.replaying:
            raise RuntimeError("a bug")
        return orders

    monkeypatch.setattr(Program, "activate", activate)
    return broken


def test_an_engine_error_loses_no_fact(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result on which deciding fails is kept in the history of its BLOCKED run, which goes on from it later."""
    stage = Stage(flows.five)
    stage.start(flows.five, 1)
    [task] = stage.take("tasks")
    broken = _breaks(monkeypatch, "run-1")
    stage.complete(task, 1)
    assert stage.described()["blocked_reason"] == "engine_error"
    broken[0] = False
    stage.tell(RetryWorkflow(workflow_id="run-1", message_id="again"))
    stage.run(add=lambda a, b: a + b)
    assert stage.described()["result"] == 11
    assert stage.events().count("ActivityScheduled") == 5


def test_an_engine_error_loses_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer on which deciding fails wakes its run when that is retried."""
    stage = Stage(flows.sleeper)
    stage.start(flows.sleeper, 60)
    broken = _breaks(monkeypatch, "run-1")
    stage.advance(60)
    assert stage.described()["blocked_reason"] == "engine_error"
    broken[0] = False
    stage.tell(RetryWorkflow(workflow_id="run-1", message_id="again"))
    stage.advance(120)
    assert stage.described()["status"] == "completed"
    assert stage.events().count("TimerFired") == 1


def test_a_start_that_the_engine_cannot_decide_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked for a start on which deciding fails is told, and the record is kept in dead-letters."""
    stage = Stage(flows.five)
    _breaks(monkeypatch, "run-1")
    stage.start(flows.five, 1, reply_to=0, message_id="mine")
    assert [(reply.message_id, reply.reason) for reply in stage.take("replies")] == [("mine", "engine_error")]
    assert [letter.reason for letter in stage.take("dead-letters")] == ["engine_error"]


def test_a_child_that_the_engine_cannot_start_fails_in_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parent hears of a child whose start could not be decided; it does not wait for ever."""
    stage = Stage(mother, flows.five)
    _breaks(monkeypatch, "child")
    stage.start(mother)
    assert stage.described()["result"] == "child: engine_error"


# Duplicates.


def test_one_message_id_for_two_workflows_is_two_messages() -> None:
    """A message id says that a message came again to the same workflow; to another one it is another message."""
    stage = Stage(flows.travel)
    for id in ("a", "b"):
        stage.start(flows.travel, [], id=id)
    for id in ("a", "a", "b"):
        stage.tell(SignalWorkflow(workflow_id=id, signal="go", input=b"null", message_id="paid"))
    assert [stage.described(id)["status"] for id in ("a", "b")] == ["completed", "completed"]


@workflow
async def tells(value: int) -> None:
    get_run("both").signal(flows.price, value)


def test_two_runs_with_one_run_id_send_two_signals() -> None:
    """What a run sends is told apart from what another workflow's run of the same id sends."""
    stage = Stage(tells, flows.conditional)
    stage.start(flows.conditional, id="both")
    for id in ("a", "b"):
        stage.start(tells, 6, id=id, message_id="same")
    assert stage.described("both")["result"] == 12


@pytest.mark.parametrize(
    "command",
    [
        SignalWorkflow(workflow_id="run-1", signal="go", input=b"null"),
        CancelWorkflow(workflow_id="run-1"),
        TerminateWorkflow(workflow_id="run-1"),
        AwaitResult(workflow_id="run-1"),
    ],
)
def test_every_command_twice_acts_once(command: Any) -> None:
    """A command that comes again, at once or a day later, changes nothing, and is answered again."""
    stage = Stage(flows.cleaner)
    stage.start(flows.cleaner)
    command = msgspec.structs.replace(command, message_id="twice", reply_to=0)
    stage.tell(command)
    before = stage.history()
    stage.advance(DAY_MS / 1000 - 1)
    stage.tell(command)
    assert stage.history() == before
    stage.run(unbook_place=lambda name: None)


# BLOCKED runs.


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
        stage.tell(RetryWorkflow(workflow_id="run-1", message_id=f"retry-{number}", reply_to=0))
    assert stage.events().count("CancelRequested") == 1
    assert stage.described()["status"] == "cancelled"
    assert [getattr(reply, "reason", "") for reply in stage.take("replies")] == ["", "already_closed"]


def test_one_missing_topic_of_several_holds_back_all_orders_of_a_decision() -> None:
    """A decision is carried out wholly or not at all: with one task queue missing, no other task leaves either."""
    stage = Stage(both_queues)
    stage.start(both_queues)
    assert stage.described()["status"] == "blocked"
    assert stage.take("tasks") == []
    stage.queues.add("elsewhere")
    stage.restart()
    tasks = stage.take("tasks")
    assert sorted(task.queue for task in tasks) == ["default", "elsewhere"], (tasks, stage.history())


@workflow
async def both_queues() -> None:
    await asyncio.gather(flows.add(1, 2), flows.far(1))


def test_terminating_a_blocked_run_leaves_no_mark() -> None:
    """A BLOCKED run that is terminated is closed and no longer listed as BLOCKED."""
    stage = Stage(flows.far_away)
    stage.start(flows.far_away, 1)
    stage.tell(TerminateWorkflow(workflow_id="run-1", message_id="end"))
    assert stage.described()["status"] == "terminated"
    assert not list(stage.stores[0].scan(b"B", b"C"))


# Retention.


def _close_many(stage: Stage, runs: int, signals: int) -> None:
    for number in range(runs):
        stage.start(flows.travel, [], id=f"run-{number}")
        for _ in range(signals):
            stage.signal("other", id=f"run-{number}")
        stage.signal("go", id=f"run-{number}")


def test_retention_forgets_all_of_a_run_a_little_at_a_time() -> None:
    """After its time a closed run leaves no row at all, and no transaction deletes more than some hundreds of rows,
    however long histories are."""
    stage = Stage(flows.travel)
    _close_many(stage, 3, 700)
    stage.now_ms += 3 * DAY_MS
    for _ in range(40):
        before = len(list(stage.stores[0].scan(b"", b"\xff")))
        stage.tick()
        assert before - len(list(stage.stores[0].scan(b"", b"\xff"))) < 1_000
    assert [key for key, _ in stage.stores[0].scan(b"", b"\xff") if b"run-" in key] == []


def test_retention_of_an_old_run_spares_the_run_that_took_its_id() -> None:
    """When a closed run's time is over, the present run of the same id keeps its header and history."""
    stage = Stage(flows.travel)
    first = stage.start(flows.travel, [])
    stage.signal("go")
    stage.advance(DAY_MS / 1000)
    stage.start(flows.travel, [], on_existing="restart_closed")
    stage.advance(3 * DAY_MS / 1000)
    for _ in range(3):
        stage.signal("other")
    assert stage.history(run_id=first) == []
    stage.restart()
    stage.signal("go")
    assert stage.described()["status"] == "completed"


# Layers.


def test_two_open_layers_that_are_discarded_leave_nothing() -> None:
    """With two layers open and neither committed, the shard decides the same inputs again as if for the first time."""
    stage = Stage(flows.five)
    node = stage.nodes[0]
    call = flows.five(1)
    call.claim()
    start = StartWorkflow(workflow_id="run-1", workflow_type="five", input=call.input, message_id="m")
    first = stage.put("commands", 0, encode(start))
    second = stage.put("commands", 0, encode(AwaitResult(workflow_id="run-1", message_id="w", reply_to=0)))
    third = stage.put("commands", 0, encode(CancelWorkflow(workflow_id="run-1", message_id="c")))
    before = [node.decide([first], stage.now_ms), node.decide([second, third], stage.now_ms)]
    node.discard()
    after = [node.decide([first], stage.now_ms), node.decide([second, third], stage.now_ms)]
    assert [layer and layer.writes for layer in before] == [layer and layer.writes for layer in after]
    assert all(layer is not None and layer.outputs for layer in before)


def test_a_start_that_joined_a_run_never_starts_another() -> None:
    """Said again with the same message id once the run has closed, it is told of that run and restarts nothing."""
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
    """Who is refused an id that is taken is told how to join its run, in words of the clients and the command line."""
    stage = Stage(flows.approved)
    stage.start(flows.approved)
    stage.start(flows.approved, on_existing="reject", reply_to=0)
    (refusal,) = stage.take("replies")
    assert refusal.message.endswith("choose another id, or start it without `reject` to join it.")
