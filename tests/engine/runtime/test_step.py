"""Tests of one input from decision to layer: inputs too large, missing topics, engine errors."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pydantic
import pytest

from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.workflow import workflow
from penstock.engine.core.keys import run_key
from penstock.engine.core.rows import unpack_run
from penstock.engine.execution import guards
from penstock.engine.execution.program import Program
from penstock.schemas.encoding.codec import encode
from penstock.schemas.errors import ActivityFailedError, ChildWorkflowFailed
from penstock.schemas.failure import Failure
from penstock.schemas.records.child import ResolveChild
from penstock.schemas.records.pause import PauseWorkflow
from penstock.schemas.records.run import StartWorkflow, UnblockWorkflow
from penstock.schemas.records.signal import SignalWorkflow
from penstock.schemas.records.tasks import TaskCompleted
from penstock.topics.catalogue import RECORD_BYTES_MAX
from penstock.workers.activity.decorator import activity
from tests.engine.core import flows
from tests.engine.stage import Stage


@workflow
async def chooser(far: bool) -> int:
    return await flows.far(1) if far else 0


def test_a_restart_that_is_blocked_at_once_is_a_run_of_its_own() -> None:
    """A closed id started anew, and BLOCKED at its first step, has its own run id and history from the first event."""
    stage = Stage(chooser)
    first = stage.start(chooser, False)
    second = stage.start(chooser, True, on_existing="restart_closed")
    described = stage.described()
    assert (described["status"], described["run_id"]) == ("blocked", second)
    assert [event["event"] for event in stage.history(run_id=first)] == ["WorkflowStarted", "WorkflowCompleted"]
    assert stage.events() == ["WorkflowStarted", "WorkflowBlocked"]
    stage.queues.add("elsewhere")
    stage.tell(UnblockWorkflow(workflow_id="run-1", message_id="again"))
    stage.run(far=lambda n: 7)
    assert stage.described()["result"] == 7


DECIDED_BY = {"code": "old"}


@workflow
async def unsteady(n: int) -> int:
    return await (flows.add(n, 1) if DECIDED_BY["code"] == "old" else flows.shaky(n))


def test_a_result_that_the_log_refuses_is_replaced_by_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused result that caused nothing else becomes a failure in the history, and its run can go on."""
    stage = Stage(unsteady)
    stage.start(unsteady, 1)
    (task,) = stage.take("tasks")
    monkeypatch.setitem(DECIDED_BY, "code", "new")
    stage.restart()
    stage.signal("go")  # other code: the run is BLOCKED, and takes inputs in without running
    record = stage.put("results", 0, encode(task.completed(b"2")))
    stage.nodes[0].refuse(record, "a record is too large")
    stage.settle()
    assert stage.events()[-1] == "ActivityFailed"
    monkeypatch.setitem(DECIDED_BY, "code", "old")
    stage.tell(UnblockWorkflow(workflow_id="run-1", message_id="again"))
    assert stage.described()["failure"]["type"].endswith("ActivityFailedError")


