"""Test of the log lines of workflow code."""

from __future__ import annotations

from typing import Any

import structlog

from penstock import sleep, workflow
from penstock.observe.logs import bind_workflow
from tests.engine.stage import Stage

logger = structlog.get_logger()


@workflow
async def talkative(n: int) -> None:
    logger.info("before", n=n)
    await sleep(1)
    logger.info("after")


def test_workflow_lines_carry_their_run_and_are_not_repeated() -> None:
    """Each line has workflow id and run id; a replay after eviction does not repeat it."""
    lines: list[Any] = []

    def keep(_: Any, __: str, event_dict: Any) -> Any:
        lines.append(dict(event_dict))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[bind_workflow, keep])
    try:
        stage = Stage(talkative)
        run_id = stage.start(talkative, 1)
        stage.nodes[0].runs.clear()
        stage.advance(1)
    finally:
        structlog.configure(**before)
    assert [line["event"] for line in lines] == ["before", "after"]
    assert all((line["workflow_id"], line["run_id"]) == ("run-1", run_id) for line in lines)
