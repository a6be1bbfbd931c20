"""Tests of blocked runs that continue by themselves."""

from __future__ import annotations

import pytest

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
    stage.definitions.clear()
    stage.nodes[0].runs.clear()
    stage.complete(task, 1)
    assert stage.described()["blocked_reason"] == "unknown_type"
    stage.restart(flows.five)
    stage.run(add=lambda a, b: a + b)
    assert stage.described()["result"] == 11
