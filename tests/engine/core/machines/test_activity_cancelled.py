"""Tests of what is sent to workers about attempts that no run waits for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.engine.authoring.waiting import sleep
from penstock.engine.authoring.workflow import workflow
from penstock.engine.core.machines.chain import next_run_id
from penstock.schemas.failure import Failure
from penstock.schemas.records.run import CancelWorkflow
from penstock.schemas.records.tasks import AttemptsCancelled
from tests.engine.core import flows
from tests.engine.stage import Stage

SOFT = Failure(type="app.Refused", message="no")


def of(stage: Stage, sequence: int = 0, attempt: int = 0, *, awaited: bool = False) -> AttemptsCancelled:
    run_id = str(stage.described()["run_id"])
    return AttemptsCancelled(workflow_id="run-1", run_id=run_id, sequence=sequence, attempt=attempt, awaited=awaited)


@workflow
async def bounded() -> str:
    try:
        async with asyncio.timeout(60):
            return str(await flows.add(1, 2))
    except TimeoutError:
        return "gave up"


@workflow
async def leaves_work(count: int) -> None:
    tasks = [asyncio.create_task(flows.add(number, 1)) for number in range(count)]  # noqa: F841 - kept alive
    await sleep(1)


def test_an_attempt_that_code_gave_up() -> None:
    """Code that goes on without an attempt cancels it."""
    stage = Stage(bounded)
    stage.start(bounded)
    stage.advance(60)
    assert stage.described()["result"] == "gave up"
    assert stage.take("cancellations") == [of(stage, 2, 1)]


def test_nothing_is_sent_of_an_attempt_that_waits_for_its_turn() -> None:
    """An attempt that has failed is with no worker."""
    stage = Stage(bounded)
    stage.start(bounded)
    (task,) = stage.take("tasks")
    for _ in range(6):  # the next attempt waits for 32 s
        stage.fail(task, SOFT)
        stage.advance(60 - 31 if task.attempt == 6 else 2 ** (task.attempt - 1))
        (task, *_) = stage.take("tasks") or (task,)
    stage.advance(60)
    assert stage.described()["result"] == "gave up"
    assert stage.take("cancellations") == []


@pytest.mark.parametrize("how", ["cancelled", "terminated", "completed"])
def test_the_attempts_of_a_run_that_closes(how: str) -> None:
    """A run that closes with running attempts sends one record, however many they are and however it closes."""
    stage = Stage(leaves_work)
    stage.start(leaves_work, 50)
    if how == "cancelled":
        stage.tell(CancelWorkflow(workflow_id="run-1", message_id="m"))
    elif how == "terminated":
        stage.terminate()
    else:
        stage.advance(1)
    assert stage.described()["status"] == how
    assert stage.take("cancellations") == [of(stage)]


def test_a_run_that_closes_without_attempts_sends_nothing() -> None:
    """A run whose activities have ended cancels none."""
    stage = Stage(flows.five)
    stage.start(flows.five, 1)
    stage.run(add=lambda a, b: a + b)
    assert stage.take("cancellations") == []


def test_a_run_that_is_replaced() -> None:
    """The attempts of a run that a start replaces are cancelled under its own run id."""
    stage = Stage(leaves_work)
    first = stage.start(leaves_work, 2)
    stage.start(leaves_work, 2, on_existing="terminate_existing")
    assert stage.take("cancellations") == [AttemptsCancelled(workflow_id="run-1", run_id=first)]


def test_code_that_waits_for_the_end_of_an_attempt() -> None:
    """With `cancel="wait"` a cancelled run closes when the attempt has ended, and the worker is asked to end it."""
    stage = Stage(flows.scanned)
    stage.start(flows.scanned)
    (task,) = stage.take("tasks")
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="m"))
    assert stage.described()["status"] == "running"
    assert stage.take("cancellations") == [of(stage, 1, 1, awaited=True)]
    stage.fail(task, Failure(type="x", message="cancelled", kind="cancelled"))
    assert stage.described()["status"] == "cancelled"
    assert stage.take("cancellations") == []


@workflow(name="cancelled-both")
async def cancels_itself_too() -> int:
    """Number of cancellations that the code receives."""
    received = 0
    task = asyncio.create_task(flows.scanned.fn())
    await flows.go.wait()
    task.cancel()
    for wait in (task, sleep(60)):
        try:
            await wait
        except asyncio.CancelledError:
            received += 1
    return received


def test_an_attempt_that_code_gave_up_in_a_run_that_is_cancelled() -> None:
    """Cancelling an activity and then its run asks the worker once, and the code receives one cancellation."""
    stage = Stage(cancels_itself_too)
    stage.start(cancels_itself_too)
    (task,) = stage.take("tasks")
    stage.signal("go")
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="m"))
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="n"))
    assert stage.take("cancellations") == [of(stage, 1, 1, awaited=True)]
    stage.fail(task, Failure(type="x", message="cancelled", kind="cancelled"))
    stage.advance(60)
    assert (stage.described()["result"], stage.take("cancellations")) == (1, [])


def test_an_attempt_that_the_shard_times_out() -> None:
    """The worker of an attempt whose heartbeats stopped is told that it counts no more; a worker that reports a timeout
    itself is not."""
    stage = Stage(flows.scanned)
    stage.start(flows.scanned)
    (task,) = stage.take("tasks")
    stage.report(task, task.started("w"))
    stage.advance(10)
    assert stage.take("cancellations") == [of(stage, 1, 1)]
    stage.advance(1)
    (task,) = stage.take("tasks")
    stage.fail(task, Failure(type="TimeoutError", message="late", kind="timeout"))
    assert stage.take("cancellations") == []


def test_a_missing_topic_keeps_no_run_waiting() -> None:
    """Without the topic nothing is sent, and the run goes on."""
    stage = Stage(bounded)
    whole = stage.partitions
    stage.partitions = lambda topic: None if topic == stage.topics.cancellations else whole(topic)  # type: ignore[method-assign]
    stage.restart()
    stage.start(bounded)
    stage.advance(60)
    assert stage.described()["result"] == "gave up"
    assert stage.take("cancellations") == []


def test_the_run_of_a_chain_that_ends() -> None:
    """A run that continues as new cancels what it leaves."""

    def left(stage: Stage) -> list[Any]:
        return stage.take("cancellations")

    from penstock.engine.authoring.chain import continue_as_new

    @workflow
    async def goes_on(first: bool) -> None:
        if first:
            task = asyncio.create_task(flows.add(1, 2))  # noqa: F841, RUF006
            await sleep(1)
            continue_as_new(goes_on(False))

    stage = Stage(goes_on)
    first = stage.start(goes_on, True)
    stage.advance(2)
    assert stage.described()["run_id"] == next_run_id("run-1", first)
    assert left(stage) == [AttemptsCancelled(workflow_id="run-1", run_id=first)]
