"""Tests of children with handles: their start is awaited, they are signalled, cancelled, and their result is read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.engine.authoring.chain import continue_as_new
from penstock.engine.authoring.children import child, start_child
from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.waiting import sleep
from penstock.engine.authoring.workflow import workflow
from penstock.schemas.encoding.codec import decode
from penstock.schemas.errors import BadInput, ChildWorkflowFailed, NotInWorkflow
from penstock.schemas.records.child import ConfirmChild
from penstock.schemas.records.run import CancelWorkflow
from tests.engine.core import flows
from tests.engine.stage import Stage

go = Signal("go")


@workflow
async def starts_kid(id: str) -> list[Any]:
    kid = await start_child(flows.approved(), id=id)
    await go.wait()
    kid.signal(flows.price, 7)
    return [kid.id, await kid.result(), await kid.result()]


@workflow
class KidCounter:
    def __init__(self, begin: int) -> None:
        self.total = begin

    @workflow.signal
    def add(self, first: int, second: int) -> None:
        self.total += first + second

    @workflow.run
    async def run(self) -> int:
        await go.wait()
        return self.total


@workflow
async def counts_kids(id: str) -> list[int]:
    kid = await start_child(KidCounter(1), id=id)
    kid.signal(KidCounter.add, 2, 3)
    kid.signal(go)
    return [await kid.result(), await child(KidCounter(40), id=f"{id}-2", run_timeout="1m")]


@pytest.mark.parametrize("child_id", ["a", "b", "c"])
def test_a_started_child_is_signalled_and_its_result_read_twice(child_id: str) -> None:
    """A handle comes once the child has started, on any shard; it sends signals, and its result may be read again."""
    stage = Stage(starts_kid, flows.approved, shards=3)
    stage.start(starts_kid, child_id)
    (pending,) = stage.described()["pending_children"]
    assert (pending["workflow_id"], pending["state"]) == (child_id, "started")
    stage.restart()
    stage.signal("go")
    assert stage.described()["result"] == [child_id, "paid 7", "paid 7"]


def test_classes_are_children_too() -> None:
    """An object of a workflow class is started, signalled by its methods, and awaited by `child` with options."""
    stage = Stage(counts_kids, KidCounter, shards=3)
    stage.start(counts_kids, "kid")
    stage.signal("go", id="kid-2")
    assert stage.described()["result"] == [6, 40]
    assert stage.history("kid-2")[0]["run_timeout_ms"] == 60_000


def test_the_start_is_reported_once() -> None:
    """A child whose chain goes on as new reports the start of its first run alone."""
    stage = Stage(starts_kid_chain, chained_kid)
    stage.start(starts_kid_chain)
    assert stage.described()["result"] == 3
    assert stage.events().count("ChildStarted") == 1
    assert len([sent for sent in stage.sent["commands"] if type(sent).__name__ == "ConfirmChild"]) == 1


@workflow
async def chained_kid(left: int) -> int:
    if left:
        continue_as_new(chained_kid(left - 1))
    return 3


@workflow
async def starts_kid_chain() -> int:
    return await (await start_child(chained_kid(2))).result()


@workflow
async def takes_kid(id: str) -> str:
    try:
        await start_child(flows.approved(), id=id)
    except ChildWorkflowFailed as error:
        return f"{error.type}: {error.message}"
    return "started"


def test_a_taken_id_is_reported_at_the_start() -> None:
    """`start_child` raises when the id is taken, and names the run that has it."""
    stage = Stage(takes_kid, flows.approved, shards=3)
    taken = stage.start(flows.approved, id="kid")
    stage.start(takes_kid, "kid")
    assert stage.described()["result"] == f"already_exists: kid is taken by another run ({taken})."


@workflow
async def cancels_kid(id: str) -> str:
    kid = await start_child(flows.cleaner(), id=id)
    kid.cancel("enough")
    try:
        await kid.result()
    except ChildWorkflowFailed as error:
        return f"{error.failure.kind if error.failure else ''}: {error.message}"
    return "went on"


def test_cancelling_by_the_handle() -> None:
    """A child that is cancelled by its handle cleans up, and its parent waits for that."""
    stage = Stage(cancels_kid, flows.cleaner, shards=3)
    stage.start(cancels_kid, "kid")
    assert stage.described()["status"] == "running"
    stage.run(unbook_place=lambda name: None)
    assert stage.described()["result"] == "cancelled: enough"
    assert stage.events("kid").count("CancelRequested") == 1


@workflow
async def cancels_kid_and_itself(id: str) -> None:
    kid = await start_child(flows.cleaner(), id=id)
    await go.wait()
    kid.cancel("enough")
    await kid.result()


def test_a_child_cancelled_with_its_parent_receives_one_cancellation() -> None:
    """Cancelling a child and then its parent lets the child's code receive one cancellation."""
    stage = Stage(cancels_kid_and_itself, flows.cleaner, shards=3)
    stage.start(cancels_kid_and_itself, "kid")
    stage.signal("go")
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="m"))
    assert stage.described()["status"] == "cancelled"
    assert stage.events("kid").count("CancelRequested") == 1
    stage.run(unbook_place=lambda name: None)
    assert stage.described("kid")["status"] == "cancelled"


@workflow
async def gives_up_kid(id: str) -> list[str]:
    kid = await start_child(flows.cleaner(), id=id)
    seen = []
    try:
        async with asyncio.timeout(60):
            await kid.result()
    except TimeoutError:
        seen.append("late")
    try:
        await kid.result()
    except ChildWorkflowFailed as error:
        seen.append(error.message)
    return seen


