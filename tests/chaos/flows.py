"""Workflows of the chaos test: a neighbour, and what harms it."""

from __future__ import annotations

import asyncio
import ctypes
import os
from pathlib import Path

from penstock import activity, workflow


@activity(name="chaos_step")
async def step(number: int) -> int:
    """The neighbour's work."""
    return number


@activity(name="chaos_part", queue="idle")
def part(number: int, text: str) -> None:
    """A part of a poisoned fan-out, on a queue that nobody serves."""


@activity(name="chaos_killer", queue="risky", retries=1)
def killer(folder: str) -> None:
    """End the worker's process."""
    with (Path(folder) / "killed").open("a") as file:
        file.write("x")
    os._exit(9)


@activity(name="chaos_refused", queue="refused")
def refused(number: int) -> None:
    """Work whose topic the broker refuses for a while."""


@workflow(name="chaos_neighbour")
async def neighbour(number: int) -> int:
    """One activity: what every user's run does."""
    return await step(number)


@workflow(name="chaos_poison")
async def poison(width: int, size: int) -> None:
    """A fan-out with large inputs."""
    await asyncio.gather(*(part(number, "x" * size) for number in range(width)))


@workflow(name="chaos_spin")
async def spin() -> None:
    """Code that never returns."""
    while True:
        pass


@workflow(name="chaos_abort")
async def abort() -> None:
    """Code that ends the process, as a bug in a C extension does."""
    ctypes.string_at(0)


@workflow(name="chaos_deadly_activity")
async def deadly_activity(folder: str) -> None:
    """A run whose activity ends its worker."""
    await killer(folder)


@workflow(name="chaos_needs_refused")
async def needs_refused(number: int) -> None:
    """A run that needs a topic which the broker refuses for a while."""
    await refused(number)
