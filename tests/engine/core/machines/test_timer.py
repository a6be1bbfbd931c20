"""Tests of timers of workflow code."""

from __future__ import annotations

import asyncio

import pytest

from penstock.engine.authoring.workflow import workflow
from tests.engine.core import flows
from tests.engine.stage import Stage


@workflow
async def far_sleeper(seconds: float) -> str:
    try:
        async with asyncio.timeout(1):
            await asyncio.sleep(seconds)
    except TimeoutError:
        return "woken"
    return "slept"


@pytest.mark.parametrize("seconds", [1e12, 1e17, 1e300])
def test_a_timer_in_the_far_future_can_be_awaited_and_cancelled(seconds: float) -> None:
    """A timer of any length can be awaited and cancelled; a very distant one does not fire."""
    stage = Stage(far_sleeper)
    stage.start(far_sleeper, seconds)
    stage.advance(1)
    assert stage.described()["result"] == "woken"


def test_sleep_ends_at_its_due_time() -> None:
    """A durable sleep ends at its due time, not before, across a restart."""
    stage = Stage(flows.sleeper)
    stage.start(flows.sleeper, 3600)
    stage.advance(3599)
    assert stage.described()["status"] == "running"
    stage.restart()
    stage.advance(1)
    assert stage.described()["result"] == "3600.0"
