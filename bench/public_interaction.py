"""Workflows and calls of the rows that talk to runs: queries, updates, signals with a start, chains, children.

Each call is one unit of a row. It needs a version of Penstock with these verbs, so that the rows are measured on this
checkout alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from bench.public_workload import SEQUENTIAL, TEXT, rotated, sequential
from penstock import Client, continue_as_new, sleep, wait_condition, workflow

CHILDREN = 10
CHAIN = 10


@workflow(name="bench_entity")
class Entity:
    """A run that keeps a text."""

    def __init__(self, closes_at: int) -> None:
        self.text, self.heard, self.closes_at = TEXT, 0, closes_at

    @workflow.run
    async def run(self) -> int:
        """Until so many signals were heard."""
        await wait_condition(lambda: self.heard >= self.closes_at)
        return self.heard

    @workflow.signal
    def hear(self, text: str) -> None:
        """Count a signal."""
        self.text, self.heard = text, self.heard + 1

    @workflow.query
    def read(self) -> str:
        """The text."""
        return self.text

    @workflow.update
    def rotate(self, characters: int) -> str:
        """The text, with that many of its first characters moved to the end."""
        self.text = rotated(self.text, characters)
        return self.text


@workflow(name="bench_chain")
async def chain(left: int) -> int:
    """Runs that continue each other."""
    if left:
        continue_as_new(chain(left - 1))
    return CHAIN


@workflow(name="bench_leaf")
async def leaf(number: int) -> int:
    """A child."""
    await sleep(0)
    return number


@workflow(name="bench_parent")
async def parent(count: int) -> int:
    """Children at once."""
    return sum(await asyncio.gather(*(leaf(1) for _ in range(count))))


async def _execute(client: Client, id: str) -> None:
    _check(await client.execute(sequential(TEXT), id=id), rotated(TEXT, SEQUENTIAL))


async def _query(client: Client, id: str) -> None:
    run = await client.start(Entity(1_000_000), id=_shared(id))
    _check(await run.query(Entity.read), TEXT)


async def _update(client: Client, id: str) -> None:
    run = await client.start(Entity(1_000_000), id=_shared(id))
    _check(await run.update(Entity.rotate, len(TEXT), id=id), TEXT)


async def _signal_with_start(client: Client, id: str) -> None:
    run = await client.signal_with_start(Entity.hear, TEXT, Entity(1), id=id)
    _check(await run.result(), 1)


async def _continue_as_new(client: Client, id: str) -> None:
    _check(await client.execute(chain(CHAIN), id=id), CHAIN)


async def _children(client: Client, id: str) -> None:
    _check(await client.execute(parent(CHILDREN), id=id), CHILDREN)


CALLS: dict[str, Callable[[Client, str], Awaitable[None]]] = {
    "execute": _execute,
    "query": _query,
    "update": _update,
    "signal_with_start": _signal_with_start,
    "continue_as_new": _continue_as_new,
    "children": _children,
}


def _shared(id: str) -> str:
    """Id of the run that the calls of one tenth of the ids talk to."""
    return f"{id[:8]}-entity-{id[-1]}"


def _check(found: object, expected: object) -> None:
    if found != expected:
        raise RuntimeError(f"a wrong result: {found!r}")
