"""Fulfilment of orders, with approvals and compensation: the example of the README as a program.

penstock dev examples/order.py

and in another shell, in the same folder, any number of times:

penstock start fulfil --id order-1 --input '{"id":"order-1","total":12.5,"items":["apple","pear"]}' --wait
python examples/order.py

The first command starts a small order; run again, it joins that run. The second starts a large order, order-2, and
approves it; run again, it starts a new run.
"""

from __future__ import annotations

import asyncio
import sys

from pydantic import BaseModel

from penstock import Client, PenstockError, Saga, Signal, WorkflowFailedError, activity, sleep, workflow


class Order(BaseModel):
    """An order. `total` is in euros; `rest` is how long the parcel waits before it is shipped."""

    id: str
    total: float
    items: list[str]
    rest: str = "1s"


class Approval(BaseModel):
    """The decision on a large order, and who made it."""

    ok: bool
    by: str


class CardDeclined(Exception):
    """The bank declined the card; a retry would not help."""


approval = Signal("approval", Approval)


@activity(timeout="10s")
def reserve(order_id: str, sku: str) -> str:
    """Reserve one item."""
    return f"{sku} reserved for {order_id}"


@activity
async def release(order_id: str, sku: str) -> None:
    """Release one item; no effect if it was not reserved."""


@activity(timeout="30s", retries=5, backoff=2.0, non_retryable=(CardDeclined,), queue="payments", priority="high")
async def charge(order: Order) -> str:
    """Charge the card. Raises CardDeclined above 100,000."""
    if order.total > 100_000:
        raise CardDeclined(f"the card of {order.id} is not good for {order.total:.2f}")
    return f"receipt-{order.id}"


@activity
async def refund(order_id: str) -> None:
    """Refund the charge; no effect if there was none."""


@activity
async def hand_over(order: Order) -> str:
    """Hand the parcel to the carrier and return its tracking number."""
    return f"TRACK-{order.id.upper()}"


@workflow
async def ship(order: Order) -> str:
    """Ship the parcel, in a workflow of its own since it may take days."""
    return await hand_over(order)


@workflow(name="fulfil", version=1)
async def fulfil(order: Order) -> str:
    """Reserve all items, wait for approval of a large order, charge, rest, ship; undo every step if one fails."""
    async with Saga() as saga:
        await asyncio.gather(*(saga.do(reserve(order.id, sku), undo=release(order.id, sku)) for sku in order.items))
        if order.total > 1_000:
            decision = await approval.wait(timeout="48h")
            if not decision.ok:
                raise WorkflowFailedError(f"rejected by {decision.by}")
        await saga.do(charge(order), undo=refund(order.id))
        await sleep(order.rest)
        return await ship(order).options(id=f"ship-{order.id}")


async def main() -> None:
    """Start an order that needs approval, approve it, and print its tracking number."""
    async with Client() as client:
        order = Order(id="order-2", total=1_250, items=["apple", "pear"])
        # By default a second start with the same id joins the closed run; restart_closed starts a new one.
        run = await client.start(fulfil(order), id=order.id, on_existing="restart_closed")
        await run.signal(approval, Approval(ok=True, by="ann"))
        tracking: str = await run.result(timeout="1m")
        print(tracking)


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except PenstockError as error:
        sys.exit(f"order.py: {error}")
