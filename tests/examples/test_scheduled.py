"""The examples of schedules: an ETL of two that depend on each other, and a nightly report."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from examples import etl, nightly
from penstock import Client, Schedule
from penstock.hosting.engine import Engine
from penstock.testing import TestEngine

WAIT_S = 60


def in_real_time(scenario: Any, url: str, folder: Path) -> None:
    """Run the scenario on the log at `url`, in a namespace of its own."""

    async def run() -> None:
        namespace = f"examples-{uuid.uuid4().hex[:8]}"
        async with Engine([etl, nightly], url, namespace=namespace) as engine, asyncio.timeout(2 * WAIT_S):
            await scenario(engine.client, str(folder / "files"))

    asyncio.run(run())


def at(epoch_ms: int) -> datetime:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC)


async def rested(client: Client, name: str) -> list[dict[str, Any]]:
    """The last runs of a schedule, once it has no more ticks and no open run."""
    while True:
        found = await client.schedules.get(name).describe()
        if not (found["next_ms"] or found["running"] or found["waiting"]):
            return list(found["recent_runs"])
        await asyncio.sleep(0.2)


async def dependent(client: Client, folder: str) -> None:
    """Sums wait for the partitions that they need, which come later."""
    sums = Schedule(every="3s", remaining=2, overlap="allow_all")
    await client.schedules.create("sum-up", etl.sum_up(folder, 3, 1.0), sums)
    loads = Schedule(every="1s", remaining=6, overlap="allow_all")
    schedule = await client.schedules.create("load", etl.load(folder), loads)
    loaded = await rested(client, "load")
    assert [run["status"] for run in loaded] == ["completed"] * 6
    await schedule.backfill(
        at(loaded[0]["tick_ms"] - 6_000),
        at(loaded[-1]["tick_ms"]),
        overlap="allow_all",
    )
    for run in await rested(client, "sum-up"):
        seconds = [at(run["tick_ms"] - 1_000 * back) for back in range(3)]
        expected = sum(one.hour + one.minute + one.second for one in seconds)
        assert await client.result(run["workflow_id"], timeout=WAIT_S) == expected


async def replaced(client: Client, folder: str) -> None:
    """Each night cancels the report before it, which removes its draft; the last one is published."""
    nights = Schedule(every="2s", remaining=3, overlap="cancel_other")
    await client.schedules.create("nightly", nightly.nightly(folder, "5s"), nights)
    runs = await rested(client, "nightly")
    assert [run["status"] for run in runs] == ["cancelled", "cancelled", "completed"]
    assert [path.suffix for path in Path(folder).iterdir()] == [".html"]


SCENARIOS = pytest.mark.parametrize("scenario", [dependent, replaced])


@SCENARIOS
def test_embedded(scenario: Any, tmp_path: Path) -> None:
    """Both examples on the embedded log, in real time."""
    in_real_time(scenario, f"embedded:{tmp_path}/log.sqlite3", tmp_path)


@SCENARIOS
def test_on_kafka(scenario: Any, kafka_bootstrap: str, tmp_path: Path) -> None:
    """Both examples on Kafka, in real time."""
    in_real_time(scenario, f"kafka://{kafka_bootstrap}", tmp_path)


def test_three_days_of_etl(tmp_path: Path) -> None:
    """Hours are loaded, those before the schedule by a backfill, and each day is summed up from its hours."""

    async def run() -> list[dict[str, Any]]:
        async with TestEngine([etl]) as engine, asyncio.timeout(WAIT_S):
            schedules = engine.client.schedules
            hourly = Schedule(cron="0 * * * *", overlap="allow_all")
            load = await schedules.create("load", etl.load(str(tmp_path)), hourly)
            now = datetime.now(UTC) - timedelta(minutes=1)
            await load.backfill(now - timedelta(hours=24), now, overlap="allow_all")
            await schedules.create("sum-up", etl.sum_up(str(tmp_path), 24), Schedule(cron="10 0 * * *"))
            await engine.skip("72h")
            return list((await schedules.get("sum-up").describe())["recent_runs"])

    runs = asyncio.run(run())
    assert [run["status"] for run in runs] == ["completed"] * 3
