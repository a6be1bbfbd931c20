"""Signals as workflow code declares and awaits them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar, overload

from penstock.engine.authoring.context import current
from penstock.engine.authoring.waiting import Wait
from penstock.engine.core.hosted import SignalCheck
from penstock.engine.core.limits import SIGNALS_DECLARED_MAX
from penstock.engine.execution.program import Program
from penstock.schemas.ids import check_signal_name
from penstock.schemas.values.durations import Moment, due_ms
from penstock.schemas.values.payload import Adapter, adapter_for

T = TypeVar("T")

_declared: dict[str, dict[Reads, None]] = {}


class Signal(Generic[T]):
    """A named, typed message to a run. `Signal("go")` carries no value. Raises BadName for an empty name."""

    @overload
    def __init__(self: Signal[None], name: str) -> None: ...
    @overload
    def __init__(self, name: str, type: type[T]) -> None: ...
    def __init__(self, name: str, type: Any = None) -> None:
        self.name = check_signal_name(name)
        self.adapter: Adapter[T] = adapter_for(type)
        declare(self.name, self.adapter)

    def wait(self, timeout: Moment | None = None) -> Coroutine[Any, Any, T]:
        """Wait for the next value, first in first out; one that arrived earlier counts too. To be awaited.

        Raises TimeoutError if none arrives in time (`timeout`: a duration, or an aware moment)."""
        return Wait(f"{self.name}.wait", self._wait(timeout))

    async def _wait(self, timeout: Moment | None) -> T:
        program = current(f"{self.name}.wait()")
        if timeout is None:
            return self._read(await self._next(program))
        deadline_s = due_ms(timeout, program.loop.now_ms) / 1000
        async with asyncio.timeout_at(deadline_s):
            value = await self._next(program)
        return self._read(value)

    def _read(self, value: bytes) -> T:
        return self.adapter.decode(value, f"The value of signal {self.name}")

    async def _next(self, program: Program) -> bytes:
        future = program.signals.next_value(self.name)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                program.signals.put_back(self.name, future.result())
            raise

    def __repr__(self) -> str:
        return f"Signal({self.name!r})"


class Reads(Protocol):
    """What reads a signal's value: an Adapter, or the Signature of a method."""

    def decode(self, data: bytes) -> Any:
        """The value. Raises BadInput."""
        ...


def declare(name: str, reads: Reads) -> None:
    """Make a signal known to this process."""
    known = _declared.get(name)
    if known is None and len(_declared) < SIGNALS_DECLARED_MAX:
        known = _declared[name] = {}
    if known is not None and len(known) < SIGNALS_DECLARED_MAX:
        known[reads] = None


class _DeclaredSignals(Mapping[str, SignalCheck]):
    def __getitem__(self, name: str) -> SignalCheck:
        return _check_of(tuple(_declared[name]))  # a copy: other threads may declare more meanwhile

    def __contains__(self, name: object) -> bool:
        return name in _declared

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(_declared))

    def __len__(self) -> int:
        return len(_declared)


def declared_signals() -> Mapping[str, SignalCheck]:
    """Checks of all signals that this process declares, by name: a view that includes those declared later."""
    return _DeclaredSignals()


def _check_of(declarations: tuple[Reads, ...]) -> SignalCheck:
    def problem(value: bytes) -> str:
        """Why no declaration of the signal takes the value; empty if one does."""
        found = ""
        for reads in declarations:
            try:
                reads.decode(value)
            except Exception as error:  # noqa: BLE001 - the user's own validators may raise anything
                found = str(error)
            else:
                return ""
        return found

    return problem
