"""Workflows of `penstock demo`: an order, from the reservation of its items to its tracking number."""

from __future__ import annotations

import asyncio
import zlib

from pydantic import BaseModel

from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.waiting import sleep
from penstock.engine.authoring.workflow import workflow
from penstock.patterns.saga import Saga
from penstock.schemas.errors import WorkflowFailedError
from penstock.workers.activity.decorator import activity

APPROVAL_ABOVE = 1_000


class Order(BaseModel):
    """An order of a customer."""

    id: str
    total: float
    items: list[str]


class Approval(BaseModel):
    """Decision of a person on a large order."""

    ok: bool
    by: str


class CardDeclined(Exception):
    """The bank refused the payment; a retry would not help."""


approval = Signal("approval", Approval)


@activity(timeout="10s")
def reserve(order_id: str, sku: str) -> str:
    """Reserve one item for the order."""
    return f"{sku} reserved for {order_id}"


@activity
async def release(order_id: str, sku: str) -> None:
    """Release the item; idempotent."""


@activity(timeout="30s", retries=5, backoff=2.0, non_retryable=CardDeclined)
async def charge(order: Order) -> str:
    """Charge the total to the card."""
    if "gold bar" in order.items:
        raise CardDeclined(f"the bank refused {order.total:.2f}")
    return f"receipt-{order.id}"


@activity
async def refund(order_id: str) -> None:
    """Refund the charge."""


@workflow(name="demo-ship")
async def ship(order: Order) -> str:
    """Child workflow: pack the parcel and return its tracking number."""
    await sleep("200ms")
    return f"PS-{zlib.crc32(order.id.encode()):08X}"


@workflow(name="demo-fulfil")
async def fulfil(order: Order) -> str:
    """Reserve all items at once, wait for approval of a large order, charge, ship; undo all of it if a step fails."""
    async with Saga() as saga:
        await asyncio.gather(*(saga.do(reserve(order.id, sku), undo=release(order.id, sku)) for sku in order.items))
        if order.total > APPROVAL_ABOVE:
            decision = await approval.wait(timeout="48h")
            if not decision.ok:
                raise WorkflowFailedError(f"rejected by {decision.by}")
        await saga.do(charge(order), undo=refund(order.id))
        await sleep("1s")
        return await ship(order).options(id=f"ship-{order.id}")
