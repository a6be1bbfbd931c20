"""The examples of runs that are talked to while they live: approval with escalation, subscription, monitor."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from examples import approval, monitor, subscription
from examples.approval import Approving, Expense, Status, Verdict
from examples.monitor import Watch, latest
from examples.subscription import Subscription, Terms
from penstock import Client, UpdateRejected
from penstock.engine.authoring import context
from penstock.hosting.engine import Engine
from penstock.testing import TestEngine

WAIT_S = 60
HOSTED: list[Any] = [approval, subscription, monitor]
TRIP = Expense(what="trip", amount=310, approvers=["ann", "bob"], patience="2d")
YEARS = 5
PERIODS_OF_A_YEAR = 12
Scenario = Callable[[Client], Awaitable[None]]


def in_skipped_time(scenario: Callable[[TestEngine], Awaitable[None]]) -> None:
    """Run the scenario in memory, where time can be skipped."""

    async def run() -> None:
        async with TestEngine(HOSTED) as engine, asyncio.timeout(2 * WAIT_S):
            await scenario(engine)

    asyncio.run(run())


def in_real_time(scenario: Scenario, url: str) -> None:
    """Run the scenario on the log at `url`, in a namespace of its own."""

    async def run() -> None:
        namespace = f"examples-{uuid.uuid4().hex[:8]}"
        async with Engine(HOSTED, url, namespace=namespace) as engine, asyncio.timeout(2 * WAIT_S):
            await scenario(engine.client)

    asyncio.run(run())


def activities(history: list[dict[str, Any]]) -> list[str]:
    """Names of the activities in the order in which the workflow requested them."""
    return [event["activity"] for event in history if event["event"] == "ActivityScheduled"]


def test_escalation() -> None:
    """When the first approver's time has passed, the second is asked, and may decide."""

    async def scenario(engine: TestEngine) -> None:
        run = await engine.client.start(Approving(TRIP), id="trip")
        await engine.skip("1d")
        assert await run.query(Approving.status) == Status(waits_for="ann", passed_over=[])
        await engine.skip("1d")
        assert await run.query(Approving.status) == Status(waits_for="bob", passed_over=["ann"])
        assert await run.update(Approving.decide, "bob", "approved") == Verdict(outcome="approved", by="bob")
        assert await run.result(timeout=WAIT_S) == Verdict(outcome="approved", by="bob")

    in_skipped_time(scenario)


def test_nobody_decides() -> None:
    """When the time of the last approver has passed, the expense expires."""

    async def scenario(engine: TestEngine) -> None:
        run = await engine.client.start(Approving(TRIP), id="trip")
        await engine.skip("4d")
        assert await run.result(timeout=WAIT_S) == Verdict(outcome="expired")

    in_skipped_time(scenario)


def test_only_the_asked_decide() -> None:
    """An update by somebody who was not asked yet is rejected, and leaves the expense as it was."""

    async def scenario(engine: TestEngine) -> None:
        run = await engine.client.start(Approving(TRIP), id="trip")
        await engine.skip("1h")
        with pytest.raises(UpdateRejected, match="bob was not asked"):
            await run.update(Approving.decide, "bob", "approved")
        assert (await run.query(Approving.status)).waits_for == "ann"

    in_skipped_time(scenario)


async def approve(client: Client) -> None:
    """Start an expense, let the first approver's time pass, and approve it as the second."""
    run = await client.start(Approving(TRIP.model_copy(update={"patience": "0.2s"})), id="trip")
    while "bob" not in (await run.query(Approving.status)).waits_for:
        await asyncio.sleep(0.02)
    assert await run.update(Approving.decide, "bob", "rejected") == Verdict(outcome="rejected", by="bob")
    assert await run.result(timeout=WAIT_S) == Verdict(outcome="rejected", by="bob")


async def subscribe(client: Client) -> None:
    """Let two runs of a chain pass with short periods, then end the subscription."""
    run = await client.start(Subscription(Terms(customer="ann", price=2, period="10ms")), id="sub")
    while (await run.query(Subscription.statement)).periods < 2 * subscription.PERIODS_OF_A_RUN:
        await asyncio.sleep(0.02)
    await run.signal(Subscription.end)
    account = await run.result(timeout=WAIT_S)
    assert account.paid == 2 * account.periods


async def watch_on(client: Client) -> None:
    """Let a monitor read a day, then cancel it."""
    run = await client.start(monitor.monitor(Watch(sensor="hall", above=30, every="1ms")), id="hall")
    while (await run.query(latest)).readings < 48:
        await asyncio.sleep(0.02)
    await run.cancel("the hall is closed")
    assert (await run.query(latest)).alarms >= 1


@pytest.mark.parametrize("scenario", [approve, subscribe, watch_on])
def test_on_the_embedded_log(scenario: Scenario) -> None:
    """Each example runs on the embedded log in real time."""
    in_real_time(scenario, "embedded::memory:")


@pytest.mark.parametrize("scenario", [approve, subscribe, watch_on])
def test_on_kafka(scenario: Scenario, kafka_bootstrap: str) -> None:
    """Each example runs on Kafka in real time."""
    in_real_time(scenario, f"kafka://{kafka_bootstrap}")


def test_years_of_a_subscription() -> None:
    """In five years every period is charged once, at the price of its time, and each run keeps a short history."""

    async def scenario(engine: TestEngine) -> None:
        run = await engine.client.start(Subscription(Terms(customer="ann", price=10, period="30d")), id="sub")
        for year in range(YEARS):
            await engine.skip(f"{30 * PERIODS_OF_A_YEAR}d")
            assert await run.update(Subscription.change_price, 11.0 + year) == Terms(customer="ann", price=11.0 + year)
        statement = await run.query(Subscription.statement)
        assert statement.periods == YEARS * PERIODS_OF_A_YEAR + 1
        assert statement.paid == PERIODS_OF_A_YEAR * sum(10 + year for year in range(YEARS)) + 10
        assert activities(await run.history()) == ["charge_period"]
        await run.signal(Subscription.end)
        assert await run.result(timeout=WAIT_S) == statement

    in_skipped_time(scenario)


def test_a_price_above_zero() -> None:
    """A price of nothing is rejected by the validator."""

    async def scenario(engine: TestEngine) -> None:
        run = await engine.client.start(Subscription(Terms(customer="ann", price=10)), id="sub")
        with pytest.raises(UpdateRejected, match="a price is above 0"):
            await run.update(Subscription.change_price, 0.0)
        await engine.skip("30d")
        assert (await run.query(Subscription.statement)).paid == 20

    in_skipped_time(scenario)


def test_a_monitor_keeps_its_history_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A monitor of a week goes on as new runs when its history is long, and counts on across them."""
    monkeypatch.setattr(context, "HISTORY_LONG", 200)

    async def scenario(engine: TestEngine) -> None:
        run = await engine.client.start(monitor.monitor(Watch(sensor="hall", above=30, every="1h")), id="hall")
        await engine.skip("7d")
        seen = await run.query(latest)
        assert (seen.readings, seen.alarms) == (7 * 24 + 1, 7)
        assert 0 < len(await run.history()) < 250

    in_skipped_time(scenario)
