"""Types of the public API, as mypy and pyright see them (`make check`). Nothing here runs.

A line that must be refused has the error's code in an ignore comment; if it were accepted, that would be an error.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, assert_type
from uuid import UUID

from penstock import (
    ActivityFailed,
    ChildRun,
    Client,
    Run,
    Saga,
    Signal,
    SyncClient,
    activity,
    child,
    deprecate_patch,
    details,
    get_run,
    now,
    random,
    set_search,
    side_effect,
    sleep,
    start_child,
    uuid4,
    workflow,
)


@dataclass
class Order:
    id: str
    total: float


class CardDeclined(Exception): ...


approval = Signal("approval", bool)
go = Signal("go")


@activity
def reserve(order_id: str, sku: str = "lamp") -> str:
    return sku + order_id


@activity(timeout="30s", retries=5, backoff=2.0, non_retryable=(CardDeclined,), queue="payments", priority="high")
async def charge(order: Order) -> int:
    return round(order.total)


@activity(timeout=timedelta(seconds=5), backoff=["1s", 2, timedelta(minutes=1)])
async def refund(order_id: str) -> None: ...


@workflow
async def ship(order: Order) -> str:
    return order.id


@workflow(name="fulfil", version=2)
async def fulfil(order: Order, *, rush: bool = False) -> list[str]:
    """A call has its function's result type: awaited, in a task, gathered, in a saga, with options."""
    assert_type(await reserve(order.id), str)
    assert_type(await reserve(order.id, sku="cup").options(timeout="1m", retries=None), str)
    assert_type(await charge(order), int)
    assert_type(await asyncio.create_task(charge(order)), int)
    assert_type(await asyncio.gather(reserve(order.id), charge(order)), tuple[str, int])
    assert_type(await ship(order).options(id="ship-1", version=1), str)
    deprecate_patch("old")
    async with Saga() as saga:
        assert_type(await saga.do(charge(order), undo=refund(order.id)), int)
    async with asyncio.TaskGroup() as group:
        assert_type(await group.create_task(reserve(order.id)), str)
    assert_type(await approval.wait(timeout="48h"), bool)
    assert_type(await go.wait(), None)
    assert_type(now(), datetime)
    assert_type(random(), Random)
    assert_type(uuid4(), UUID)
    assert_type(side_effect(lambda: 7), int)
    details({"step": 1})
    set_search(customer="c1", total=order.total, tags=["a"], due=now(), rush=rush, gone=None)
    await sleep("1h30m")
    await sleep(1.5)
    await sleep(timedelta(hours=1))
    await sleep(datetime(2030, 1, 1, tzinfo=UTC))
    return ["rush"] if rush else []


@workflow
class Claim:
    def __init__(self, form: str) -> None:
        self.form = form

    @workflow.signal
    def add(self, receipt: str, total: int) -> None: ...

    @workflow.run
    async def run(self) -> int:
        return 0


@workflow
async def with_children(order: Order) -> None:
    """A child has the result type of its workflow, a function's as well as a class's; its signals are typed."""
    started = await start_child(ship(order), id="ship-1", parent_close="abandon", run_timeout="1h", retries=2)
    assert_type(started, ChildRun[str])
    assert_type(await started.result(), str)
    assert_type(started.id, str)
    claim = await start_child(Claim("form"))
    assert_type(await claim.result(), int)
    assert_type(await child(Claim("form"), id="claim-7"), int)
    assert_type(await child(ship(order), parent_close="terminate"), str)
    assert_type(await asyncio.gather(start_child(ship(order))), tuple[ChildRun[str]])
    claim.signal(Claim.add, "receipt", 7)
    claim.signal(approval, True)
    claim.signal(go)
    claim.signal("approval", {"any": "JSON"})
    claim.signal(Claim.add, "receipt")  # type: ignore[arg-type]
    get_run("claim-7").signal(Claim.add, "receipt", 7)
    get_run("claim-7").signal(approval, True)
    claim.cancel("too late")
    await start_child(ship(order), parent_close="ignore")  # type: ignore[arg-type]
    await ship(order).options(parent_close="ignore")  # type: ignore[arg-type]
    await start_child(reserve("order-1"))  # type: ignore[arg-type]


@workflow
async def wrong(order: Order) -> None:
    """Wrong arguments are errors."""
    await reserve(7)  # type: ignore[arg-type]
    await reserve()  # type: ignore[call-arg]
    await charge(order.id)  # type: ignore[arg-type]
    await charge(order).options(timeout=[])  # type: ignore[arg-type]
    await sleep([])  # type: ignore[arg-type]
    set_search(customer=b"c1")  # type: ignore[arg-type]


async def with_a_client(client: Client) -> None:
    """A run has the result type of its workflow, a signal that of its value."""
    run = await client.start(fulfil(Order("order-1", 12.5), rush=True), id="order-1")
    assert_type(run, Run[list[str]])
    assert_type(await run.result(timeout="1m"), list[str])
    await run.signal(approval, True)
    await run.signal("approval", {"any": "JSON"})
    assert_type(await client.get("order-1", returns=str).result(), str)
    assert_type(await client.get("order-1").result(), Any)
    await client.start(ship(Order("order-1", 12.5)), memo={"by": "ann"}, search={"customer": "c1", "rush": True})
    await client.start(ship(Order("order-1", 12.5)), search={"customer": b"c1"})  # type: ignore[dict-item]
    await client.start(fulfil("order-1"))  # type: ignore[arg-type]
    await client.start(ship(Order("order-1", 12.5)), on_existing="whatever")  # type: ignore[arg-type]


def with_a_sync_client(client: SyncClient) -> None:
    """The same without asyncio."""
    run = client.start(ship(Order("order-1", 12.5)), id="order-1")
    assert_type(run.result(timeout=60), str)


def failures(error: ActivityFailed) -> None:
    """A failure has typed attributes."""
    assert_type(error.is_(CardDeclined), bool)
    assert_type(error.attempts, int)
    assert_type(error.type, str)


def the_plain_function() -> None:
    """`.fn` is the decorated function."""
    assert_type(reserve.fn("order-1"), Any)
