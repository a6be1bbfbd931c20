"""Tests of blocked runs that continue by themselves."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.workflow import workflow
from penstock.engine.execution.program import Program
from penstock.schemas.records.run import CancelWorkflow, TerminateWorkflow
from tests.engine.core import flows
from tests.engine.stage import Stage


def test_a_missing_topic_blocks_one_run_until_it_exists() -> None:
    """A queue without a topic blocks the run with the remedy; it continues by itself once the topic exists."""
    stage = Stage(flows.far_away, flows.five)
    stage.start(flows.far_away, 5)
    assert stage.described()["status"] == "blocked"
    assert "penstock topics apply" in stage.described()["blocked_message"]
    stage.start(flows.five, 1, id="neighbour")
    stage.run(add=lambda a, b: a + b)
    assert stage.described("neighbour")["status"] == "completed"
    stage.queues.add("elsewhere")
    for node in stage.nodes:
        node.blocked.try_again("missing_topic")
    stage.tick()
    stage.run(far=lambda value: value * 2)
    assert stage.described()["result"] == 10


def test_a_restart_unblocks_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that starts with mended code retries blocked runs by itself."""
    stage = Stage(flows.five)
    stage.start(flows.five, 1)
    (task,) = stage.take("tasks")
    stage.definitions.remove(flows.five.name)
    stage.nodes[0].runs.clear()
    stage.complete(task, 1)
    assert stage.described()["blocked_reason"] == "unknown_type"
    stage.restart(flows.five)
    stage.run(add=lambda a, b: a + b)
    assert stage.described()["result"] == 11


go = Signal("blocked-go")


@workflow
async def blocked_large(text: str) -> str:
    await go.wait()
    return text * 3


raised: list[type[BaseException]] = []


@workflow
async def blocked_exits() -> None:
    if raised:
        raise raised[0]
    await go.wait()


def test_a_retry_that_exits_leaves_the_run_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run of a BLOCKED run that raises SystemExit ends neither the shard nor the run."""
    stage = Stage(blocked_exits, queues=())
    stage.start(blocked_exits)
    with monkeypatch.context() as patched:
        patched.setattr(Program, "replay", _exit)
        stage.restart()
        stage.signal("blocked-go")
        stage.restart()
    assert stage.described()["status"] == "blocked"


@pytest.mark.parametrize("workflow", [flows.five, flows.sleeper, flows.parent])
def test_a_run_is_cancelled_although_what_it_awaited_has_ended(workflow: Any) -> None:
    """A BLOCKED run that records a cancellation, and then the end of what it awaits, is cancelled once it goes on."""
    stage = Stage(workflow, *({flows.five} - {workflow}))
    stage.start(workflow, "child" if workflow is flows.parent else 1)
    stage.definitions.remove(workflow.name)
    stage.restart()
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="cancel"))
    assert stage.described()["blocked_reason"] == "unknown_type"
    for task in stage.take("tasks"):
        stage.complete(task, 1)
    stage.tell(TerminateWorkflow(workflow_id="child", message_id="terminate"))
    stage.advance(10)
    assert stage.events()[-1] in {"ActivityCompleted", "TimerFired", "ChildFailed"}
    stage.restart(workflow)
    assert stage.described()["status"] == "cancelled"
    assert stage.events()[-2:] == ["WorkflowUnblocked", "WorkflowCancelled"]


def _exit(*_: object, **__: object) -> None:
    raise SystemExit


def test_a_run_that_is_still_too_large_is_not_unblocked() -> None:
    """A restart adds nothing to the history of a BLOCKED run whose result is still too large."""
    stage = Stage(blocked_large)
    stage.start(blocked_large, "x" * 400_000)
    stage.signal("blocked-go")
    before = len(stage.history())
    for _ in range(3):
        stage.restart()
    assert len(stage.history()) == before
