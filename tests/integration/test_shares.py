"""Test of shares of versions over two processors, of which one is killed while it decides starts."""

from __future__ import annotations

import asyncio

from penstock.client.client import Client
from penstock.engine.core.versions import chosen
from penstock.schemas.encoding.codec import decode
from penstock.schemas.records.share import VersionShareSet
from tests.integration import checks, flows
from tests.integration.system import System

COUNT = 60


def test_shares_over_a_takeover(system: System) -> None:
    """Each run takes the version that the share of its shard gives to its id: also where a processor is killed while it
    decides starts, and another one takes its shards over from the changelog."""
    worker = system.start_worker()
    first = system.start_processor()
    system.wait_for_owners("the first processor to have every shard", 1)
    second = system.start_processor()
    system.wait_for_owners("two processors to share the shards", 2)
    few = [f"few-{n}" for n in range(COUNT)]
    many = [f"many-{n}" for n in range(COUNT)]

    assert _shares(system, "30%") == [{"type": "integration.shared", "version": 2, "share": "30%", "shards": [0, 1, 2]}]
    system.publish_starts({id: flows.shared(n) for n, id in enumerate(few)})
    first.kill()
    assert system.results(few) == _expected(few, 3_000)
    assert _shares(system, "60%")[0]["share"] == "60%"
    third = system.start_processor()
    system.wait_for_owners("two other processors to share the shards", 2)
    system.publish_starts({id: flows.shared(n) for n, id in enumerate(many)})
    assert system.results(many) == _expected(many, 6_000)
    assert {version for version, _ in _expected(few, 3_000).values()} == {1, 2}

    for processor in (second, third):
        assert system.end(processor) == 0, system.child_log(processor)
    worker.stop()
    system.check(2 * COUNT)
    found = checks.decisions(system.log, system.topics, system.shards)
    events = [(one.shard, decode(event)) for one in found for event in one.events]
    changes = [(shard, event.share, event.by) for shard, event in events if isinstance(event, VersionShareSet)]
    assert sorted(changes) == [(shard, share, "ann") for shard in range(3) for share in (3_000, 6_000)]


def _shares(system: System, share: str) -> list[dict[str, object]]:
    """Set the share of version 2; the shares that all shards have then."""

    async def act() -> list[dict[str, object]]:
        async with Client(system.url, namespace=system.namespace) as client:
            await client.versions.set(flows.shared, 2, share, by="ann", timeout="60s")
            return await client.versions.shares(flows.shared)

    return asyncio.run(act())


def _expected(ids: list[str], share: int) -> dict[str, list[int]]:
    name = flows.shared.name
    return {id: [chosen(name, (1, 2), id, {2: share}), n + 1] for n, id in enumerate(ids)}
