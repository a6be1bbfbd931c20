"""Workflows for tests of the driver."""

from __future__ import annotations

import asyncio

from penstock import activity, sleep, workflow


@activity(name="rig_part")
def part(number: int, text: str) -> None: ...


@activity(name="rig_elsewhere", queue="elsewhere")
def elsewhere(text: str) -> None: ...


@workflow(name="rig_fan")
async def fan(width: int, text: str) -> None:
    await asyncio.gather(*(part(number, text) for number in range(width)))


@workflow(name="rig_one")
async def one(text: str) -> None:
    await part(0, text)


@workflow(name="rig_other_queue")
async def other_queue(text: str) -> None:
    await elsewhere(text)


@workflow(name="rig_nap")
async def nap() -> None:
    await sleep("1s")


@workflow(name="rig_later")
async def later() -> None:
    await sleep("1s")
    await part(0, "x")


ALL = (fan, one, other_queue, nap, later)
