"""Workflows that the whole-system tests run."""

from __future__ import annotations

import asyncio

from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.waiting import sleep
from penstock.engine.authoring.workflow import workflow
from penstock.workers.activity.decorator import activity

SIDE_QUEUE = "side-track"

go = Signal("integration-go")
more = Signal("integration-more", int)


@activity
async def plus(a: int, b: int) -> int:
    """Add two numbers; tests count its executions."""
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
    """Expected result of `mixed`."""
    return sum(n + i for i in range(4)) + n + 10


@workflow(name="integration.summed")
async def summed(n: int) -> list[int]:
    """Two numbers that arrive as signals, added one after the other; returns all sums."""
    sums = [n]
    for _ in range(2):
        sums.append(await plus(sums[-1], await more.wait()))
    return sums


@workflow(name="integration.detour")
async def detour(n: int) -> int:
    """An addition, and another one on a queue of its own."""
    n = await plus(n, 1)
    return await plus(n, 10).options(queue=SIDE_QUEUE)
