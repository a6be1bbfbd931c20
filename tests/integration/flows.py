"""Workflows that the whole-system tests run."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from penstock.engine.authoring.publishing import publish
from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.waiting import sleep
from penstock.engine.authoring.workflow import workflow
from penstock.schemas.errors import ActivityCancelledError
from penstock.workers.activity.decorator import activity
from penstock.workers.activity.heartbeats import heartbeat
from penstock.workers.activity.info import activity_info

SIDE_QUEUE = "side-track"

go = Signal("integration-go")
more = Signal("integration-more", int)


@activity
async def plus(a: int, b: int) -> int:
    """Add two numbers; tests count its executions."""
    return a + b


@activity(heartbeat="2s", backoff=["100ms"], retries=5, cancel="wait")
def stand_by(folder: str) -> str:
    """Say in files of the folder what happens to this attempt, and go on until one of them says to end."""
    info, name = activity_info(), str(os.getpid())
    Path(folder, f"begun-{info.attempt}-{name}").touch()
    try:
        while not Path(folder, f"end-{info.attempt}").exists():
            heartbeat(info.attempt)
            time.sleep(0.01)
    except ActivityCancelledError:
        Path(folder, f"cancelled-{info.attempt}-{name}").touch()
        raise
    return f"attempt {info.attempt}"


@workflow(name="integration.standing")
async def standing(folder: str) -> str:
    """One activity that goes on until it is told to end."""
    return await stand_by(folder)


@workflow(name="integration.five")
async def five(n: int) -> int:
    """Five additions, one after the other."""
    for step in range(5):
        n = await plus(n, step)
    return n


@workflow(name="integration.shared", version=1)
async def shared_before(n: int) -> list[int]:
    """The version that the run took, and a sum."""
    return [1, await plus(n, 1)]


@workflow(name="integration.shared", version=2)
async def shared(n: int) -> list[int]:
    """As version 1, with one more step."""
    return [2, await plus(await plus(n, 0), 1)]


@workflow(name="integration.mixed")
async def mixed(n: int) -> int:
    """Parallel additions, a short sleep, a child on another shard."""
    parts = await asyncio.gather(*(plus(n, i) for i in range(4)))
    await sleep(0.05)
    return sum(parts) + await five(n)


def mixed_result(n: int) -> int:
    """Expected result of `mixed`."""
    return sum(n + i for i in range(4)) + n + 10


@workflow(name="integration.audited")
async def audited(topic: str, n: int) -> int:
    """A record to a topic before an addition, and one after it."""
    publish(topic, key=str(n), value={"n": n, "step": "begun"})
    total = await plus(n, 1)
    publish(topic, key=str(n), value={"n": n, "step": "done"})
    return total


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
