"""Tests of bugs in workflow code: a run that meets one is BLOCKED and goes on with mended code."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.waiting import sleep
from penstock.engine.authoring.workflow import workflow
from penstock.schemas.errors import ActivityFailedError, WorkflowFailedError
from penstock.schemas.failure import Failure
from penstock.schemas.records.run import CancelWorkflow, UnblockWorkflow
from tests.engine.core import flows
from tests.engine.stage import Stage

note = Signal("bugs-note", str)
nothing: Any = None


@workflow
async def bugs_claims(n: int) -> str:
    total = await flows.add(n, 1)
    return str(nothing.approved(total))


async def mended_claims(n: int) -> str:
    total = await flows.add(n, 1)
    return f"approved {total}, {await note.wait()}"


def retry(stage: Stage) -> None:
    stage.tell(UnblockWorkflow(workflow_id="run-1", message_id="retry"))


def blocked(stage: Stage) -> str:
    """The message of the run, which is BLOCKED by a bug."""
    described = stage.described()
    assert (described["status"], described["blocked_reason"]) == ("blocked", "code_error"), described
    return str(described["blocked_message"])


def test_a_bug_blocks_its_run_and_shows_the_traceback() -> None:
    """An AttributeError leaves its run BLOCKED with the traceback through the code, and drops no input."""
    stage = Stage(bugs_claims)
    stage.start(bugs_claims, 1)
    stage.run(add=lambda a, b: a + b)
    message = blocked(stage)
    assert "AttributeError: 'NoneType' object has no attribute 'approved'" in message
    assert "test_bugs.py" in message and "in bugs_claims" in message
    assert stage.events()[-2:] == ["ActivityCompleted", "WorkflowBlocked"]


@pytest.mark.parametrize("how", ["retry", "restart"])
def test_mended_code_goes_on(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a retry, or a restart of the processor, mended code reads all that was recorded since, and completes."""
    stage = Stage(bugs_claims)
    stage.start(bugs_claims, 1)
    stage.run(add=lambda a, b: a + b)
    stage.signal("bugs-note", "by ann")
    assert blocked(stage)
    monkeypatch.setattr(bugs_claims, "fn", mended_claims)
    if how == "retry":
        retry(stage)
    else:
        stage.restart()
    assert stage.described()["result"] == "approved 2, by ann"
    assert stage.events().count("ActivityScheduled") == 1


def test_code_that_was_not_mended_stays_blocked() -> None:
    """A restart adds nothing to the history of a run whose code still has its bug; a retry says so again."""
    stage = Stage(bugs_claims)
    stage.start(bugs_claims, 1)
    stage.run(add=lambda a, b: a + b)
    before = stage.events()
    stage.restart()
    assert stage.events() == before
    retry(stage)
    assert stage.events() == [*before, "WorkflowUnblocked", "WorkflowBlocked"]
    assert "approved" in blocked(stage)


@workflow
async def bugs_requests(where: str) -> str:
    if where == "later":
        await flows.go.wait()
    task = asyncio.create_task(flows.add(1, 2))
    await asyncio.sleep(0)
    raise NameError(f"{where} {task}")


@pytest.mark.parametrize("where", ["start", "later"])
def test_the_requests_of_its_activation_are_dropped(where: str) -> None:
    """What the code asked for since its last wait is not done: mended code asks for it again."""
    stage = Stage(bugs_requests)
    stage.start(bugs_requests, where)
    if where == "later":
        stage.signal("go")
    assert blocked(stage).count("NameError")
    assert stage.take("tasks") == []
    assert "ActivityScheduled" not in stage.events()


def test_a_run_that_meets_a_bug_at_its_start_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start is accepted, its run is BLOCKED, and mended code begins it."""
    stage = Stage(bugs_requests)
    stage.start(bugs_requests, "start", reply_to=0)
    assert [type(reply).__name__ for reply in stage.take("replies")] == ["Accepted"]
    assert blocked(stage)
    monkeypatch.setattr(bugs_requests, "fn", _returns)
    stage.restart()
    assert stage.described()["result"] == "start"


async def _returns(where: str) -> str:
    return where


@workflow
async def bugs_naps() -> None:
    await sleep(5)
    nothing()


def test_a_timer_that_meets_a_bug_fires_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A due timer whose code meets a bug is recorded, and not due again."""

    async def mended() -> str:
        await sleep(5)
        return "rested"

    stage = Stage(bugs_naps)
    stage.start(bugs_naps)
    stage.advance(20)
    assert blocked(stage) and stage.events().count("TimerFired") == 1
    monkeypatch.setattr(bugs_naps, "fn", mended)
    retry(stage)
    assert stage.described()["result"] == "rested"


@workflow
async def bugs_cleans_up() -> None:
    try:
        await flows.go.wait()
    except asyncio.CancelledError:
        nothing()


def test_a_cancellation_that_meets_a_bug_reaches_mended_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request to cancel is kept for the mended code."""

    async def mended() -> None:
        await flows.go.wait()

    stage = Stage(bugs_cleans_up)
    stage.start(bugs_cleans_up)
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="m"))
    assert blocked(stage)
    monkeypatch.setattr(bugs_cleans_up, "fn", mended)
    retry(stage)
    assert stage.described()["status"] == "cancelled"


class Oddity(AttributeError):
    """A bug of a library's own class."""


