"""Tests of sagas, on a shard with simulated time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.engine.authoring.waiting import sleep
from penstock.engine.authoring.workflow import workflow
from penstock.patterns.saga import Saga
from penstock.schemas.failure import Failure
from penstock.schemas.records.run import CancelWorkflow
from tests.engine.core import flows
from tests.engine.stage import Stage


def test_saga_undoes_in_reverse() -> None:
    """A cancelled saga undoes its steps, the latest first, and the run ends cancelled."""
    stage = Stage(flows.travel)
    undone: list[str] = []
    stage.start(flows.travel, ["hotel", "car", "flight"])
    stage.run(book_place=lambda value: value)
    stage.tell(CancelWorkflow(workflow_id="run-1", reason="ill", message_id="m"))
    stage.run(unbook_place=undone.append)
    assert undone == ["flight", "car", "hotel"]
    assert stage.described()["status"] == "cancelled"


def test_saga_stops_pending_steps_and_undoes_all_that_were_scheduled() -> None:
    """When one of several parallel steps fails, the others end, and all that were scheduled are undone."""
    stage = Stage(flows.travel_together)
    stage.start(flows.travel_together, ["a", "b", "c"])
    first, second, third = stage.take("tasks")
    stage.complete(first, "a")
    stage.fail(second, Failure(type="app.Full", message="full", non_retryable=True))
    assert stage.events().count("ActivityStopRequested") == 1
    stage.complete(third, "c")
    undone: list[str] = []
    stage.run(unbook_place=undone.append)
    assert undone == ["c", "b", "a"]
    assert stage.described()["status"] == "failed"


async def _in_a_helper(name: str) -> str:
    async def helper() -> str:
        (found,) = await asyncio.gather(flows.book_place(name))
        return found

    return await helper()


@workflow
async def saga_ended_by_a_timeout(helper: bool) -> None:
    async with Saga() as saga, asyncio.timeout(5):
        call = _in_a_helper("hotel") if helper else flows.book_place("hotel")
        await saga.do(call, undo=flows.unbook_place("hotel"))


@workflow
async def saga_ended_by_a_step(helper: bool) -> None:
    async with Saga() as saga, asyncio.TaskGroup() as group:
        call = _in_a_helper("hotel") if helper else flows.book_place("hotel")
        group.create_task(saga.do(call, undo=flows.unbook_place("hotel")))
        group.create_task(saga.do(_raises()))


async def _raises() -> None:
    await sleep(5)
    raise LookupError("no seat")


@pytest.mark.parametrize("evicts", [False, True])
@pytest.mark.parametrize("ends", ["completed", "failed", "failed later"])
@pytest.mark.parametrize("helper", [False, True])
@pytest.mark.parametrize("flow", [saga_ended_by_a_timeout, saga_ended_by_a_step], ids=lambda flow: flow.name)
def test_an_undo_begins_when_the_attempt_has_ended(flow: Any, helper: bool, ends: str, evicts: bool) -> None:
    """The undo of a step that is cancelled while its activity runs waits for the attempt, which is the last."""
    stage = Stage(flow)
    stage.start(flow, helper)
    (book,) = stage.take("tasks")
    stage.advance(7 if ends == "failed later" else 5)
    assert stage.take("tasks") == []
    assert stage.described()["pending_activities"][0]["stopping"]
    if evicts:
        stage.nodes[0].runs.clear()
    if ends == "completed":
        stage.complete(book, "booked")
    else:
        stage.fail(book, Failure(type="app.Full", message="full"))
    (undo,) = stage.take("tasks")
    assert undo.activity == "unbook_place"
    stage.complete(undo, None)
    assert stage.described()["status"] == "failed"
    assert "ActivityCancelled" not in stage.events()


@pytest.mark.parametrize("evicts", [False, True])
def test_an_undo_waits_for_no_attempt_that_has_not_begun(evicts: bool) -> None:
    """A cancelled step whose activity waits for its next attempt is not tried again, and is undone at once."""
    stage = Stage(flows.travel)
    stage.start(flows.travel, ["hotel"])
    (book,) = stage.take("tasks")
    stage.fail(book, Failure(type="app.Full", message="full"))
    if evicts:
        stage.nodes[0].runs.clear()
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="m"))
    stage.advance(0.001)
    (undo,) = stage.take("tasks")
    assert undo.activity == "unbook_place"
    stage.complete(undo, None)
    assert stage.described()["status"] == "cancelled"


@pytest.mark.parametrize("evicts", [False, True])
def test_an_undo_waits_for_the_child_that_it_undoes(evicts: bool) -> None:
    """A cancelled step that is a child workflow is undone when the child has closed, after its own cleaning up."""
    stage = Stage(saga_with_a_child, flows.travel)
    stage.start(saga_with_a_child)
    stage.complete(stage.take("tasks")[0], "hotel")
    if evicts:
        stage.nodes[0].runs.clear()
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="m"))
    (undo_of_child,) = stage.take("tasks")
    assert (undo_of_child.workflow_id, undo_of_child.activity) == ("kid", "unbook_place")
    stage.complete(undo_of_child, None)
    assert stage.described("kid")["status"] == "cancelled"
    (undo,) = stage.take("tasks")
    assert (undo.workflow_id, undo.input) == ("run-1", b'"kid"')
    stage.complete(undo, None)
    assert stage.described()["status"] == "cancelled"


@workflow
async def saga_with_a_child() -> None:
    async with Saga() as saga:
        await saga.do(flows.travel(["hotel"]).options(id="kid"), undo=flows.unbook_place("kid"))


def test_a_step_without_an_undo_is_given_up_at_once() -> None:
    """A step without an undo is withdrawn when its saga is cancelled, as a call without a saga is."""
    stage = Stage(saga_without_undo)
    stage.start(saga_without_undo)
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="m"))
    assert stage.described()["status"] == "cancelled"
    assert "ActivityStopRequested" not in stage.events()


@workflow
async def saga_without_undo() -> None:
    async with Saga() as saga:
        await saga.do(flows.book_place("hotel"))


def test_saga_is_undone_though_cancelled_again() -> None:
    """A second request to cancel does not interrupt undoing."""
    stage = Stage(flows.travel)
    stage.start(flows.travel, ["hotel", "car"])
    stage.run(book_place=lambda value: value)
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="m1"))
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="m2"))
    undone: list[str] = []
    stage.run(unbook_place=undone.append)
    assert undone == ["car", "hotel"]


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("definition", "got the function book_place; write book_place(…)."),
        ("undo", "got the function unbook_place; write unbook_place(…)."),
        ("nothing", "saga.do takes a call such as reserve(…), not None."),
        ("not entered", "use it inside `async with Saga() as saga:`"),
    ],
)
def test_a_saga_that_is_used_wrongly(what: str, says: str) -> None:
    """A saga refuses at once what it cannot do or undo, before anything is requested."""
    stage = Stage(flows.mistakes_a_saga)
    stage.start(flows.mistakes_a_saga, what)
    assert says in stage.described()["failure"]["message"]
    assert "ActivityScheduled" not in stage.events()


def _buggy(value: Any) -> Any:
    return value.no_such_attribute


@workflow
async def saga_with_a_bug(names: list[str], caught: bool) -> str:
    try:
        async with Saga() as saga:
            for name in names:
                await saga.do(flows.book_place(name), undo=flows.unbook_place(name))
            _buggy(names)
    except AttributeError:
        if not caught:
            raise
        await flows.add(1, 2)
    return "booked"


async def _without_the_bug(names: list[str], caught: bool) -> str:
    async with Saga() as saga:
        for name in names:
            await saga.do(flows.book_place(name), undo=flows.unbook_place(name))
        await saga.do(flows.book_place("dinner"), undo=flows.unbook_place("dinner"))
    return "booked"


def test_a_saga_undoes_nothing_for_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug inside a saga undoes nothing: its run is BLOCKED, and mended code goes on with what is done."""
    stage = Stage(saga_with_a_bug)
    stage.start(saga_with_a_bug, ["hotel", "car"], False)
    stage.run(book_place=lambda name: name)
    assert stage.described()["blocked_reason"] == "code_error"
    assert stage.take("tasks") == []
    monkeypatch.setattr(saga_with_a_bug, "fn", _without_the_bug)
    stage.restart()
    assert [task.input for task in stage.sent["tasks"]] == [b'"dinner"']
    stage.run(book_place=lambda name: name)
    assert stage.described()["result"] == "booked"


