"""Tests of bugs that leave workflow code later than they were raised: such a run fails, and names the decision."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from penstock.engine.authoring.workflow import workflow
from penstock.schemas.records.run import UnblockWorkflow
from tests.engine.core import flows
from tests.engine.stage import Stage

nothing: Any = None


async def _in_finally() -> None:
    try:
        nothing.value()
    finally:
        await flows.unbook_place("finally")


async def _in_except() -> None:
    try:
        nothing.value()
    except AttributeError:
        await flows.unbook_place("except")
        raise


async def _in_a_task() -> None:
    async def buggy() -> None:
        nothing.value()

    task = asyncio.create_task(buggy())
    await flows.unbook_place("task")
    await task


async def _kept() -> None:
    results = await asyncio.gather(_in_a_nested_call(), return_exceptions=True)
    await flows.unbook_place("kept")
    raise results[0] or AssertionError


async def _in_a_nested_call() -> None:
    nothing.value()


async def _in_a_group() -> None:
    async def cleans_up() -> None:
        try:
            await flows.go.wait()
        finally:
            await flows.unbook_place("group")

    async with asyncio.TaskGroup() as group:
        group.create_task(cleans_up())
        await asyncio.sleep(0)
        group.create_task(_in_a_nested_call())


_LATER = {"finally": _in_finally, "except": _in_except, "task": _in_a_task, "kept": _kept, "group": _in_a_group}


@workflow
async def observed_later(how: str) -> None:
    await flows.add(1, 2)
    await _LATER[how]()


@pytest.mark.parametrize("evicts", [False, True])
@pytest.mark.parametrize("how", _LATER)
def test_code_that_awaited_after_a_bug_fails(how: str, evicts: bool) -> None:
    """If the code awaited something between the bug and its end, the run fails, and names the decision of the bug."""
    stage = Stage(observed_later)
    stage.start(observed_later, how)
    tracing = sys.gettrace()
    for _ in range(2):
        (task,) = stage.take("tasks")
        if evicts:
            stage.nodes[0].runs.clear()
        stage.complete(task, None if task.activity == "unbook_place" else 3)
    described = stage.described()
    assert described["status"] == "failed"
    raised_at = stage.events().index("ActivityCompleted") + 1
    assert f"raised in the decision of event {raised_at} of the history" in described["failure"]["message"]
    assert sys.gettrace() is tracing


@workflow
async def observed_again() -> None:
    """Meets a bug while it handles an earlier one."""
    try:
        nothing.value()
    except AttributeError:
        await flows.add(1, 2)
        nothing.other()


def test_a_new_bug_after_an_earlier_one_blocks() -> None:
    """A bug in the code that handles an earlier error is judged by itself."""
    stage = Stage(observed_again)
    stage.start(observed_again)
    stage.run(add=lambda a, b: a + b)
    assert stage.described()["blocked_reason"] == "code_error"


_shared = AttributeError("one object for all runs")


@workflow
async def observed_shared() -> None:
    await flows.add(1, 2)
    raise _shared


def test_an_error_object_that_several_runs_raise() -> None:
    """An exception object of the module that one run has raised says nothing about another run."""
    stage = Stage(observed_shared)
    for id in ("run-1", "run-2"):
        stage.start(observed_shared, id=id)
        stage.run(add=lambda a, b: a + b)
        assert stage.described(id)["status"] == "blocked"


def test_a_retry_judges_as_the_input_did() -> None:
    """A retried run whose code awaited after its bug, in what it had not read, goes on and fails with the decision."""
    stage = Stage(observed_later)
    stage.start(observed_later, "task", id="run-1")
    stage.queues.clear()  # the request that follows the bug finds no topic
    (task,) = stage.take("tasks")
    stage.complete(task, 3)
    assert stage.described()["blocked_reason"] == "missing_topic"
    stage.queues.add("default")
    stage.tell(UnblockWorkflow(workflow_id="run-1", message_id="retry"))
    stage.run(unbook_place=lambda _: None)
    raised_at = stage.events().index("WorkflowUnblocked") + 1
    assert f"decision of event {raised_at} " in stage.described()["failure"]["message"]