def test_a_result_is_kept_if_its_run_was_blocked_for_another_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result whose consequences the log refused stays when other code blocks the run before it makes requests."""
    stage = Stage(unsteady)
    stage.start(unsteady, 1)
    (task,) = stage.take("tasks")
    monkeypatch.setitem(DECIDED_BY, "code", "new")
    stage.restart()
    record = stage.put("results", 0, encode(task.completed(b"2")))
    stage.nodes[0].refuse(record, "a record is too large")
    stage.settle()
    assert stage.described()["blocked_reason"] == "non_determinism"
    monkeypatch.setitem(DECIDED_BY, "code", "old")
    stage.tell(UnblockWorkflow(workflow_id="run-1", message_id="again"))
    assert stage.described()["result"] == 2


def test_a_result_is_kept_if_its_run_was_paused_meanwhile() -> None:
    """A result whose consequences the log refused is recorded as usual by a run that an operator has paused since."""
    stage = Stage(unsteady)
    stage.start(unsteady, 1)
    (task,) = stage.take("tasks")
    record = stage.put("results", 0, encode(task.completed(b"2")))
    refused = stage.nodes[0].decide([record], stage.now_ms)
    stage.nodes[0].refuse(record, "a record is too large", refused)
    stage.nodes[0].discard()
    stage.put("commands", 0, encode(PauseWorkflow(workflow_id="run-1", message_id="pause")))
    stage._inbox.reverse()
    stage.settle()
    assert stage.events()[-2:] == ["WorkflowPaused", "ActivityCompleted"]


def test_a_result_that_the_log_refuses_of_a_paused_run_too() -> None:
    """A result that is refused again, though the paused run does nothing with it, becomes a failure."""
    stage = Stage(flows.retried)
    stage.start(flows.retried, 1)
    (task,) = stage.take("tasks")
    record = stage.put("results", 0, encode(task.completed(b"2")))
    layer = stage.nodes[0].decide([record], stage.now_ms)
    stage.nodes[0].refuse(record, "a record is too large", layer)
    stage.nodes[0].discard()
    stage._inbox.clear()  # it is read after the pause
    stage.tell(PauseWorkflow(workflow_id="run-1", message_id="p"))
    stage.nodes[0].refuse(record, "a record is too large")
    stage._inbox.append(record)
    stage.settle()
    assert stage.events()[-1] == "ActivityFailed"


@pytest.mark.parametrize("size", [RECORD_BYTES_MAX - 20_000, RECORD_BYTES_MAX - 1, RECORD_BYTES_MAX, 1_040_000])
def test_a_signal_too_large_for_a_history_is_refused(size: int) -> None:
    """A signal whose event would not fit is refused and becomes a dead letter; its run continues."""
    stage = Stage(flows.travel)
    stage.start(flows.travel, [])
    stage.tell(SignalWorkflow(workflow_id="run-1", signal="other", input=b'"%b"' % (b"x" * size), message_id="big"))
    assert stage.described()["status"] == "running"
    fits = size == RECORD_BYTES_MAX - 20_000
    assert [letter.reason for letter in stage.take("dead-letters")] == ([] if fits else ["too_large"])
    stage.signal("go")
    assert stage.described()["status"] == "completed"


def test_a_start_too_large_for_a_history_is_answered() -> None:
    """A start with an input that no history holds is answered with a refusal, and leaves no row."""
    stage = Stage(flows.travel)
    big = b'["%b"]' % (b"x" * RECORD_BYTES_MAX)
    stage.tell(StartWorkflow(workflow_id="run-1", workflow_type="travel", input=big, message_id="big", reply_to=0))
    assert [(reply.message_id, reply.reason) for reply in stage.take("replies")] == [("big", "too_large")]
    assert not list(stage.stores[0].scan(b"R", b"S"))
    stage.start(flows.travel, [])
    assert stage.described()["status"] == "running"


@workflow
async def caller() -> str:
    try:
        return str(await flows.add(1, 2))
    except ActivityFailedError as error:
        return f"failed: {error.type}"


def test_a_result_too_large_for_a_history_fails_its_activity() -> None:
    """A result that no history holds counts as a failure of its activity, so that the code does not wait forever."""
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


@workflow
async def mother() -> str:
    try:
        return str(await flows.five(1).options(id="child"))
    except ChildWorkflowFailed as error:
        return f"child: {error.type}"


def test_a_childs_result_too_large_for_its_parent_fails_there() -> None:
    """A child's result that its parent's history cannot hold is a failed child; the parent does not wait forever."""
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


@workflow
async def shaky_far(n: int) -> int:
    return await flows.far(n)


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


def _breaks(monkeypatch: pytest.MonkeyPatch, workflow_id: str) -> list[bool]:
    """Let the activation of that run's code fail inside the engine while the list holds True."""
    broken = [True]
    driven = Program.activate

    def activate(self: Program, inputs: Any, now_ms: int) -> list[Any]:
        requests = driven(self, inputs, now_ms)
        if broken[0] and self.workflow_id == workflow_id and not self.replaying:
            raise RuntimeError("a bug")
        return requests

    monkeypatch.setattr(Program, "activate", activate)
    return broken


def test_an_engine_error_loses_no_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result on which deciding fails is kept in the history of its BLOCKED run, which continues from it later."""
    stage = Stage(flows.five)
    stage.start(flows.five, 1)
    [task] = stage.take("tasks")
    broken = _breaks(monkeypatch, "run-1")
    stage.complete(task, 1)
    assert stage.described()["blocked_reason"] == "engine_error"
    broken[0] = False
    stage.tell(UnblockWorkflow(workflow_id="run-1", message_id="again"))
    stage.run(add=lambda a, b: a + b)
    assert stage.described()["result"] == 11
    assert stage.events().count("ActivityScheduled") == 5


def test_an_engine_error_of_a_start_leaves_the_present_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that the engine fails to decide is a dead letter; the run that it would have replaced goes on."""
    stage = Stage(flows.approved)
    stage.start(flows.approved)
    broken = _breaks(monkeypatch, "run-1")
    stage.start(flows.approved, on_existing="terminate_existing")
    broken[0] = False
    assert [letter.reason for letter in stage.take("dead-letters")] == ["engine_error"]
    assert stage.described()["status"] == "running"
    stage.signal("price", 5)
    assert stage.described()["result"] == "paid 5"


