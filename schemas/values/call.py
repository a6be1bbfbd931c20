"""Lazy calls of activities and workflows, which start when they are awaited.

Inside a workflow, the running loop performs the call: it records the request and later returns the result. Elsewhere,
`run_outside` decides: an activity runs, a workflow raises. `workers` and `engine` share calls without importing each
other, because a call finds the loop's `perform` by duck typing.
"""

from __future__ import annotations

import asyncio
import copy
import sys
from abc import abstractmethod
from collections.abc import Generator
from typing import Any, Protocol, Self, TypeVar

from penstock.schemas.values.lazy import Lazy
from penstock.schemas.values.payload import Adapter
from penstock.schemas.values.requests import ActivityRequest, ChildRequest

R = TypeVar("R")


_AGAIN = (
    "{call.name}(…) from {call.made_at} was awaited before: a call happens once. Make another call, or keep the task "
    "that awaits it and await that."
)


class CallHost(Protocol):
    """Event loop that performs calls durably."""

    def perform(self, call: Call[Any]) -> asyncio.Future[bytes]:
        """Record the request; the future gets the encoded result or the failure."""
        ...

    def dropped(self, call: Lazy[Any]) -> None:
        """Report a call that was created under this loop and deleted unused."""
        ...


class Call(Lazy[R]):
    """Call that has not started yet. Await it, or pass it to `asyncio.create_task`, `client.start` or `undo=`.

    `request`: what it asks of a run, with the options; `input`: JSON."""

    __slots__ = (
        "_code",
        "_handed",
        "_instruction",
        "_iterator",
        "_loop",
        "_number",
        "_used",
        "begun",
        "input",
        "name",
        "request",
        "returns",
    )

    def __init__(
        self, name: str, request: ActivityRequest | ChildRequest, input: bytes, returns: Adapter[R], *, depth: int = 2
    ) -> None:
        frame = sys._getframe(depth)  # noqa: SLF001 - the caller's line, for CallNotAwaited, at little cost
        self._code, self._instruction = frame.f_code, frame.f_lasti  # computing the line number here would be slow
        self.name, self.request, self.input, self.returns = name, request, input, returns
        self._loop = asyncio._get_running_loop()  # noqa: SLF001 - None, not an error, if no loop runs
        self._used = self.begun = False
        self._number = 0
        self._handed = False
        self._iterator: Any = None  # the generator of `__await__`

    def _changed(self, request: ActivityRequest | ChildRequest) -> Self:
        """A copy that asks for this instead; the call itself need not be awaited any more."""
        self.claim()
        changed = copy.copy(self)
        if self.begun or self._handed:
            raise RuntimeError(_AGAIN.format(call=self))
        changed.request, changed._used, changed._number = request, False, 0  # noqa: SLF001 - of its own class
        return changed

    @abstractmethod
    def rewritten(self, input: bytes) -> bytes:
        """An input recorded earlier, read and written again by today's types. Raises BadInput if it no longer fits."""

    @abstractmethod
    async def run_outside(self) -> R:
        """Perform the call, or raise, where no workflow runs."""

    def hand_over(self) -> None:
        """A workflow's loop makes a task of the call. RuntimeError for the second one."""
        if self._handed or self.begun:
            raise RuntimeError(_AGAIN.format(call=self))
        self._handed = True

    def __await__(self) -> Generator[Any, Any, R]:
        if self.begun:
            raise RuntimeError(_AGAIN.format(call=self))
        self._used = self.begun = True
        perform = getattr(asyncio.get_running_loop(), "perform", None)
        if perform is None:
            return (yield from self.run_outside().__await__())
        return self.returns.decode((yield from perform(self)), "The result of " + self.name)

    def send(self, value: Any) -> Any:
        if self._iterator is None:
            self._iterator = self.__await__()
        elif self._iterator.gi_frame is None:  # a second task of a call whose first one has ended
            raise RuntimeError(_AGAIN.format(call=self))
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
