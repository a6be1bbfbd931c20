"""Do lines of workflow code say whose they are, and only once?"""

from __future__ import annotations

from typing import Any

import structlog

from penstock import sleep, workflow
from penstock.observe.logs import of_workflow
from tests.engine.stage import Stage

log = structlog.get_logger()


@workflow
async def talkative(n: int) -> None:
    log.info("before", n=n)
    await sleep(1)
    log.info("after")


def test_workflow_lines_carry_their_run_and_are_not_repeated() -> None:
    """Each line names workflow and run; a replay after eviction writes none of them again."""
    lines: list[Any] = []

    def keep(_: Any, __: str, facts: Any) -> Any:
        lines.append(dict(facts))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[of_workflow, keep])
    try:
        stage = Stage(talkative)
        run_id = stage.start(talkative, 1)
        stage.nodes[0].runs.clear()
        stage.advance(1)
    finally:
        structlog.configure(**before)
    assert [line["event"] for line in lines] == ["before", "after"]
    assert all((line["workflow_id"], line["run_id"]) == ("run-1", run_id) for line in lines)
