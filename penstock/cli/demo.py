"""Verb `demo`: an order that survives its process, and an order whose saga is undone."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.command import Invocation, verb

if TYPE_CHECKING:
    from penstock.client.client import Client
    from penstock.config import Settings
    from penstock.hosting.engine import Engine

WAIT_S_MAX = 30.0


@verb("demo")
def demo(invocation: Invocation) -> None:
    """Run the order example end to end on a temporary embedded log and print each step."""
    from penstock.hosting.hash_seed import with_fixed_hash_seed

    with_fixed_hash_seed()
    # The output shows the declined card; by default a warning would repeat it.
    invocation.flags.setdefault("log_level", "error")
    with tempfile.TemporaryDirectory(prefix="penstock-demo-") as folder:
        invocation.flags["log"] = f"embedded:{Path(folder) / 'log'}"
        asyncio.run(_run_orders(invocation.settings))


async def _run_orders(settings: Settings) -> None:
    from penstock.cli.demo_orders import Order
    from penstock.hosting.engine import Engine
    from penstock.schemas.errors import WorkflowFailedError

    began = time.monotonic()
    large = Order(id="1", total=1_250.0, items=["lamp", "chair", "desk"])
    _print("Penstock demo: durable workflows in plain async Python, here on an embedded log.")
    _print()
    _step(1, "A processor and a worker start, and a client orders a lamp, a chair and a desk for 1,250.00.")
    async with Engine(_definitions(), settings=settings) as engine:
        await _order_and_wait_for_approval(engine, large)
    _step(2, "They stop: nothing of Penstock is running. The order waits on disk, for as long as it takes.")
    _step(3, "A new processor and a new worker start on the same log; ann approves; the order continues.")
    async with Engine(_definitions(), settings=settings) as engine:
        tracking = await _approve(engine.client)
        history = await engine.client.history("order-1")
        _step(4, "A second order, for a gold bar. Its card is declined, so the reserved item is released.")
        try:
            await _run_declined(engine.client, Order(id="2", total=900.0, items=["gold bar"]))
        except WorkflowFailedError as error:
            _print(f"     {error}")
            _print(f"     path: {' → '.join(path_of(await engine.client.history('order-2')))}")
    _print()
    _print(f"order-1 took this path: {' → '.join(path_of(history))}")
    took = f"{time.monotonic() - began:.1f} s, {len(history)} events"
    _print(f"order-1 was shipped, tracking number {tracking}  ({took})")
    _print()
    _print_next_steps()


async def _order_and_wait_for_approval(engine: Engine, order: Any) -> None:
    from penstock.cli.demo_orders import fulfil

    client = engine.client
    run = await client.start(fulfil(order), id="order-1")
    _print(f"     started {run.id}, run {run.run_id}")
    again = await client.start(fulfil(order), id="order-1")
    _print(f"     started order-1 a second time: {'joined the existing run' if again.existing else 'it ran twice!'}")

    async def all_reserved() -> bool:
        return _count(await run.history(), "ActivityCompleted") == len(order.items)

    await _wait_until("the items to be reserved", all_reserved)
    _print("     its three items were reserved concurrently; 1,250.00 needs approval, so it waits (up to 48 h)")


async def _approve(client: Client) -> str:
    from penstock.cli.demo_orders import Approval, approval

    run = client.get("order-1", returns=str)
    await run.signal(approval, Approval(ok=True, by="ann"))
    tracking = await run.result(timeout=WAIT_S_MAX)
    for event in await run.history():
        _print(f"     {_event_line(event)}")
    return tracking


async def _run_declined(client: Client, order: Any) -> None:
    from penstock.cli.demo_orders import fulfil

    run = await client.start(fulfil(order), id="order-2")
    await run.result(timeout=WAIT_S_MAX)


def path_of(events: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the steps of a history: activities and children by name, timers, signals, and the final event."""
    names: dict[int, str] = {}
    path: list[str] = []
    for event in events:
        kind = str(event["event"])
        if kind in ("ActivityScheduled", "ChildScheduled"):
            names[event["sequence"]] = str(event.get("activity") or event.get("workflow_type"))
        elif kind in ("ActivityCompleted", "ChildCompleted"):
            path.append(names[event["sequence"]])
        elif kind == "ActivityFailed":
            path.append(f"{names[event['sequence']]} failed")
        elif kind == "TimerFired":
            path.append("slept")
        elif kind == "SignalReceived":
            path.append(f"signal {event['signal']}")
        elif kind in ("WorkflowCompleted", "WorkflowFailed", "WorkflowCancelled", "WorkflowTerminated"):
            path.append(kind.removeprefix("Workflow").lower())
    return path


def _definitions() -> list[Any]:
    from penstock.cli import demo_orders as orders

    return [
        orders.fulfil, orders.ship, orders.reserve, orders.release, orders.charge, orders.refund,
    ]  # fmt: skip


async def _wait_until(what: str, condition: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + WAIT_S_MAX
    while not await condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {WAIT_S_MAX:g} s for {what}")
        await asyncio.sleep(0.05)


def _count(events: Iterable[Mapping[str, Any]], kind: str) -> int:
    return sum(event["event"] == kind for event in events)


def _event_line(event: Mapping[str, Any]) -> str:
    from penstock.cli.output import clock, event_text

    line = f"{event['number']:>2}  {clock(event['at_ms'])}  {event['event']:<17}  {event_text(event)}"
    return line if len(line) <= 100 else f"{line[:99]}…"


def _print_next_steps() -> None:
    example = Path("examples/order.py")
    file = str(example) if example.exists() else "your_workflows.py"
    order = '{"id":"7","total":12.5,"items":["lamp"]}'
    prefix = "" if _on_path() else ".venv/bin/"
    _print("Try next, in two shells:")
    _print(f"  {prefix}penstock dev {file}")
    _print(f"  {prefix}penstock start fulfil --id order-7 --input '{order}' --wait")
    _print(f"  {prefix}penstock history order-7")


def _on_path() -> bool:
    import shutil

    return shutil.which("penstock") is not None or not os.path.exists(".venv/bin/penstock")  # noqa: PTH110


def _step(number: int, text: str) -> None:
    _print(f"  {number}. {text}")


def _print(text: str = "") -> None:
    click.echo(text)
