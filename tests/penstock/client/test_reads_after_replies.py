"""Test of reads right after a reply."""

from __future__ import annotations

import asyncio
from pathlib import Path

from penstock import WorkflowFailedError, workflow
from penstock.hosting.engine import Engine


@workflow
async def doomed(n: int) -> None:
    raise WorkflowFailedError(f"number {n}")


async def _last_events(url: str) -> set[str]:
    found: set[str] = set()
    async with Engine([doomed], url) as engine:
        for n in range(30):
            run = await engine.client.start(doomed(n), id=f"run-{n}")
            try:
                await run.result(timeout="20s")
            except WorkflowFailedError:
                found.add((await run.history())[-1]["event"])
    return found


def test_history_has_the_end_after_result(tmp_path: Path) -> None:
    """Once result() has raised, the history ends with the failure."""
    assert asyncio.run(_last_events(f"embedded:{tmp_path}/log.sqlite3")) == {"WorkflowFailed"}
