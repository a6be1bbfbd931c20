"""Tests of the activation of a run's code by its inputs."""

from __future__ import annotations

import pytest

from penstock.schemas.records.run import UnblockWorkflow
from tests.engine.core import flows
from tests.engine.stage import Stage


def test_changed_code_blocks_its_run_and_the_old_code_unblocks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that requests otherwise blocks its run with the difference; its inputs are kept and reach mended code."""

    async def other(n: int) -> int:
        return await flows.shaky(n)

    stage = Stage(flows.five)
    stage.start(flows.five, 1)
    (task,) = stage.take("tasks")
    good = flows.five.fn
    monkeypatch.setattr(flows.five, "fn", other)
    stage.restart()
    stage.complete(task, 1)
    described = stage.described()
    assert described["blocked_reason"] == "non_determinism" and "shaky" in described["blocked_message"]
    monkeypatch.setattr(flows.five, "fn", good)
    stage.tell(UnblockWorkflow(workflow_id="run-1", message_id="m"))
    stage.run(add=lambda a, b: a + b)
    assert stage.described()["result"] == 11
