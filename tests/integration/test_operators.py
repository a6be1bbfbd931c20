"""Test that what an operator does to a run holds across processors that replace each other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from penstock.client.client import Client
from penstock.client.run import Run
from penstock.schemas.errors import WorkflowNotFound
from tests.integration import checks, flows
from tests.integration.system import System


def test_operators_commands_hold_across_processors(system: System) -> None:
    """A run that is paused, resumed and reset to each half of its way ends right, whichever process decides it."""
    system.start_worker()
    processor = system.start_processor()

    def act(do: Callable[[Run[Any]], Awaitable[Any]]) -> Any:
        return asyncio.run(_with_run(system, do))

    def act_and_replace(do: Callable[[Run[Any]], Awaitable[Any]]) -> None:
        """Do something to the run, and replace the processor."""
        nonlocal processor
        act(do)
        assert system.end(processor) == 0, system.child_log(processor)
        processor = system.start_processor()

    async def begin(run: Run[Any]) -> None:
        async with Client(system.url, namespace=system.namespace) as client:
            await client.start(flows.summed(1), id=run.id)

    act(begin)
    act_and_replace(lambda run: run.pause("look into it", by="ann"))
    act_and_replace(lambda run: run.signal(flows.more, 10))
    assert act(lambda run: run.describe())["status"] == "paused"
    act_and_replace(lambda run: run.resume(by="ann"))
    act(lambda run: run.signal(flows.more, 100))
    assert act(lambda run: run.result("30s")) == [1, 11, 111]
    ended = act(lambda run: run.history())
    kept = next(event["number"] for event in ended if event["event"] == "ActivityCompleted") - 1
    for to_event in (kept, 0, 1):
        act_and_replace(lambda run, to_event=to_event: run.reset(to_event=to_event, reason="again", by="ann"))
        assert act(lambda run: run.result("30s")) == [1, 11, 111]
    runs = checks.histories(checks.decisions(system.log, system.topics, system.shards))
    assert len([id for id, _ in runs if id == "operated"]) == 4


async def _with_run(system: System, do: Callable[[Run[Any]], Awaitable[Any]]) -> Any:
    async with Client(system.url, namespace=system.namespace) as client:
        return await do(client.get("operated"))


def test_a_run_is_deleted_and_comes_back(system: System) -> None:
    """A run that is exported, deleted and imported is gone in between, and the same afterwards, whichever process
    reads its rows."""
    system.start_worker()
    processor = system.start_processor()

    def replace() -> None:
        nonlocal processor
        assert system.end(processor) == 0, system.child_log(processor)
        processor = system.start_processor()

    async def close() -> Any:
        async with Client(system.url, namespace=system.namespace) as client:
            run = await client.start(flows.summed(1), id="operated")
            await run.signal(flows.more, 10)
            await run.signal(flows.more, 100)
            assert await run.result("30s") == [1, 11, 111]
            document = await client.export_run("operated")
            await client.delete("operated", "moved", by="ann")
            return document

    async def bring_back(document: Any) -> Any:
        async with Client(system.url, namespace=system.namespace) as client:
            with pytest.raises(WorkflowNotFound):
                await client.describe("operated")
            await client.import_run(document)
            return await client.result("operated", timeout="30s")

    async def look() -> Any:
        async with Client(system.url, namespace=system.namespace) as client:
            return await client.export_run("operated")

    document = asyncio.run(close())
    replace()
    assert asyncio.run(bring_back(document)) == [1, 11, 111]
    replace()
    assert asyncio.run(look()) == document
