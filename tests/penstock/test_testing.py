"""Can users test their workflows without waiting and without a broker?"""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest

from penstock import WorkflowFailed, activity, sleep, workflow
from penstock.testing import TestEngine


@activity
def greet(name: str) -> str:
    return f"hello {name}"


@workflow
async def patient(name: str) -> str:
    await sleep("30d")
    return await greet(name)


@workflow
async def careless() -> str:
    return str(dt.datetime.now(dt.UTC))


async def _skipped() -> str:
    async with TestEngine(patient, greet) as engine:
        run = await engine.client.start(patient("ann"), id="greeting")
        engine.skip("30d")
        return await run.result(timeout="20s")


async def _caught() -> str:
    async with TestEngine(careless) as engine:
        run = await engine.client.start(careless(), id="careless")
        with pytest.raises(WorkflowFailed) as caught:
            await run.result(timeout="20s")
        return str(caught.value)


def test_thirty_days_pass_at_once() -> None:
    """A durable sleep of 30 days ends when the test skips them."""
    assert asyncio.run(_skipped()) == "hello ann"


def test_the_real_clock_is_refused() -> None:
    """datetime.now() in workflow code fails the run and names the replacement."""
    assert "now()" in asyncio.run(_caught())
