"""What does `penstock demo` run? A small order, from reserving its items to its tracking number."""

from __future__ import annotations

import asyncio
import zlib

from pydantic import BaseModel

from penstock import Saga, Signal, WorkflowFailed, activity, sleep, workflow

APPROVAL_ABOVE = 1_000


class Order(BaseModel):
    """What a customer wants."""

    id: str
    total: float
    items: list[str]


class Approval(BaseModel):
    """What a person said to a large order."""

    ok: bool
    by: str


class CardDeclined(Exception):
    """The bank said no: trying again would not help."""


approval = Signal("approval", Approval)


@activity(timeout="10s")
def reserve(order_id: str, sku: str) -> str:
    """Keep one item for the order."""
    return f"{sku} kept for {order_id}"


@activity
async def release(order_id: str, sku: str) -> None:
    """Give the item back; asked twice, it is given back once."""


@activity(timeout="30s", retries=5, backoff=2.0, non_retryable=CardDeclined)
async def charge(order: Order) -> str:
    """Take the money."""
    if "gold bar" in order.items:
        raise CardDeclined(f"the bank refused {order.total:.2f}")
    return f"receipt-{order.id}"


@activity
async def refund(order_id: str) -> None:
    """Give the money back."""


@workflow(name="demo-ship")
async def ship(order: Order) -> str:
    """A workflow of its own: the parcel is packed and gets its tracking number."""
    await sleep("200ms")
    return f"PS-{zlib.crc32(order.id.encode()):08X}"


@workflow(name="demo-fulfil")
async def fulfil(order: Order) -> str:
    """Reserve everything at once, wait for a person if it is dear, charge, ship; undo all of it if anything fails."""
    async with Saga() as saga:
        await asyncio.gather(*(saga.do(reserve(order.id, sku), undo=release(order.id, sku)) for sku in order.items))
        if order.total > APPROVAL_ABOVE:
            decision = await approval.wait(timeout="48h")
            if not decision.ok:
                raise WorkflowFailed(f"rejected by {decision.by}")
        await saga.do(charge(order), undo=refund(order.id))
        await sleep("1s")
        return await ship(order).options(id=f"ship-{order.id}")