def test_an_engine_error_loses_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer on which deciding fails wakes its run when that is retried."""
    stage = Stage(flows.sleeper)
    stage.start(flows.sleeper, 60)
    broken = _breaks(monkeypatch, "run-1")
    stage.advance(60)
    assert stage.described()["blocked_reason"] == "engine_error"
    broken[0] = False
    stage.tell(UnblockWorkflow(workflow_id="run-1", message_id="again"))
    stage.advance(120)
    assert stage.described()["status"] == "completed"
    assert stage.events().count("TimerFired") == 1


def test_a_start_that_the_engine_cannot_decide_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start on which deciding fails is answered with a refusal, and the record becomes a dead letter."""
    stage = Stage(flows.five)
    _breaks(monkeypatch, "run-1")
    stage.start(flows.five, 1, reply_to=0, message_id="mine")
    assert [(reply.message_id, reply.reason) for reply in stage.take("replies")] == [("mine", "engine_error")]
    assert [letter.reason for letter in stage.take("dead-letters")] == ["engine_error"]


def test_a_child_that_the_engine_cannot_start_fails_in_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child whose start could not be decided fails in its parent, which does not wait forever."""
    stage = Stage(mother, flows.five)
    _breaks(monkeypatch, "child")
    stage.start(mother)
    assert stage.described()["result"] == "child: engine_error"


@workflow
async def both_queues() -> None:
    await asyncio.gather(flows.add(1, 2), flows.far(1))


def test_one_missing_topic_of_several_holds_back_all_requests_of_a_decision() -> None:
    """A decision is carried out wholly or not at all: with one task queue missing, no other task leaves either."""
    stage = Stage(both_queues)
    stage.start(both_queues)
    assert stage.described()["status"] == "blocked"
    assert stage.take("tasks") == []
    stage.queues.add("elsewhere")
    stage.restart()
    tasks = stage.take("tasks")
    assert sorted(task.queue for task in tasks) == ["default", "elsewhere"], (tasks, stage.history())


go = Signal("step-go")


@activity
def step_charge(name: str) -> str: ...


@workflow
async def step_waits() -> None:
    await go.wait()


@workflow
async def step_charges(name: str) -> str:
    return await step_charge(name)


class Panic(BaseException):
    """As pydantic_core's PanicException."""


raised: list[type[BaseException]] = []


class Model(pydantic.BaseModel):
    x: int = 0

    @pydantic.field_validator("x")
    @classmethod
    def validate(cls, value: int) -> int:
        if raised:
            raise raised[0]
        return value


@workflow
async def step_modelled(model: Model) -> None:
    await go.wait()


@pytest.mark.parametrize("error", [Panic, asyncio.CancelledError, GeneratorExit, SystemExit])
def test_an_exception_of_any_kind_in_a_validator_is_a_bad_input(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a user's validator raises refuses the input; the shard goes on."""
    stage = Stage(step_modelled)
    monkeypatch.setitem(globals(), "raised", [error])
    stage.tell(StartWorkflow(workflow_id="a", workflow_type="step_modelled", input=b'{"x":1}', message_id="m"))
    assert [letter.reason for letter in stage.take("dead-letters")] == ["bad_input"]


def test_a_negative_sequence_has_no_effect() -> None:
    """A result under a negative sequence has no effect, like any of an activity that is not pending."""
    stage = Stage(step_charges)
    stage.start(step_charges, "x")
    task = stage.take("tasks")[0]
    stage._result(task, TaskCompleted(workflow_id="run-1", run_id=task.run_id, sequence=-1, attempt=1, result=b"1"))
    assert stage.described()["status"] == "running"


def test_an_input_and_a_failure_that_are_too_large_together() -> None:
    """A failure is shortened if the row of its activity, which holds the input too, would be too large to commit."""
    stage = Stage(step_charges)
    stage.start(step_charges, "x" * 895_000)
    stage.fail(stage.take("tasks")[0], Failure(type="E", message="m" * 300_000))
    _, row = next(iter(stage.stores[0].scan(b"A", b"B")))
    assert len(row) < RECORD_BYTES_MAX


def test_a_terminated_run_awaits_nothing() -> None:
    """A terminated run is recorded as waiting for no signal."""
    stage = Stage(step_waits)
    stage.start(step_waits)
    stage.terminate()
    header = stage.stores[0].get(run_key("run-1"))
    assert header is not None and unpack_run(header).listening is None
    assert stage.take("events")[-1].listening is None


class Keyed(pydantic.BaseModel):
    key: uuid.UUID = pydantic.Field(default_factory=uuid.uuid4)


@workflow
async def step_keyed(keyed: Keyed) -> None: ...


def test_a_random_default_is_a_bad_input() -> None:
    """An input whose type makes up a random default is refused, since replay would make up another."""
    guards.install()
    stage = Stage(step_keyed)
    stage.tell(StartWorkflow(workflow_id="a", workflow_type="step_keyed", input=b"{}", message_id="m"))
    assert [letter.reason for letter in stage.take("dead-letters")] == ["bad_input"]
