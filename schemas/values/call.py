"""What does calling an activity or a workflow give? A lazy Call: nothing happens before it is awaited.

Awaited inside a workflow, the running loop performs it (records the order, later hands over the result). Awaited
anywhere else, it does what its definition says: an activity runs, a workflow refuses. That is how `workers` and
`engine` share calls without importing each other: the loop is asked, by duck type, for `perform`.
"""

from __future__ import annotations

import asyncio
import sys
import warnings
from abc import abstractmethod
from collections.abc import Coroutine, Generator
from types import CodeType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from penstock.schemas.errors import CallNotAwaited
from penstock.schemas.values.requests import ActivityRequest, ChildRequest

if TYPE_CHECKING:
    from penstock.schemas.values.payload import Adapter

R = TypeVar("R")


class CallHost(Protocol):
    """A loop that performs calls durably."""

    def perform(self, call: Call[Any]) -> asyncio.Future[bytes]:
        """Record the order; the future gets the encoded result or the failure."""
        ...

    def dropped(self, call: Lazy[Any]) -> None:
        """A call made under this loop was thrown away unused."""
        ...


class Lazy(Coroutine[Any, Any, R], Generic[R]):
    """What stands for something that happens once it is awaited, and says so when it never is.

    Whoever derives from it has these attributes: slots are declared there, where they are copied."""

    __slots__ = ()

    name: str
    _code: CodeType
    _instruction: int
    _loop: asyncio.AbstractEventLoop | None
    _used: bool

    def claim(self) -> None:
        """Mark it as used: somebody took charge of it."""
        self._used = True

    @property
    def made_at(self) -> str:
        """`file:line` of where it was made."""
        line = next((line for first, stop, line in self._code.co_lines() if first <= self._instruction < stop), None)
        return f"{self._code.co_filename}:{line or self._code.co_firstlineno}"

    def __bool__(self) -> bool:
        """Neither true nor false: `if approval.wait():` forgot its `await`. Raises CallNotAwaited."""
        raise CallNotAwaited(
            f"{self.name}(…) at {self.made_at} was asked whether it is true, but was never awaited; "
            f"write `await {self.name}(…)`."
        )

    def __del__(self) -> None:
        if getattr(self, "_used", True):
            return
        if self._loop is None or not hasattr(self._loop, "dropped"):
            warnings.warn(
                f"{self.name}(…) was called at {self.made_at} but never awaited", RuntimeWarning, stacklevel=2
            )
        elif asyncio._get_running_loop() is self._loop:  # noqa: SLF001 - a late collection must not blame another run
            self._loop.dropped(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} from {self.made_at}>"


class Call(Lazy[R]):
    """A call that has not happened yet. Await it, hand it to `asyncio.create_task`, `client.start` or `undo=`."""

    __slots__ = ("_code", "_instruction", "_iterator", "_loop", "_used", "begun", "input", "name", "returns")

    def __init__(self, name: str, input: bytes, returns: Adapter[R], *, depth: int = 2) -> None:
        frame = sys._getframe(depth)  # noqa: SLF001 - the caller's line, for CallNotAwaited; the cheap way to it
        self._code, self._instruction = frame.f_code, frame.f_lasti  # the line itself is dear to work out
        self.name, self.input, self.returns = name, input, returns
        self._loop = asyncio._get_running_loop()  # noqa: SLF001 - None, not an error, where no loop runs
        self._used = self.begun = False
        self._iterator: Generator[Any, Any, R] | None = None

    @abstractmethod
    def request(self) -> ActivityRequest | ChildRequest:
        """What this call asks of a run."""

    @abstractmethod
    def rewritten(self, input: bytes) -> bytes:
        """An input recorded earlier, read and written again by today's types. Raises BadInput if it no longer fits."""

    @abstractmethod
    async def run_outside(self) -> R:
        """What awaiting means where no workflow runs."""

    def __await__(self) -> Generator[Any, Any, R]:
        self._used = self.begun = True
        perform = getattr(asyncio.get_running_loop(), "perform", None)
        if perform is None:
            return (yield from self.run_outside().__await__())
        return self.returns.decode((yield from perform(self)), "The result of " + self.name)

    def send(self, value: Any) -> Any:
        if self._iterator is None:
            self._iterator = self.__await__()
        return self._iterator.send(value)

    def throw(self, *error: Any) -> Any:
        self._used = True
        if self._iterator is None:
            self._iterator = self.__await__()
        return self._iterator.throw(*error)

    def close(self) -> None:
        self._used = True
        if self._iterator is not None:
            self._iterator.close()
