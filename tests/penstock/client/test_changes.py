"""Tests of changes of pending activities by a client."""

from __future__ import annotations

import asyncio

import pytest

from penstock import Engine, activity, workflow
from penstock.schemas.errors import BadDuration, CommandRejected

calls: list[str] = []


@activity(name="changed-picks", backoff=["1h"])
async def picks(place: str) -> str:
    calls.append(place)
    if len(calls) == 1:
        raise ValueError("not yet")
    return place


@workflow(name="changed-run")
async def changed_run(place: str) -> str:
    return await picks(place)


def test_an_activity_goes_on_in_another_queue() -> None:
    """An activity that would wait an hour begins at once, by name, from an async client; wrong options are refused."""

    async def use() -> str:
        async with Engine([changed_run, picks], "embedded::memory:") as engine:
            run = await engine.client.start(changed_run("a"), id="changed-1")
            while not (await run.describe())["pending_activities"][0]["retry_ms"]:
                await asyncio.sleep(0.01)
            with pytest.raises(CommandRejected, match="changes no option"):
                await run.change_activity("changed-picks")
            with pytest.raises(BadDuration):
                await run.change_activity("changed-picks", timeout="soon")
            await run.change_activity("changed-picks", timeout=None, retries=3, backoff=2.0, now=True, by="ann")
            return await run.result("30s")

    calls.clear()
    assert (asyncio.run(use()), calls) == ("a", ["a", "a"])
