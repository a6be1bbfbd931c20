"""Activities that are completed from outside, in a whole engine."""

from __future__ import annotations

import asyncio
import queue

import pytest

from penstock import ActivityCancelled, ActivityNotPending, BadToken, CompleteLater, activity, activity_info, workflow
from penstock.testing.engine import TestEngine

tokens: queue.Queue[str] = queue.Queue()


@activity(retries=1, backoff=["10ms"])
async def asks_a_person(question: str) -> str:
    tokens.put(activity_info().token)
    raise CompleteLater


@workflow
async def asks(question: str) -> str:
    return f"they said {await asks_a_person(question)}"


def test_an_activity_is_completed_by_its_token() -> None:
    """The function ends, heartbeats and a failure come from outside, and the next attempt's token completes it."""

    async def main() -> str:
        async with TestEngine(asks, asks_a_person) as engine:
            client = engine.client
            run = await client.start(asks("why?"), id="asks-1")
            first = await asyncio.to_thread(tokens.get, timeout=20)
            await client.heartbeat(first, {"read": True})
            await client.fail(first, "on holiday")
            second = await asyncio.to_thread(tokens.get, timeout=20)
            with pytest.raises(ActivityNotPending, match="Attempt 1 of activity asks_a_person of asks-1 is over"):
                await client.complete(first, "late")
            with pytest.raises(ActivityCancelled):
                await client.heartbeat(first)
            with pytest.raises(BadToken):
                await client.complete("asks-1", "so")
            await client.complete(second, "so")
            return await run.result(timeout="20s")

    assert asyncio.run(main()) == "they said so"
