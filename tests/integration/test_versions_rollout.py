"""Test of a version that is rolled out under load, while many runs of the one before are open."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from penstock.client.client import Client
from penstock.config import Settings
from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.workflow import workflow
from penstock.hosting.engine import Engine
from penstock.schemas.records.run import WorkflowBlocked, WorkflowStarted
from penstock.topics.catalogue import Topics
from penstock.topics.connect import connect
from penstock.workers.activity.decorator import activity
from tests.integration.checks import decisions, histories

WAIT_S, SHARDS = 120.0, 4
go = Signal("rollout-go", int)


@activity(name="rollout-add")
def add(a: int, b: int) -> int:
    return a + b


@workflow(name="rollout", version=1)
async def first(number: int) -> list[int]:
    return [1, await add(number, await go.wait())]


@workflow(name="rollout", version=2)
async def second(number: int) -> list[int]:
    total = await add(number, 0)
    return [2, await add(total, await go.wait())]


class Place:
    """A namespace, and the engines in it."""

    def __init__(self, url: str, data: Path) -> None:
        self.url, self.data, self.namespace = url, data, f"rollout-{uuid.uuid4().hex[:10]}"

    @asynccontextmanager
    async def engine(self, name: str, *hosted: Any) -> AsyncIterator[Engine]:
        settings = Settings(log=self.url, namespace=self.namespace, shards=SHARDS, data=str(self.data / name))
        async with Engine([*hosted, add], settings=settings) as engine:
            yield engine

    def histories(self) -> dict[str, list[Any]]:
        """Events of each run, by workflow id."""
        log = connect(self.url)
        try:
            found = histories(decisions(log, Topics(self.namespace), SHARDS))
        finally:
            log.close()
        return {id: found[id, run_id] for id, run_id in found}


@pytest.mark.parametrize(("log", "count"), [("embedded", 1_000), ("kafka", 60)])
def test_a_version_is_rolled_out_under_load(
    request: pytest.FixtureRequest, tmp_path: Path, log: str, count: int
) -> None:
    """While two processors are replaced in turn, open runs of version 1 stay on it and complete; new runs complete on
    either version, and on version 2 once the last old processor has left. None is blocked or lost."""
    kafka = log == "kafka"
    url = f"kafka://{request.getfixturevalue('kafka_bootstrap')}" if kafka else f"embedded:{tmp_path}/log.sqlite3"
    place = Place(url, tmp_path)
    ids = [f"open-{n}" for n in range(count)]
    asyncio.run(asyncio.wait_for(_roll(place, ids), 300))
    found = place.histories()
    versions = {
        id: event.version for id, events in found.items() for event in events if isinstance(event, WorkflowStarted)
    }
    assert {versions[id] for id in ids} == {1}
    assert versions["last"] == 2
    assert not [id for id, events in found.items() if any(isinstance(event, WorkflowBlocked) for event in events)]


async def _roll(place: Place, ids: list[str]) -> None:
    settings = Settings(log=place.url, namespace=place.namespace)
    async with AsyncExitStack() as olds, AsyncExitStack() as news:
        one, two = AsyncExitStack(), AsyncExitStack()
        await one.enter_async_context(place.engine("old-1", first))
        await two.enter_async_context(place.engine("old-2", first))
        client = await olds.enter_async_context(Client(settings=settings))
        async for _, _, error in client.start_many(("rollout", b"%d" % n, id) for n, id in enumerate(ids)):
            assert error is None, error
        over = asyncio.Event()
        load = asyncio.create_task(_load(client, over))
        await news.enter_async_context(place.engine("new-1", first, second))
        await one.aclose()
        await _signal(client, ids[::2])
        await news.enter_async_context(place.engine("new-2", first, second))
        await two.aclose()
        over.set()
        started = await load
        assert started > 0
        await _signal(client, ids[1::2])
        await _until_second(client)
        for n, id in enumerate(ids):
            assert await client.result(id, timeout=WAIT_S) == [1, n + 7], id


async def _load(client: Client, over: asyncio.Event) -> int:
    """Start runs and bring them to their end until `over`; returns their number."""
    count = 0
    while not over.is_set():
        id = f"load-{count}"
        await client.start(second(count), id=id)
        await client.signal(id, go, 7)
        assert (await client.result(id, timeout=WAIT_S))[1] == count + 7
        count += 1
    return count


async def _signal(client: Client, ids: list[str]) -> None:
    for at in range(0, len(ids), 100):
        await asyncio.gather(*(client.signal(id, go, 7) for id in ids[at : at + 100]))


async def _until_second(client: Client) -> None:
    """Wait until new runs take version 2: the announcements of the old processors are gone."""
    run = None
    async with asyncio.timeout(WAIT_S):
        while run is None or (await client.describe("last"))["version"] != 2:
            run = await client.start(second(1), id="last", on_existing="terminate_existing")
            await asyncio.sleep(0.2)
