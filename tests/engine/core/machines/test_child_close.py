"""Tests of `parent_close`: what the end of a parent, however it ends, does to a child that is still open."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from penstock.engine.authoring.chain import continue_as_new
from penstock.engine.authoring.children import start_child
from penstock.engine.authoring.definition import ParentClose
from penstock.engine.authoring.workflow import workflow
from penstock.schemas.errors import WorkflowFailedError
from penstock.schemas.records.run import CancelWorkflow, TerminateWorkflow
from tests.engine.core import flows
from tests.engine.stage import Stage


@workflow
async def closes_over_kid(how: str, parent_close: ParentClose | None) -> None:
    await start_child(flows.approved(), id="kid", parent_close=parent_close)
    await flows.word.wait()
    if how == "fails":
        raise WorkflowFailedError("no")
    if how == "continues as new":
        continue_as_new(flows.sleeper(1))


def _replace(stage: Stage) -> None:
    stage.start(flows.sleeper, 1, on_existing="terminate_existing")


ENDS: dict[str, Callable[[Stage], object]] = {
    "completes": lambda stage: stage.signal("word", None),
    "fails": lambda stage: stage.signal("word", None),
    "continues as new": lambda stage: stage.signal("word", None),
    "is cancelled": lambda stage: stage.tell(CancelWorkflow(workflow_id="run-1", message_id="m")),
    "times out": lambda stage: stage.advance(60),
    "is terminated": lambda stage: stage.tell(TerminateWorkflow(workflow_id="run-1", message_id="m")),
    "is replaced": _replace,
}
TERMINATED = {"is terminated", "is replaced"}
STATUSES = {"cancel": "cancelled", "terminate": "terminated", "abandon": "running"}


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("parent_close", ["cancel", "terminate", "abandon", None])
def test_the_end_of_a_parent(how: str, parent_close: ParentClose | None) -> None:
    """However a parent ends, its child is treated as `parent_close` says; by default it is cancelled, and terminated
    with a terminated parent."""
    stage = Stage(closes_over_kid, flows.approved, flows.sleeper, shards=3)
    stage.start(closes_over_kid, how, parent_close, run_timeout_ms=60_000)
    ENDS[how](stage)
    expected = parent_close or ("terminate" if how in TERMINATED else "cancel")
    assert stage.described("kid")["status"] == STATUSES[expected]
    assert stage.described()["pending_children"] == []


def test_an_abandoned_child_ends_without_a_trace_in_its_parent() -> None:
    """The result of a child that its parent abandoned changes nothing in the parent, and is a completion of its own."""
    stage = Stage(closes_over_kid, flows.approved, shards=3)
    stage.start(closes_over_kid, "completes", "abandon")
    stage.signal("word")
    before = stage.events()
    stage.signal("price", 1, id="kid")
    assert stage.described("kid")["status"] == "completed"
    assert stage.events() == before
    assert [closed.workflow_id for closed in stage.sent["completions"]] == ["run-1", "kid"]


def test_a_policy_is_kept_in_the_row() -> None:
    """A parent that is rebuilt from its rows still treats its child as it said."""
    stage = Stage(closes_over_kid, flows.approved, shards=3)
    stage.start(closes_over_kid, "completes", "terminate")
    stage.restart()
    stage.signal("word")
    assert stage.described("kid")["status"] == "terminated"


@workflow
async def awaits_kid_with_a_policy() -> int:
    return await flows.five(1).options(id="kid", parent_close="abandon")


def test_a_call_has_a_policy_too() -> None:
    """A child that is simply awaited keeps the policy of its options when its parent is terminated."""
    stage = Stage(awaits_kid_with_a_policy, flows.five)
    stage.start(awaits_kid_with_a_policy)
    stage.terminate()
    assert stage.described("kid")["status"] == "running"


@workflow
async def bounds_kids() -> list[str]:
    seen = []
    for number, options in enumerate(({"run_timeout": 60}, {"execution_timeout": 60}, {"retries": 1, "backoff": [1]})):
        kid = await start_child(flows.approved() if number < 2 else flows.failing(1), id=f"kid-{number}", **options)  # type: ignore[arg-type]
        try:
            await kid.result()
        except Exception as error:
            seen.append(type(error).__name__)
    return seen


def test_bounds_and_retries_of_a_child() -> None:
    """Timeouts and retries that a parent gives take effect; it sees the last end alone."""
    stage = Stage(bounds_kids, flows.approved, flows.failing, shards=3)
    stage.start(bounds_kids)
    stage.advance(60)
    assert stage.described("kid-0")["failure"]["message"].startswith("it did not close within its run timeout")
    stage.advance(60)
    assert stage.described("kid-1")["failure"]["message"].startswith("it did not close within its execution timeout")
    assert stage.described()["status"] == "running"
    stage.advance(1)
    assert stage.described()["result"] == ["ChildWorkflowFailed"] * 3
    assert stage.events().count("ChildFailed") == 3
