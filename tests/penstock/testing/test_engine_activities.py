"""Activities with heartbeats and bounds, in a whole engine."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from penstock.engine.authoring.workflow import workflow
from penstock.schemas.errors import ActivityFailedError
from penstock.testing.engine import TestEngine
from penstock.workers.activity.decorator import activity
from penstock.workers.activity.heartbeats import heartbeat, heartbeat_details

seen: list[Any] = []
silent = threading.Event()
told: list[str] = []


@activity(heartbeat="500ms", backoff=["10ms"], retries=3)
def pages(last: int) -> int:
    done = heartbeat_details(int, 0)
    seen.append(done)
    for page in range(done + 1, last + 1):
        heartbeat(page)
        if page == 3 and done < 3:
            raise OSError("the connection was lost")
    return last


@activity(heartbeat="300ms", retries=0)
def hangs() -> None:
    silent.wait(20)


@workflow
async def reads_pages(last: int) -> int:
    return await pages(last)


@activity
async def endless(name: str) -> None:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        told.append(name)
        raise


@workflow
async def waits_for_ever(name: str) -> None:
    await endless(name)


@workflow
async def waits_for_a_moment(name: str) -> str:
    try:
        await asyncio.wait_for(endless(name), 0.3)
    except TimeoutError:
        return "gave up"
    return "ended"


@workflow
async def waits_for_silence() -> str:
    try:
        await hangs()
    except ActivityFailedError as failed:
        return failed.message
    return "ended"


def test_the_next_attempt_goes_on_where_the_last_one_stopped() -> None:
    """Details of throttled heartbeats reach the next attempt as well."""

    async def main() -> int:
        async with TestEngine(reads_pages, pages) as engine:
            return await engine.client.execute(reads_pages(5), id="pages-1")

    seen.clear()
    assert asyncio.run(main()) == 5
    assert seen == [0, 3]


def test_a_silent_activity_fails_by_the_shard_s_clock() -> None:
    """An attempt that sends no heartbeat fails while its function goes on."""

    async def main() -> str:
        async with TestEngine(waits_for_silence, hangs) as engine:
            message = await engine.client.execute(waits_for_silence(), id="silent-1")
            silent.set()
            return message

    assert asyncio.run(main()) == "Activity hangs sent no heartbeat within its heartbeat of 0.3 s."


@pytest.mark.parametrize("how", ["cancel", "terminate", "race"])
def test_an_activity_learns_that_no_run_waits_for_it(how: str) -> None:
    """An async activity is cancelled when its run was cancelled or terminated, and when it lost a race."""

    async def main() -> list[str]:
        async with TestEngine(waits_for_ever, waits_for_a_moment, endless) as engine:
            flow = waits_for_a_moment if how == "race" else waits_for_ever
            run = await engine.client.start(flow(how), id="endless-1")
            while not (await run.describe())["pending_activities"]:
                await asyncio.sleep(0.01)
            if how == "cancel":
                await run.cancel()
            elif how == "terminate":
                await run.terminate()
            async with asyncio.timeout(20):
                while not told:
                    await asyncio.sleep(0.01)
            return told

    told.clear()
    assert asyncio.run(main()) == [how]
