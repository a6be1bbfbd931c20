"""Signals and conditions of one run: values that arrived, and the code that waits for them."""

from __future__ import annotations

import asyncio
import itertools
import operator
from collections import deque
from collections.abc import Callable, Iterable

from penstock.engine.core.limits import LISTENING_NAME_CHARS_MAX, LISTENING_NAMES_MAX
from penstock.engine.execution.handlers import Handlers
from penstock.engine.execution.loop import WorkflowLoop
from penstock.schemas.records.decisions import Listening
from penstock.schemas.records.signal import SignalReceived

ROUNDS_MAX = 100_000
CIRCULAR = (
    f"Conditions of the workflow became true {ROUNDS_MAX:,} times without its waiting for an activity, a signal or a "
    "timer; await one of them between two wait_condition()."
)

_is_done = operator.methodcaller("done")


class Signals:
    """Values by signal name, first in first out, and the futures that wait for one."""

    __slots__ = ("_loop", "values", "waiters")

    def __init__(self, loop: WorkflowLoop) -> None:
        self._loop = loop
        self.values: dict[str, deque[bytes]] = {}
        self.waiters: dict[str, deque[asyncio.Future[bytes]]] = {}

    def arrived(self, name: str, value: bytes) -> None:
        """Give a value to the first waiter, or keep it."""
        if not self._hand_over(name, value):
            self.values.setdefault(name, deque()).append(value)

    def next_value(self, name: str) -> asyncio.Future[bytes]:
        """The next value of a signal: one that is kept, or the next to arrive."""
        future: asyncio.Future[bytes] = self._loop.create_future()
        kept = self.values.get(name)
        if kept:
            future.set_result(kept.popleft())
            return future
        waiters = self.waiters.setdefault(name, deque())
        while waiters and waiters[0].done():  # they gave up; code may try again any number of times
            waiters.popleft()
        waiters.append(future)
        return future

    def put_back(self, name: str, value: bytes) -> None:
        """Return a value whose reader was cancelled before it saw it: the next reader gets it first."""
        if not self._hand_over(name, value):
            self.values.setdefault(name, deque()).appendleft(value)

    def awaited(self) -> tuple[str, ...]:
        """Names of signals that code waits for, sorted and bounded."""
        return _names(name for name, waiters in self.waiters.items() if not all(map(_is_done, waiters)))

    def unread(self) -> dict[str, int]:
        """Number of kept values by name, bounded."""
        return {
            name[:LISTENING_NAME_CHARS_MAX]: len(values)
            for name, values in itertools.islice(self.values.items(), LISTENING_NAMES_MAX)
            if values
        }

    def unread_events(self) -> list[SignalReceived]:
        """Kept values as events, by name and then in their order."""
        return [SignalReceived(signal=name, input=value) for name, values in self.values.items() for value in values]

    def clear_waiters(self) -> None:
        """Forget the futures of a run that closes."""
        self.waiters.clear()

    def _hand_over(self, name: str, value: bytes) -> bool:
        waiters = self.waiters.get(name)
        while waiters:
            future = waiters.popleft()
            if not future.done():
                future.set_result(value)
                return True
        return False


class Conditions:
    """Conditions that code waits for; each is tested again after every activation."""

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    def add(self, condition: Callable[[], bool], future: asyncio.Future[None]) -> None:
        """Resolve `future` when `condition()` holds; an exception that it raises becomes the future's."""
        self.waiting.append((condition, future))

    def resolve(self, go_on: Callable[[], bool]) -> bool:
        """Test each once, in the order of the waits; after each that holds, `go_on` runs the code that waited for it.

        Returns whether any held. So a chain of conditions, each made true by the code behind the one before, takes one
        pass. `go_on` returns False to end the pass early."""
        resolved = False
        for condition, future in list(self.waiting):
            if not future.done() and _resolved(condition, future):
                resolved = True
                if not go_on():
                    break
        self.waiting = [waiting for waiting in self.waiting if not waiting[1].done()]
        return resolved

    def count(self) -> int:
        """Number of conditions that code waits for."""
        return sum(not future.done() for _, future in self.waiting)

    def clear(self) -> None:
        """Forget them all."""
        self.waiting.clear()


def _resolved(condition: Callable[[], bool], future: asyncio.Future[None]) -> bool:
    try:
        if condition():
            future.set_result(None)
            return True
    except StopIteration as error:  # a future refuses it, as a coroutine does
        future.set_exception(RuntimeError(f"the condition raised {error!r}"))
        return True
    except BaseException as error:  # noqa: BLE001 - the user's condition failed: that is its waiter's exception
        future.set_exception(error)
        return True
    return False


def listening(signals: Signals, conditions: Conditions, handlers: Handlers) -> Listening | None:
    """What code waits for besides its requests, signals that it has not read, and what it answers; None for nothing."""
    found = Listening(
        awaited=signals.awaited(),
        conditions=conditions.count(),
        unread=signals.unread(),
        queries=_names(handlers.queries.keys() - handlers.methods),
        updates=_names(handlers.updates.keys() - handlers.methods),
    )
    return found if found != _NOTHING else None


def _names(known: Iterable[str]) -> tuple[str, ...]:
    """Names sorted and bounded."""
    return tuple(name[:LISTENING_NAME_CHARS_MAX] for name in sorted(known)[:LISTENING_NAMES_MAX])


_NOTHING = Listening()
