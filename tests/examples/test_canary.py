"""The example of a canary, on both logs."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path

import pytest

from examples import canary
from penstock import Client
from penstock.engine.core.versions import chosen
from penstock.hosting.engine import Engine

WAIT_S = 60
COUNT = 120


async def refund_all(client: Client, prefix: str, cents: int) -> dict[str, int]:
    """Refund many orders; the version that each run took, once all have closed."""
    ids = [f"{prefix}-{n}" for n in range(COUNT)]
    starts = ((canary.NAME, json.dumps({"order": id, "cents": cents}).encode(), id) for id in ids)
    async for started in client.start_many(starts):
        assert started.error is None, started.error
    runs = {}
    for id in ids:
        while (run := await client.describe(id))["status"] == "running":
            await asyncio.sleep(0.05)
        runs[id] = run["version"]
    return runs


async def raised(client: Client) -> None:
    """The new version takes its tenth and more; with as few failures as the old one, it gets all new runs."""
    note = await client.versions.set(canary.NAME, canary.NEW, "30%", reason="canary")
    assert note == ""
    versions = await refund_all(client, "large", 1_000)
    assert versions == {id: chosen(canary.NAME, (1, 2), id, {2: 3_000}) for id in versions}
    numbers = await canary.numbers(client)
    assert sum(found.closed for found in numbers.values()) == COUNT
    assert await canary.judge(client, least=COUNT) == "as before"
    assert await canary.judge(client, least=10) == "100%"
    assert set((await refund_all(client, "later", 1_000)).values()) == {2}


async def stopped(client: Client) -> None:
    """The new version fails where the old one does not: it gets no new run any more, unless one names it."""
    await client.versions.set(canary.NAME, canary.NEW, 0.3)
    await refund_all(client, "small", 20)
    numbers = await canary.numbers(client)
    assert (numbers[1].failed, numbers[2].failed) == (0, numbers[2].closed)
    assert await canary.judge(client, least=10) == "0%"
    assert set((await refund_all(client, "small-later", 20)).values()) == {1}
    named = await client.start(canary.refund(order="o", cents=900), id="named", version=2)
    assert await named.result(timeout=WAIT_S) == "o: 8.50"


SCENARIOS = pytest.mark.parametrize("scenario", [raised, stopped])


def in_real_time(scenario: object, url: str) -> None:
    """Run the scenario on the log at `url`, in a namespace of its own."""

    async def run() -> None:
        namespace = f"canary-{uuid.uuid4().hex[:8]}"
        async with Engine([canary], url, namespace=namespace) as engine, asyncio.timeout(2 * WAIT_S):
            await scenario(engine.client)  # type: ignore[operator]

    asyncio.run(run())


@SCENARIOS
def test_embedded(scenario: object, tmp_path: Path) -> None:
    """The canary is raised or stopped on the embedded log."""
    in_real_time(scenario, f"embedded:{tmp_path}/log.sqlite3")


@SCENARIOS
def test_on_kafka(scenario: object, kafka_bootstrap: str) -> None:
    """The canary is raised or stopped on Kafka."""
    in_real_time(scenario, f"kafka://{kafka_bootstrap}")
