"""Tests of lazy calls: each happens once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from penstock import activity, workflow
from penstock.schemas.errors import ActivityFailedError
from penstock.schemas.failure import Failure
from tests.engine.stage import Stage


@activity(name="once-charge")
def charge(number: int) -> int: ...


async def _twice(call: Any) -> Any:
    return [await call, await call]


async def _two_tasks(call: Any) -> Any:
    return await asyncio.gather(asyncio.create_task(call), asyncio.create_task(call))


async def _second_gather(call: Any) -> Any:
    return [await asyncio.gather(call), await asyncio.gather(call)]


async def _task_then_await(call: Any) -> Any:
    await asyncio.create_task(call)
    return await call


async def _options_of_a_used_call(call: Any) -> Any:
    await call
    return await call.options(timeout="1s")


WAYS: dict[str, Callable[[Any], Awaitable[Any]]] = {
    way.__name__: way for way in (_twice, _two_tasks, _second_gather, _task_then_await, _options_of_a_used_call)
}


@workflow(name="once-uses")
async def uses(way: str) -> Any:
    return await WAYS[way](charge(7))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("run_cache_bytes", [1, 10_000_000], ids=["replayed", "in memory"])
def test_a_call_happens_once(way: str, run_cache_bytes: int) -> None:
    """A call that is awaited again, in whatever way, is refused with a sentence; the activity runs once at most."""
    stage = Stage(uses, run_cache_bytes=run_cache_bytes)
    stage.start(uses, way)
    charged: list[int] = []
    stage.run(**{"once-charge": lambda number: charged.append(number) or number})
    failure = stage.described()["failure"]
    assert failure["type"] == "RuntimeError" and "was awaited before: a call happens once" in failure["message"]
    assert len(charged) <= 1


class ConnectionError(Exception):
    """A class that shares its name with a built-in one."""


def test_a_class_of_the_same_name_is_another_class() -> None:
    """`is_` compares the qualified name with its module: a built-in error is no class of the same name."""
    error = ActivityFailedError(failure=Failure(type="ConnectionError", message="away"))
    assert not error.is_(ConnectionError)
    assert error.is_(__builtins__["ConnectionError"])
