"""What do `sleep`, `wait_condition` and `Signal.wait` give? A Wait: nothing happens before it is awaited.

A coroutine would do, were it not true by itself: `if approval.wait():` would approve whatever comes. A Wait is neither
true nor false, and forgotten by workflow code it fails the run and names the line, as a call of an activity does.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

from penstock.schemas.values.call import Lazy

R = TypeVar("R")


class Wait(Lazy[R]):
    """A wait that has not begun. Await it once, or hand it to whatever of asyncio takes a coroutine."""

    __slots__ = ("_code", "_coroutine", "_instruction", "_loop", "_used", "name")

    def __init__(self, name: str, coroutine: Coroutine[Any, Any, R]) -> None:
        """To be made by the function that user code calls: that call's line is the one told."""
        frame = sys._getframe(2)  # noqa: SLF001 - as in Call
        self._code, self._instruction = frame.f_code, frame.f_lasti
        self.name, self._coroutine = name, coroutine
        self._loop = asyncio._get_running_loop()  # noqa: SLF001 - None, not an error, where no loop runs
        self._used = False

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
                self._coroutine.close()  # it has been told: no warning of Python's as well
