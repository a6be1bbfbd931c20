"""A canary: a new version of a workflow takes a tenth of the new runs, until its failures are compared.

penstock versions set refund 2 --share 10% --reason canary
penstock dev examples/canary.py

and in another shell, in the same folder:

penstock start refund --input @refunds.jsonl
penstock versions list refund
python examples/canary.py

where refunds.jsonl has lines such as {"order": "o-1", "cents": 1250}. The program counts the runs of each version and
those that failed. It then gives version 2 all new runs, or none; runs that are open keep their version.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import NamedTuple

from penstock import Client, WorkflowFailed, activity, workflow

NAME, OLD, NEW = "refund", 1, 2
PAGE = 1_000


@activity(timeout="10s", retries=2)
def pay_back(order: str, cents: int) -> str:
    """Pay a customer back."""
    return f"{order}: {cents / 100:.2f}"


@workflow(name=NAME, version=OLD)
async def refund_1(order: str, cents: int) -> str:
    """Pay back."""
    return await pay_back(order, cents)


@workflow(name=NAME, version=NEW)
async def refund(order: str, cents: int) -> str:
    """Pay back what is left after a fee of 50 cents; the bug of this version is that small amounts fail."""
    left = cents - 50
    if left < 0:
        raise WorkflowFailed(f"nothing is left of {cents} cents")
    return await pay_back(order, left)


class Numbers(NamedTuple):
    """Closed runs of a version, and how many of them failed."""

    closed: int
    failed: int

    @property
    def rate(self) -> float:
        """Failed runs in those that closed."""
        return self.failed / self.closed if self.closed else 0.0


async def numbers(client: Client) -> dict[int, Numbers]:
    """Numbers of each version."""
    found: Counter[tuple[int, str]] = Counter()
    for status in ("completed", "failed"):
        after = ""
        while page := await client.list(type=NAME, status=status, limit=PAGE, after=after):
            found.update((run["version"], status) for run in page)
            after = page[-1]["workflow_id"]
    return {
        version: Numbers(found[version, "completed"] + found[version, "failed"], found[version, "failed"])
        for version in (OLD, NEW)
    }


async def judge(client: Client, *, least: int = 100) -> str:
    """Compare the versions: give the new one all new runs, or none, once `least` of its runs have closed.

    Returns its share."""
    found = await numbers(client)
    old, new = found[OLD], found[NEW]
    if new.closed < least:
        return "as before"
    share = "100%" if new.rate <= old.rate * 1.1 else "0%"
    reason = f"{new.failed} of {new.closed} runs failed, {old.failed} of {old.closed} before"
    await client.versions.set(NAME, NEW, share, by="canary", reason=reason)
    return share


async def main() -> None:
    """Print the numbers, and the new share."""
    async with Client() as client:
        for version, (closed, failed) in (await numbers(client)).items():
            print(f"version {version}: {failed} of {closed} runs failed")
        print(f"share of version {NEW}: {await judge(client)}")


if __name__ == "__main__":
    asyncio.run(main())
