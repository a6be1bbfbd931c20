"""Tests of `continue_as_new` as workflow code calls it: where it works, and what it is refused with elsewhere."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.engine.authoring.chain import continue_as_new
from penstock.engine.authoring.waiting import sleep, wait_condition
from penstock.engine.authoring.workflow import workflow
from penstock.patterns.saga import Saga
from penstock.schemas.errors import NotInWorkflow
from penstock.schemas.records.update import UpdateWorkflow
from tests.engine.core import flows
from tests.engine.stage import Stage


async def _goes_on(how: str) -> None:
    continue_as_new(by(how, False))


async def _by_create_task(how: str) -> None:
    await asyncio.create_task(_goes_on(how))


async def _by_gather(how: str) -> None:
    await asyncio.gather(sleep(1), _goes_on(how))


async def _by_group_member(how: str) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_goes_on(how))


async def _by_task_left_alone(how: str) -> None:
    task = asyncio.create_task(_goes_on(how))
    await sleep(1)
    if (error := task.exception()) is not None:
        raise error


async def _by_call(how: str) -> None:
    await _goes_on(how)


async def _by_wait_for(how: str) -> None:
    await asyncio.wait_for(_goes_on(how), 10)


async def _by_timeout(how: str) -> None:
    async with asyncio.timeout(10):
        await sleep(1)
        continue_as_new(by(how, False))


async def _by_group(how: str) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(sleep(3600))
        continue_as_new(by(how, False))


async def _by_groups_in_a_saga(how: str) -> None:
    async with Saga() as saga, asyncio.TaskGroup(), asyncio.TaskGroup():
        await saga.do(flows.book_place("room"), undo=flows.unbook_place("room"))
        continue_as_new(by(how, False))


WAYS = {name.removeprefix("_by_"): way for name, way in list(globals().items()) if name.startswith("_by_")}
REFUSED = {"create_task", "gather", "group_member", "task_left_alone"}


@workflow(name="continuing-by")
async def by(how: str, again: bool) -> str:
    """Continue once, in that way."""
    if again:
        await WAYS[how](how)
    return "second"


@pytest.mark.parametrize("how", sorted(WAYS.keys() - REFUSED))
def test_the_workflow_s_own_task_may_continue(how: str) -> None:
    """In functions that it awaits, under time-outs, in a TaskGroup and in a saga, the workflow goes on as a new run."""
    stage = Stage(by)
    stage.start(by, how, True)
    for _ in range(2):
        stage.run(book_place=lambda name: name, unbook_place=lambda name: None)
        stage.restart()
        stage.advance(2)
    assert (stage.described()["status"], stage.described()["result"]) == ("completed", "second")
    assert stage.history()[0]["chain_length"] == 1


@pytest.mark.parametrize("how", sorted(REFUSED))
def test_another_task_may_not_continue(how: str) -> None:
    """In a task that the workflow created it is refused with a sentence, and the error is that task's."""
    stage = Stage(by)
    stage.start(by, how, True)
    stage.advance(2)
    failure = stage.described()["failure"]
    texts = [failure["message"], *(cause["message"] for cause in failure["causes"])]
    assert any("continue_as_new() works only in the workflow itself, not in a handler" in text for text in texts)


def test_outside_of_a_workflow_it_is_refused() -> None:
    """Outside of a workflow it is refused."""
    with pytest.raises(NotInWorkflow, match="works only inside a workflow"):
        continue_as_new(Serves(0))


@workflow(name="continuing-fails")
async def fails_beside() -> str:
    """Continue in a group in which something else fails."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_fail())
        await asyncio.sleep(0)
        continue_as_new(by("call", False))


async def _fail() -> None:
    raise ValueError("no good")


def test_a_failure_beside_it_is_a_failure() -> None:
    """A group in which something failed as well fails the run."""
    stage = Stage(fails_beside, by)
    stage.start(fails_beside)
    described = stage.described()
    assert (described["type"], described["status"]) == ("continuing-fails", "failed")


@workflow(name="continuing-serves")
class Serves:
    """Continues when it is told to; its update takes a second."""

    def __init__(self, generation: int) -> None:
        self.generation, self.moves = generation, False

    @workflow.run
    async def run(self) -> int:
        """Wait, and go on twice."""
        await wait_condition(lambda: self.moves)
        if self.generation < 2:
            continue_as_new(Serves(self.generation + 1))
        return self.generation

    @workflow.signal
    def move(self) -> None:
        """End this run."""
        self.moves = True

    @workflow.update
    async def serve(self, n: int) -> int:
        """Answer after a second, with the generation."""
        await sleep(1)
        return 10 * n + self.generation

    @serve.validator
    def _check(self, n: int) -> None:
        if n < 0:
            raise ValueError("no such number")


def test_steady_updates_do_not_keep_a_run_from_continuing() -> None:
    """An update that comes when a run has begun to continue is held, and answered by the next run; others end first."""
    stage = Stage(Serves)
    stage.start(Serves, 0)
    replies: dict[str, Any] = {}
    for at in range(12):
        command = UpdateWorkflow(workflow_id="run-1", update="serve", input=b"%d" % at, message_id=f"u{at}")
        stage.replied(command)
        if at in {2, 6}:
            stage.signal("move")
        stage.advance(0.4)
        if at % 5 == 1:
            stage.restart()
    stage.advance(3)
    for at in range(12):
        command = UpdateWorkflow(workflow_id="run-1", update="serve", input=b"%d" % at, message_id=f"u{at}")
        replies[f"u{at}"] = stage.replied(command).result
    assert replies == {f"u{at}": b"%d" % (10 * at + (0 if at < 3 else 1 if at < 7 else 2)) for at in range(12)}
    assert stage.history()[0]["chain_length"] == 2


def test_an_update_that_cannot_be_taken_is_rejected_while_a_run_continues() -> None:
    """A run that is about to continue still judges updates: one that its validator refuses is not held."""
    stage = Stage(Serves)
    stage.start(Serves, 0)
    stage.update("serve", 1)
    stage.signal("move")
    assert stage.update("serve", -1).reason == "update_rejected"
    assert stage.update("no_such").reason == "unknown_update"
    stage.nodes[0].close()
