"""Tests of child workflows: results, refused starts, and parents that close."""

from __future__ import annotations

import asyncio

import pytest

from penstock.engine.authoring.workflow import workflow
from penstock.schemas.errors import ChildWorkflowFailed
from penstock.schemas.records.run import TerminateWorkflow
from tests.engine.core import flows
from tests.engine.stage import Stage


@workflow
async def own_child() -> str:
    child = asyncio.create_task(flows.five(1).options(id="run-1"))
    try:
        await child
    except ChildWorkflowFailed as error:
        return f"refused: {error.type}"
    return "ran"


def test_a_child_under_its_parents_id_is_refused() -> None:
    """A run cannot be its own child: its code receives the refusal and continues."""
    stage = Stage(own_child, flows.five)
    stage.start(own_child)
    assert stage.described()["result"] == "refused: already_exists"


@pytest.mark.parametrize("child_id", ["a", "b", "c", "d"])
def test_child_on_another_shard(child_id: str) -> None:
    """A child runs on the shard of its own id, and its result reaches the parent."""
    stage = Stage(flows.parent, flows.five, shards=3)
    stage.start(flows.parent, child_id)
    stage.run(add=lambda a, b: a + b)
    assert stage.described()["result"] == "child said 11"


def test_child_that_cannot_start() -> None:
    """A parent's code receives the reason when its child's id is taken."""
    stage = Stage(flows.parent, flows.five, flows.approved, shards=3)
    stage.start(flows.approved, id="taken")
    stage.start(flows.parent, "taken")
    assert "taken is taken by another run" in stage.described()["result"]


def test_terminating_a_parent_ends_its_children() -> None:
    """Children of a terminated run are terminated with it."""
    stage = Stage(flows.parent, flows.five, shards=3)
    stage.start(flows.parent, "kid")
    stage.tell(TerminateWorkflow(workflow_id="run-1", message_id="m"))
    assert stage.described("kid")["status"] == "terminated"
