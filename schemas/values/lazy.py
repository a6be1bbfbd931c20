"""Base of awaitables that do nothing before they are awaited, and report when they never are."""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Coroutine
from types import CodeType
from typing import Any, Generic, TypeVar

from penstock.schemas.errors import CallNotAwaited

R = TypeVar("R")


class Lazy(Coroutine[Any, Any, R], Generic[R]):
    """Awaitable that starts when it is awaited, and reports if it never was.

    Subclasses declare these attributes as slots."""

    __slots__ = ()

    name: str
    _code: CodeType
    _instruction: int
    _loop: asyncio.AbstractEventLoop | None
    _number: int
    _used: bool

    def claim(self) -> None:
        """Mark the object as used, so that its deletion is not reported."""
        self._used = True

    @property
    def made_at(self) -> str:
        """`file:line` of the creation."""
        line = next((line for first, stop, line in self._code.co_lines() if first <= self._instruction < stop), None)
        return f"{self._code.co_filename}:{line or self._code.co_firstlineno}"

    def __bool__(self) -> bool:
        """Raise CallNotAwaited: `if approval.wait():` lacks an `await`. asyncio may ask, as its `repr(task)` does."""
        if sys._getframe(1).f_globals.get("__name__", "").startswith("asyncio."):  # noqa: SLF001 - the caller's module
            return True
        raise CallNotAwaited(
            f"{self.name}(…) at {self.made_at} was used as a condition, but was never awaited; "
            f"write `await {self.name}(…)`."
        )

    def __del__(self) -> None:
        if getattr(self, "_used", True):
            return
        if self._loop is None or not hasattr(self._loop, "dropped"):
            warnings.warn(
                f"{self.name}(…) was called at {self.made_at} but never awaited", RuntimeWarning, stacklevel=2
            )
        elif asyncio._get_running_loop() is self._loop:  # noqa: SLF001 - a late collection must not be reported to another run
            self._loop.dropped(self)

    def __hash__(self) -> int:
        """Number of the first hash within the run, not an address: sets of calls iterate alike on replay."""
        if not self._number:
            number = getattr(self._loop, "next_hash", None)
            self._number = number() if number is not None else id(self) >> 4
        return self._number

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} from {self.made_at}>"
