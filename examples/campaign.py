"""A campaign with a child workflow for each customer: a parent with a thousand children, all at once.

    python examples/campaign.py [CUSTOMERS]

Each child writes to one customer and waits for an answer. The parent starts them all, keeps their handles, gives each
the answer by a signal, and counts their results. One child outlives it. Everything runs in this process, on a log in
memory.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from typing import Any

from penstock import ChildRun, Engine, Signal, activity, start_child, workflow

CUSTOMERS = 1_000
ANSWERING_EVERY = 10

answer = Signal("answer", str)
books_close = Signal("books_close")


@activity
def write_to(customer: int) -> str:
    """Send the offer (not really)."""
    return f"offer-{customer}"


@workflow
async def offer(customer: int) -> str:
    """Write to one customer and wait for the answer."""
    await write_to(customer)
    return await answer.wait()


@workflow
async def audit(customers: int) -> int:
    """Outlive the campaign that started it."""
    await books_close.wait()
    return customers


@workflow
async def campaign(name: str, customers: int) -> dict[str, int]:
    """Start a child for each customer, signal each of them, and count their results."""
    children: list[ChildRun[str]] = await asyncio.gather(
        *(start_child(offer(number), id=f"{name}-{number}") for number in range(customers))
    )
    await start_child(audit(customers), id=f"{name}-audit", parent_close="abandon")
    for number, child in enumerate(children):
        child.signal(answer, "no" if number % ANSWERING_EVERY else "yes")
    answers = await asyncio.gather(*(child.result() for child in children))
    return dict(Counter(answers))


HOSTED: list[Any] = [campaign, offer, audit, write_to]


async def main(customers: int) -> None:
    """Run one campaign."""
    async with Engine(HOSTED, "embedded::memory:") as engine:
        run = await engine.client.start(campaign("spring", customers), id="spring")
        counted = await run.result()
        print(f"of {customers:,} customers, {counted.get('yes', 0):,} said yes")
        audited = engine.client.get("spring-audit", returns=int)
        await audited.signal(books_close)
        print(f"the audit, which went on, counted {await audited.result():,}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else CUSTOMERS))
