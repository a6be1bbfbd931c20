"""Waits of workflow code: `sleep`, `wait_condition` and `Signal.wait` return a Wait, which begins when it is awaited.

A plain coroutine is always true, so that `if approval.wait():` would approve anything. A Wait has no truth value, and
one that is never awaited fails the run and names its line, as a call of an activity does.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Coroutine, Generator
from datetime import UTC, datetime
from typing import Any, TypeVar

from penstock.engine.authoring.context import current
from penstock.engine.execution.loop import WorkflowLoop
from penstock.schemas.errors import BadInput
from penstock.schemas.values.durations import Moment, due_ms
from penstock.schemas.values.lazy import Lazy

R = TypeVar("R")


class Wait(Lazy[R]):
    """A wait that has not begun. Await it once, or hand it to an asyncio function that takes a coroutine."""

    __slots__ = ("_code", "_coroutine", "_instruction", "_loop", "_number", "_used", "name")

    def __init__(self, name: str, coroutine: Coroutine[Any, Any, R]) -> None:
        """To be created by the function that user code calls: errors name the line of that call."""
        frame = sys._getframe(2)  # noqa: SLF001 - as in Call
        self._code, self._instruction = frame.f_code, frame.f_lasti
        self.name, self._coroutine = name, coroutine
        self._loop = asyncio._get_running_loop()  # noqa: SLF001 - None, not an error, where no loop runs
        self._used, self._number = False, 0

    def __await__(self) -> Generator[Any, Any, R]:
        self._used = True
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        self._used = True
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        self._used = True
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._used = True
        self._coroutine.close()

    def __del__(self) -> None:
        try:
            super().__del__()
        finally:
            if not getattr(self, "_used", True):
                self._coroutine.close()  # reported already: no warning by Python as well


def sleep(duration: Moment) -> Coroutine[Any, Any, None]:
    """Wait durably for a duration ("1h", seconds, timedelta) or until an aware moment, at no cost meanwhile.

    To be awaited. Outside a workflow it sleeps as asyncio does. Raises BadDuration."""
    return Wait("sleep", _sleep(duration))


async def _sleep(duration: Moment) -> None:
    loop = asyncio.get_running_loop()
    now_ms = round(loop.time() * 1000)
    if not isinstance(loop, WorkflowLoop):
        now_ms = round(datetime.now(UTC).timestamp() * 1000)
    await asyncio.sleep((due_ms(duration, now_ms) - now_ms) / 1000)


def wait_condition(condition: Callable[[], bool], *, timeout: Moment | None = None) -> Coroutine[Any, Any, None]:
    """Wait until `condition()` holds; it is tested after every input of the run. To be awaited.

    Raises BadInput for an async function, whose result would always hold.
    Raises TimeoutError if it does not hold in time (`timeout`: a duration, or an aware moment)."""
    if inspect.iscoroutinefunction(condition):
        raise BadInput("wait_condition() takes a function that returns True or False at once, not an async one.")
    return Wait("wait_condition", _wait_condition(condition, timeout))


async def _wait_condition(condition: Callable[[], bool], timeout: Moment | None) -> None:
    program = current("wait_condition()")
    if condition():
        return
    future = program.loop.create_future()
    program.conditions.add(condition, future)
    if timeout is None:
        await future
        return
    async with asyncio.timeout_at(due_ms(timeout, program.loop.now_ms) / 1000):
        await future