def _recurses() -> None:
    _recurses()


def _raises(error: BaseException) -> Callable[[], None]:
    def raise_it() -> None:
        raise error

    return raise_it


_BUGS: dict[str, Callable[[], Any]] = {
    "unbound": _raises(UnboundLocalError("x")),
    "import": lambda: __import__("no_such_module_of_bugs"),
    "type": lambda: nothing + 1,
    "recursion": _recurses,
    "subclass": _raises(Oddity("x")),
    "group": _raises(ExceptionGroup("together", [ValueError("x"), ExceptionGroup("below", [TypeError("y")])])),
}
_ON_PURPOSE: dict[str, Callable[[], Any]] = {
    "failed": _raises(WorkflowFailedError("no")),
    "value": _raises(ValueError("no")),
    "key": _raises(KeyError("no")),
    "group": _raises(ExceptionGroup("together", [ValueError("x")])),
    "activity": _raises(ActivityFailedError(failure=Failure(type="TypeError", message="no"))),
}


@workflow
async def bugs_kinds(which: str, purpose: bool) -> None:
    (_ON_PURPOSE if purpose else _BUGS)[which]()


@pytest.mark.parametrize("which", _BUGS)
def test_each_kind_of_bug_blocks(which: str) -> None:
    """NameError, AttributeError, TypeError, ImportError, RecursionError, their subclasses and groups of them block."""
    stage = Stage(bugs_kinds)
    stage.start(bugs_kinds, which, False)
    assert len(blocked(stage)) < 4_500


@pytest.mark.parametrize("which", _ON_PURPOSE)
def test_what_is_raised_on_purpose_fails(which: str) -> None:
    """WorkflowFailedError, ValueError, a KeyError and the failures of activities fail the run."""
    stage = Stage(bugs_kinds)
    stage.start(bugs_kinds, which, True)
    assert stage.described()["status"] == "failed"


@workflow
async def bugs_of_others() -> None:
    await flows.shaky(1)


def test_an_activity_s_type_error_fails_the_run() -> None:
    """An activity that fails with a TypeError fails its run, as any failure does."""
    stage = Stage(bugs_of_others)
    stage.start(bugs_of_others)
    (task,) = stage.take("tasks")
    stage.fail(task, Failure(type="TypeError", message="bad", non_retryable=True))
    assert stage.described()["status"] == "failed"


@workflow
async def bugs_in_a_callback() -> None:
    asyncio.get_running_loop().call_soon(lambda: nothing.value)
    await flows.go.wait()


def test_a_bug_in_a_callback_blocks() -> None:
    """A callback of the loop that meets a bug blocks its run, as the code itself would."""
    stage = Stage(bugs_in_a_callback)
    stage.start(bugs_in_a_callback)
    assert "AttributeError" in blocked(stage)


@workflow(blocks_on=())
async def bugs_fail() -> None:
    nothing()


class Overdrawn(Exception):
    """An error of the application."""


@workflow(blocks_on=(Overdrawn,))
async def bugs_of_the_application(own: bool) -> None:
    raise Overdrawn if own else AttributeError("x")


def test_blocks_on_changes_the_set() -> None:
    """`blocks_on` names the errors that block; with `()` each bug fails its run."""
    stage = Stage(bugs_fail, bugs_of_the_application)
    stage.start(bugs_fail)
    assert stage.described()["failure"]["type"] == "TypeError"
    stage.start(bugs_of_the_application, True, id="own")
    stage.start(bugs_of_the_application, False, id="other")
    assert [stage.described(id)["status"] for id in ("own", "other")] == ["blocked", "failed"]


def test_a_history_in_which_a_bug_failed_the_run_replays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that an earlier version of the code, without `blocks_on`, failed is rebuilt to its end."""
    stage = Stage(bugs_claims)
    with monkeypatch.context() as patched:
        patched.setattr(bugs_claims, "blocks_on", ())
        stage.start(bugs_claims, 1)
        stage.run(add=lambda a, b: a + b)
    assert stage.described()["status"] == "failed"
    execution = stage.nodes[0].runs.get("run-1").execution()
    assert execution.listening() is None


def test_a_new_bug_in_what_was_done_before_is_a_code_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """New code that meets a bug while it repeats the past blocks with the traceback, and mended code goes on."""

    async def buggy(n: int) -> str:
        return await undefined_name(n)  # type: ignore[name-defined]  # noqa: F821

    stage = Stage(bugs_claims)
    stage.start(bugs_claims, 1)
    (task,) = stage.take("tasks")
    with monkeypatch.context() as patched:
        patched.setattr(bugs_claims, "fn", buggy)
        stage.restart()
        stage.complete(task, 2)
        assert "undefined_name" in blocked(stage)
    monkeypatch.setattr(bugs_claims, "fn", mended_claims)
    retry(stage)
    stage.signal("bugs-note", "late")
    assert stage.described()["result"] == "approved 2, late"
