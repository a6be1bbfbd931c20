"""The example of a parent with a thousand children, on both logs."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from examples.campaign import CUSTOMERS, HOSTED, books_close, campaign
from penstock import Engine
from penstock.config import Settings

ROOT = Path(__file__).parents[2]
WAIT_S = 120

pytestmark = pytest.mark.timeout(2 * WAIT_S)


async def thousand_children(settings: Settings) -> None:
    """Run a campaign with all its customers, and look at what it leaves."""
    async with Engine(HOSTED, settings=settings) as engine:
        run = await engine.client.start(campaign("spring", CUSTOMERS), id="spring")
        assert await run.result(timeout=WAIT_S) == {"yes": CUSTOMERS // 10, "no": CUSTOMERS - CUSTOMERS // 10}
        events = [event["event"] for event in await run.history()]
        assert events.count("ChildStarted") == CUSTOMERS + 1
        assert events.count("ChildCompleted") == CUSTOMERS
        assert events.count("ExternalSignalSent") == CUSTOMERS
        assert (await run.describe())["pending_children"] == []
        audited = engine.client.get("spring-audit", returns=int)
        await audited.signal(books_close)
        assert await audited.result(timeout=WAIT_S) == CUSTOMERS


def test_a_thousand_children_on_the_embedded_log(tmp_path: Path) -> None:
    """Each of a thousand children starts, is signalled once, and is counted; the abandoned one outlives its parent."""
    asyncio.run(thousand_children(Settings(log=f"embedded:{tmp_path}/log", shards=4, data=str(tmp_path / "data"))))


def test_a_thousand_children_on_kafka(kafka_bootstrap: str, tmp_path: Path) -> None:
    """The same on Kafka with four shards."""
    namespace = f"campaign-{uuid.uuid4().hex[:8]}"
    url = f"kafka://{kafka_bootstrap}"
    asyncio.run(thousand_children(Settings(log=url, namespace=namespace, shards=4, data=str(tmp_path / "data"))))


def test_the_program() -> None:
    """The example prints what it counted."""
    done = subprocess.run(
        [sys.executable, "examples/campaign.py", "20"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "of 20 customers, 2 said yes",
        "the audit, which went on, counted 20",
    ]
