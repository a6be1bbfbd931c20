"""Tests of retries: where a failed run goes on."""

from __future__ import annotations

from typing import Any

from penstock.engine.authoring.workflow import workflow
from penstock.patterns.saga import Saga
from penstock.schemas.errors import ActivityFailedError, WorkflowFailedError
from penstock.schemas.failure import Failure
from penstock.schemas.records.reset import RetryWorkflow
from penstock.schemas.records.run import TerminateWorkflow
from tests.engine.core import flows
from tests.engine.stage import Stage

HARD = Failure(type="app.Refused", message="no funds", non_retryable=True)


def retry(stage: Stage, **fields: Any) -> Any:
    return stage.replied(RetryWorkflow(workflow_id="run-1", message_id=stage.message_id(), **fields))


def failed(code: Any, *args: Any) -> tuple[Stage, Any]:
    """A stage on which the first activity of a run failed for good, and its task."""
    stage = Stage(code, flows.five)
    stage.start(code, *args)
    (task,) = stage.take("tasks")
    stage.fail(task, HARD)
    return stage, task


def add(a: int, b: int) -> int:
    return a + b


@workflow
async def two_steps() -> int:
    return await flows.add(await flows.add(1, 2), 3)


def test_the_step_that_failed_is_tried_again() -> None:
    """The failed activity gets another attempt with its idempotency key; what came before is not repeated."""
    stage, task = failed(two_steps)
    assert stage.described()["status"] == "failed"
    assert type(retry(stage, by="ann", reason="funds are there")).__name__ == "Accepted"
    stage.advance(1)
    (again,) = stage.take("tasks")
    assert (again.idempotency_key, again.attempt) == (task.idempotency_key, 2)
    stage.complete(again, 3)
    stage.run(add=add)
    assert stage.described()["result"] == 6
    forked = next(event for event in stage.history() if event["event"] == "WorkflowForked")
    assert (forked["by"], forked["reason"]) == ("ann", "funds are there")


@workflow
async def tolerant() -> int:
    try:
        await flows.add(1, 2)
    except ActivityFailedError:
        await flows.add(2, 3)
    raise WorkflowFailedError("no more")


def test_a_failure_that_was_handled_is_not_the_step() -> None:
    """A run that failed for another reason goes on from the decision that failed it, whose input comes again."""
    stage, _ = failed(tolerant)
    stage.run(add=add)
    assert stage.described()["status"] == "failed"
    length = stage.described()["events"]
    retry(stage)
    assert stage.described()["status"] == "failed"  # the same code does the same
    assert stage.described()["reset_to"] == length - 2


@workflow
async def undoes() -> None:
    async with Saga() as saga:
        await saga.do(flows.book_place("hotel"), undo=flows.unbook_place("hotel"))
        await flows.add(1, 2)


def test_compensation_needs_force() -> None:
    """A run that undid its steps is retried with force alone; the refusal names what followed the failure."""
    stage = Stage(undoes)
    stage.start(undoes)
    (task,) = stage.take("tasks")
    stage.complete(task, "hotel")
    (task,) = stage.take("tasks")
    stage.fail(task, HARD)
    stage.run(unbook_place=lambda name: None)
    assert stage.described()["status"] == "failed"
    refused = retry(stage)
    assert refused.reason == "compensated"
    assert "run-1 went on after add had failed (event 5): it requested unbook_place" in refused.message
    retry(stage, force=True)
    stage.advance(1)
    stage.run(add=add)
    assert stage.described()["status"] == "completed"


def test_a_compensation_that_failed_is_tried_again() -> None:
    """If undoing failed, the retry goes on with undoing."""
    stage = Stage(undoes)
    stage.start(undoes)
    (task,) = stage.take("tasks")
    stage.complete(task, "hotel")
    for _ in range(2):
        (task,) = stage.take("tasks")
        stage.fail(task, HARD)
    assert task.activity == "unbook_place"
    retry(stage)
    stage.advance(1)
    (again,) = stage.take("tasks")
    assert again.idempotency_key == task.idempotency_key


def test_a_child_that_failed_is_started_again() -> None:
    """The failed child is a new run of its id, and its result reaches the parent."""
    stage = Stage(strict_parent, flows.five)
    stage.start(strict_parent)
    first = stage.described("kid")["run_id"]
    stage.tell(TerminateWorkflow(workflow_id="kid", message_id="t"))
    assert stage.described()["status"] == "failed"
    retry(stage)
    assert stage.described("kid")["run_id"] != first
    stage.run(add=add)
    assert stage.described()["result"] == 11


@workflow
async def strict_parent() -> int:
    return await flows.five(1).options(id="kid")


def test_a_run_that_failed_at_once_begins_anew() -> None:
    """A run that failed in its first decision starts again with its input."""
    stage = Stage(flows.failing)
    stage.start(flows.failing, 7)
    retry(stage)
    assert stage.events()[:2] == ["WorkflowStarted", "WorkflowForked"]
    assert stage.history()[0]["input"] == 7


def test_a_run_that_was_over_its_time_goes_on() -> None:
    """A run that timed out waits for what it waited for, with all of its time again."""
    stage = Stage(flows.approved)
    stage.start(flows.approved, run_timeout_ms=5_000)
    stage.advance(6)
    retry(stage)
    stage.signal("price", 5)
    assert stage.described()["result"] == "paid 5"


def test_only_a_failed_run_is_retried() -> None:
    """A run that is open, or has ended otherwise, is refused with a sentence that names the other ways."""
    stage = Stage(flows.five)
    stage.start(flows.five, 1)
    sentence = "run-1 has not failed, and only a failed run can be retried; a BLOCKED one is unblocked, and any run can"
    assert retry(stage).message.startswith(sentence)
    stage.run(add=add)
    assert retry(stage).message.startswith(sentence)
