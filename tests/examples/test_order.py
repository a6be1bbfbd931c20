"""The README's example: orders that are approved, declined and rejected."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from examples import order
from examples.order import Approval, CardDeclined, Order, approval, fulfil
from penstock import Client, WorkflowFailedError
from penstock.hosting.engine import Engine

WAIT_S = 30
HOSTED: list[Any] = [
    order.fulfil,
    order.ship,
    order.reserve,
    order.release,
    order.charge,
    order.refund,
    order.hand_over,
]


def on_an_engine(scenario: Callable[[Client], Awaitable[None]]) -> None:
    """Run the scenario with a processor and a worker in this process, on a log in memory."""

    async def run() -> None:
        async with Engine(HOSTED, "embedded::memory:") as engine, asyncio.timeout(2 * WAIT_S):
            await scenario(engine.client)

    asyncio.run(run())


def activities(history: list[dict[str, Any]]) -> list[str]:
    """Return the names of the activities in the order in which the workflow requested them."""
    return [event["activity"] for event in history if event["event"] == "ActivityScheduled"]


def test_small_order() -> None:
    """A small order is reserved, charged, and shipped by a child workflow, without approval."""

    async def scenario(client: Client) -> None:
        small = Order(id="o-1", total=12.5, items=["apple", "pear"], rest="10ms")
        run = await client.start(fulfil(small), id="o-1")
        assert await run.result(timeout=WAIT_S) == "TRACK-O-1"
        assert activities(await run.history()) == ["reserve", "reserve", "charge"]
        assert await client.result("ship-o-1", timeout=WAIT_S) == "TRACK-O-1"

    on_an_engine(scenario)


def test_approved() -> None:
    """A large order waits for its approval and then completes; an early approval counts."""

    async def scenario(client: Client) -> None:
        large = Order(id="o-2", total=1_250, items=["lamp"], rest="10ms")
        run = await client.start(fulfil(large), id="o-2")
        await run.signal(approval, Approval(ok=True, by="ann"))
        assert await run.result(timeout=WAIT_S) == "TRACK-O-2"

    on_an_engine(scenario)


def test_rejected() -> None:
    """A rejected order fails with who rejected it; its items are released, and no card is charged."""

    async def scenario(client: Client) -> None:
        large = Order(id="o-3", total=1_250, items=["lamp", "desk"], rest="10ms")
        run = await client.start(fulfil(large), id="o-3")
        await run.signal(approval, Approval(ok=False, by="bob"))
        with pytest.raises(WorkflowFailedError, match="rejected by bob"):
            await run.result(timeout=WAIT_S)
        assert activities(await run.history()) == ["reserve", "reserve", "release", "release"]

    on_an_engine(scenario)


def test_declined() -> None:
    """A declined card is tried once; then the charge is refunded and the items are released, in reverse order."""

    async def scenario(client: Client) -> None:
        huge = Order(id="o-4", total=200_000, items=["lamp", "desk"], rest="10ms")
        run = await client.start(fulfil(huge), id="o-4")
        await run.signal(approval, Approval(ok=True, by="ann"))
        with pytest.raises(WorkflowFailedError, match="the card of o-4 is not good for 200000.00") as caught:
            await run.result(timeout=WAIT_S)
        failure = caught.value.failure
        assert failure is not None
        assert CardDeclined.__name__ in " ".join([failure.type, *(cause.type for cause in failure.causes)])
        history = await run.history()
        assert activities(history) == ["reserve", "reserve", "charge", "refund", "release", "release"]
        released = [event["input"]["sku"] for event in history if event.get("activity") == "release"]
        assert released == ["desk", "lamp"]

    on_an_engine(scenario)


def test_the_program_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each time the program is run it approves a new run of its order, and prints the tracking number."""
    monkeypatch.setenv("PENSTOCK_LOG", f"embedded:{tmp_path / 'log'}")

    async def twice() -> list[str]:
        async with Engine(HOSTED) as engine, asyncio.timeout(2 * WAIT_S):
            await order.main()
            first = engine.client.get("order-2")
            before = await first.describe()
            await order.main()
            return [before["run_id"], (await first.describe())["run_id"]]

    runs = asyncio.run(twice())
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("TRACK")]  # besides log lines
    assert printed == ["TRACK-ORDER-2"] * 2
    assert runs[0] != runs[1]


def test_the_program_without_a_processor(tmp_path: Path) -> None:
    """Without a processor the program ends with one sentence that names what to start, and no traceback."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    ended = subprocess.run(
        [sys.executable, str(Path(order.__file__))],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert ended.returncode == 1
    assert "start `penstock dev FILE` first" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
