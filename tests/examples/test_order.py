"""Does the README's example do what it says: approved, declined, rejected?"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from examples import order
from examples.order import Approval, CardDeclined, Order, approval, fulfil
from penstock import Client, WorkflowFailed
from penstock.embedding import Engine

WAIT_S = 30
HOSTED: list[Any] = [
    order.fulfil,
    order.ship,
    order.reserve,
    order.release,
    order.charge,
    order.refund,
    order.hand_over,
]


def on_an_engine(story: Callable[[Client], Awaitable[None]]) -> None:
    """Run the story with a processor and a worker in this process, on a log in memory."""

    async def run() -> None:
        async with Engine(HOSTED, "embedded::memory:") as engine, asyncio.timeout(2 * WAIT_S):
            await story(engine.client)

    asyncio.run(run())


def activities(history: list[dict[str, Any]]) -> list[str]:
    """Names of the activities in the order in which the workflow asked for them."""
    return [event["activity"] for event in history if event["event"] == "ActivityScheduled"]


def test_small_order() -> None:
    """A small order is reserved, charged, and shipped by a child workflow, with nobody asked."""

    async def story(client: Client) -> None:
        small = Order(id="o-1", total=12.5, items=["apple", "pear"], rest="10ms")
        run = await client.start(fulfil(small), id="o-1")
        assert await run.result(timeout=WAIT_S) == "TRACK-O-1"
        assert activities(await run.history()) == ["reserve", "reserve", "charge"]
        assert await client.result("ship-o-1", timeout=WAIT_S) == "TRACK-O-1"

    on_an_engine(story)


def test_approved() -> None:
    """A large order waits for its approval and then goes through; an approval that came early counts."""

    async def story(client: Client) -> None:
        large = Order(id="o-2", total=1_250, items=["lamp"], rest="10ms")
        run = await client.start(fulfil(large), id="o-2")
        await run.signal(approval, Approval(ok=True, by="ann"))
        assert await run.result(timeout=WAIT_S) == "TRACK-O-2"

    on_an_engine(story)


def test_rejected() -> None:
    """A rejected order says who rejected it; what was reserved is released, and no card is charged."""

    async def story(client: Client) -> None:
        large = Order(id="o-3", total=1_250, items=["lamp", "desk"], rest="10ms")
        run = await client.start(fulfil(large), id="o-3")
        await run.signal(approval, Approval(ok=False, by="bob"))
        with pytest.raises(WorkflowFailed, match="rejected by bob"):
            await run.result(timeout=WAIT_S)
        assert activities(await run.history()) == ["reserve", "reserve", "release", "release"]

    on_an_engine(story)


def test_declined() -> None:
    """A declined card is tried once; then the charge is refunded and the items released, in reverse order."""

    async def story(client: Client) -> None:
        huge = Order(id="o-4", total=200_000, items=["lamp", "desk"], rest="10ms")
        run = await client.start(fulfil(huge), id="o-4")
        await run.signal(approval, Approval(ok=True, by="ann"))
        with pytest.raises(WorkflowFailed, match="the card of o-4 is not good for 200000.00") as caught:
            await run.result(timeout=WAIT_S)
        failure = caught.value.failure
        assert failure is not None
        assert CardDeclined.__name__ in " ".join([failure.type, *(cause.type for cause in failure.causes)])
        history = await run.history()
        assert activities(history) == ["reserve", "reserve", "charge", "refund", "release", "release"]
        released = [event["input"]["sku"] for event in history if event.get("activity") == "release"]
        assert released == ["desk", "lamp"]

    on_an_engine(story)