def test_a_cancelled_wait_cancels_the_child() -> None:
    """A wait for a result that times out cancels the child, and a later wait says so."""
    stage = Stage(gives_up_kid, flows.cleaner, shards=3)
    stage.start(gives_up_kid, "kid")
    stage.advance(60)
    assert stage.described("kid")["cancel_requested"]
    assert stage.described()["result"] == [
        "late",
        "the child kid was asked to stop: a wait for its result was cancelled",
    ]


@workflow
async def shields_kid(id: str) -> str:
    kid = await start_child(flows.approved(), id=id)
    try:
        await asyncio.wait_for(asyncio.shield(kid.result()), 60)
    except TimeoutError:
        kid.signal("price", 3)
    return await kid.result()


def test_a_shielded_wait_leaves_the_child_alone() -> None:
    """A shielded wait that times out does not cancel the child."""
    stage = Stage(shields_kid, flows.approved, shards=3)
    stage.start(shields_kid, "kid")
    stage.advance(60)
    assert stage.described()["result"] == "paid 3"


@workflow
async def gives_up_starting(id: str) -> str:
    task = asyncio.create_task(start_child(flows.approved(), id=id))
    await sleep(0.001)
    task.cancel()
    await sleep(60)
    return "done"


def test_giving_up_a_start_cancels_the_child() -> None:
    """Code that no longer waits for a start withdraws the child: it is cancelled wherever it is."""
    stage = Stage(gives_up_starting, flows.approved)
    stage.start(gives_up_starting, "kid")
    stage.advance(1)
    assert stage.described("kid")["status"] == "running"  # it had started before: the handle is there, unused
    stage.advance(60)
    assert stage.described("kid")["status"] == "cancelled"


@workflow
async def gives_up_at_once(id: str) -> str:
    task = asyncio.create_task(start_child(flows.approved(), id=id))
    await asyncio.sleep(0)
    task.cancel()
    await sleep(60)
    return "done"


def test_giving_up_a_start_in_the_same_decision() -> None:
    """A start that is requested and given up in one decision leaves no child that runs."""
    stage = Stage(gives_up_at_once, flows.approved, shards=3)
    stage.start(gives_up_at_once, "kid")
    assert stage.described("kid")["status"] == "cancelled"
    stage.advance(60)
    assert stage.described()["result"] == "done"


@workflow
async def leaves_a_failure(id: str) -> str:
    await start_child(flows.failing(1), id=id)
    await go.wait()
    return "done"


def test_a_failure_without_a_waiter_is_no_lost_error(caplog: pytest.LogCaptureFixture) -> None:
    """A child that fails while its parent does not await it leaves no report of an error that no code received."""
    stage = Stage(leaves_a_failure, flows.failing)
    stage.start(leaves_a_failure, "kid")
    assert stage.described()["status"] == "running"
    stage.signal("go")
    assert stage.described()["result"] == "done"
    assert "no code" not in caplog.text


@workflow
async def forgets_to_wait() -> None:
    start_child(flows.approved())
    await go.wait()


@workflow
async def forgets_the_result() -> None:
    kid = await start_child(flows.approved())
    kid.result()
    await go.wait()


@pytest.mark.parametrize("code", [forgets_to_wait, forgets_the_result])
def test_a_forgotten_await_fails_the_run(code: Any) -> None:
    """A start, or a result, that is never awaited fails the run and names its line."""
    stage = Stage(code, flows.approved)
    stage.start(code)
    failure = stage.described()["failure"]
    assert failure["type"].endswith("CallNotAwaited")
    assert "test_child_handles.py" in failure["message"]


class LateStage(Stage):
    """A stage on which reports of started children are late."""

    late: list[Any]

    def _route(self, record: Any) -> None:
        if record.topic == self.topics.commands and isinstance(decode(record.value), ConfirmChild):
            self.late = [*getattr(self, "late", []), record]
        else:
            super()._route(record)

    def arrive(self) -> None:
        """Let the reports arrive."""
        for record in self.late:
            super()._route(record)
        self.settle()


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_a_blocked_parent_learns_of_the_start_later(is_cancelled: bool) -> None:
    """A start that is reported while the parent is BLOCKED reaches its code with what came after; a cancellation among
    it withdraws the child, which has started and not ended."""
    stage = LateStage(starts_kid, flows.approved)
    stage.start(starts_kid, "kid")
    assert stage.described()["pending_children"][0]["state"] == "pending"
    stage.restart(flows.approved)
    stage.signal("go")
    assert stage.described()["status"] == "blocked"
    stage.arrive()
    if is_cancelled:
        stage.tell(CancelWorkflow(workflow_id="run-1", message_id="c"))
    stage.restart(starts_kid, flows.approved)
    assert stage.described()["status"] == ("cancelled" if is_cancelled else "completed")
    assert ("ChildCancelRequested" in stage.events()) == is_cancelled
    assert stage.described("kid")["status"] == ("cancelled" if is_cancelled else "completed")


def test_a_result_that_overtakes_the_report_of_the_start() -> None:
    """A child whose end is known first has started; the late report changes nothing."""
    stage = LateStage(starts_kid_chain, chained_kid)
    stage.start(starts_kid_chain)
    stage.advance(1)
    assert stage.described()["result"] == 3
    stage.arrive()
    assert "ChildStarted" not in stage.events()


def test_an_unknown_policy_is_refused() -> None:
    """`parent_close` takes three words."""
    call = flows.approved()
    call.claim()
    with pytest.raises(BadInput, match="give one of cancel, terminate, abandon"):
        call.options(parent_close="ignore")  # type: ignore[arg-type]


def test_children_start_in_workflows_alone() -> None:
    """Outside of a workflow, starting a child raises."""

    async def outside() -> None:
        with pytest.raises(NotInWorkflow):
            await start_child(flows.approved(), id="kid")

    asyncio.run(outside())
