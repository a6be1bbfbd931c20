"""The example of onboarding: a month in a test, and with short days on both logs."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from examples.onboarding import Customer, left, onboarding, send_mail
from penstock import Client
from penstock.hosting.engine import Engine
from penstock.testing import TestEngine

ADDRESS = "ann@example.org"
ALL = ["welcome", "tips", "question"]
WAIT_S = 60


async def a_month() -> None:
    async with TestEngine(onboarding, send_mail) as engine:
        engine.mock(send_mail, "sent")
        assert await engine.client.execute(onboarding(Customer(ADDRESS)), id="ann") == ALL
        assert [called.arguments for called in engine.activities] == [(ADDRESS, template) for template in ALL]


def test_a_month_of_mails() -> None:
    """Within a month every mail is sent once, in a test that skips no time by itself."""
    asyncio.run(a_month())


def test_who_leaves_gets_no_more_mails() -> None:
    """A customer that leaves before the tips gets a goodbye instead, also when the run is restored at each step."""

    async def use() -> None:
        async with TestEngine(onboarding, send_mail) as engine:
            engine.mock(send_mail, "sent")
            engine.interrupt("every event")
            run = await engine.client.start(onboarding(Customer(ADDRESS)), id="ann")
            await run.signal(left, "too many mails")
            assert await run.result(timeout=WAIT_S) == ["welcome", "goodbye"]
            engine.assert_called(send_mail, ADDRESS, "goodbye", times=1)

    asyncio.run(use())


async def with_short_days(client: Client) -> None:
    """One customer gets all mails, another one leaves at once."""
    stays = await client.start(onboarding(Customer(ADDRESS, day_s=0.02)), id="stays")
    leaves = await client.start(onboarding(Customer(ADDRESS)), id="leaves")
    await leaves.signal(left, "too many mails")
    assert await leaves.result(timeout=WAIT_S) == ["welcome", "goodbye"]
    assert await stays.result(timeout=WAIT_S) == ALL


def in_real_time(url: str) -> None:
    async def run() -> None:
        namespace = f"examples-{uuid.uuid4().hex[:8]}"
        async with Engine([onboarding, send_mail], url, namespace=namespace) as engine, asyncio.timeout(2 * WAIT_S):
            await with_short_days(engine.client)

    asyncio.run(run())


def test_on_the_embedded_log() -> None:
    """It runs on the embedded log in real time."""
    in_real_time("embedded::memory:")


@pytest.mark.parametrize("log", ["kafka"])
def test_on_kafka(log: str, kafka_bootstrap: str) -> None:
    """It runs on Kafka in real time."""
    in_real_time(f"{log}://{kafka_bootstrap}")