@pytest.mark.parametrize("evicts", [False, True])
def test_code_may_catch_a_bug_that_a_saga_raised_again(evicts: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that catches the bug outside of the saga goes on, live and on replay, whatever `blocks_on` is by then."""
    stage = Stage(saga_with_a_bug)
    stage.start(saga_with_a_bug, ["hotel"], True)
    stage.complete(stage.take("tasks")[0], "hotel")
    if evicts:
        stage.nodes[0].runs.clear()
        monkeypatch.setattr(saga_with_a_bug, "blocks_on", ())
    stage.run(add=lambda a, b: a + b)
    assert stage.described()["result"] == "booked"


@pytest.mark.parametrize("evicts", [False, True])
def test_a_saga_undoes_after_a_bug_of_an_earlier_decision(evicts: bool) -> None:
    """A bug that was raised before the last wait fails its run, so the saga undoes its steps first."""
    stage = Stage(saga_with_a_late_bug)
    stage.start(saga_with_a_late_bug)
    undone: list[str] = []
    while tasks := stage.take("tasks"):
        for task in tasks:
            if evicts:
                stage.nodes[0].runs.clear()
            if task.activity == "unbook_place":
                undone.append(task.input.decode())
            stage.complete(task, None if task.activity == "unbook_place" else "x")
    assert undone == ['"hotel"']
    assert "raised in the decision of event 1 of the history" in stage.described()["failure"]["message"]


@workflow
async def saga_with_a_late_bug() -> None:
    async def background() -> None:
        _buggy(1)

    async with Saga() as saga:
        task = asyncio.create_task(background())
        await saga.do(flows.book_place("hotel"), undo=flows.unbook_place("hotel"))
        await task


def test_a_recorded_undo_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose saga undid after a bug, as code without `blocks_on` does, replays with code that has it."""
    stage = Stage(saga_with_a_bug)
    with monkeypatch.context() as patched:
        patched.setattr(saga_with_a_bug, "blocks_on", ())
        stage.start(saga_with_a_bug, ["hotel"], False)
        stage.complete(stage.take("tasks")[0], "hotel")
    stage.restart()
    undone: list[str] = []
    stage.run(unbook_place=undone.append)
    assert undone == ["hotel"]
    assert stage.described()["status"] == "failed"


def test_a_new_bug_in_a_saga_is_named_on_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    """New code that meets a bug inside a saga, while it repeats the past, is BLOCKED with the bug, not its undo."""

    async def buggy(names: list[str], caught: bool) -> str:
        async with Saga() as saga:
            await saga.do(flows.book_place(names[0]), undo=flows.unbook_place(names[0]))
            _buggy(names)
        return ""

    stage = Stage(saga_with_a_bug)
    stage.start(saga_with_a_bug, ["hotel", "car"], False)
    stage.complete(stage.take("tasks")[0], "hotel")
    (task,) = stage.take("tasks")
    monkeypatch.setattr(saga_with_a_bug, "fn", buggy)
    stage.restart()
    stage.complete(task, "car")
    assert stage.described()["blocked_reason"] == "code_error"
    assert "no_such_attribute" in stage.described()["blocked_message"]
