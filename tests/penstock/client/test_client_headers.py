"""Tests of the headers of a start, from the client to activities and children."""

import asyncio

from penstock import activity, activity_info, info, workflow
from penstock.hosting.engine import Engine


@activity
def seen_by_activity() -> dict[str, str]:
    return activity_info().headers


@workflow
async def seen_by_child() -> dict[str, str]:
    return await seen_by_activity()


@workflow
async def seen() -> list[dict[str, str]]:
    return [info().headers, await seen_by_activity(), await seen_by_child()]


def test_headers_travel_from_the_client_to_activities_and_children() -> None:
    """What a client passes is seen by the workflow, its activities, and the activities of its child."""
    asyncio.run(_travel())


async def _travel() -> None:
    async with Engine([seen, seen_by_child, seen_by_activity], "embedded::memory:") as engine:
        run = await engine.client.start(seen(), headers={"tenant": "acme"})
        assert await run.result(timeout="30s") == [{"tenant": "acme"}] * 3
        plain = await engine.client.start(seen())
        assert await plain.result(timeout="30s") == [{}] * 3
