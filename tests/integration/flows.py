"""Which workflows do the whole-system tests run?"""

from __future__ import annotations

import asyncio

from penstock.engine.core.workflow import Signal, sleep, workflow
from penstock.workers.activity import activity

go = Signal("integration-go")


@activity
async def plus(a: int, b: int) -> int:
    """Add; counted by whoever runs it."""
    return a + b


@workflow(name="integration.five")
async def five(n: int) -> int:
    """Five additions, one after the other."""
    for step in range(5):
        n = await plus(n, step)
    return n


@workflow(name="integration.mixed")
async def mixed(n: int) -> int:
    """Parallel additions, a short sleep, a child on another shard."""
    parts = await asyncio.gather(*(plus(n, i) for i in range(4)))
    await sleep(0.05)
    return sum(parts) + await five(n)


def mixed_result(n: int) -> int:
    """What `mixed` must give."""
    return sum(n + i for i in range(4)) + n + 10
