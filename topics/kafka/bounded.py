"""How is a wait bounded that librdkafka does not bound? A thread waits; the caller gives up in time.

`Consumer.commit` waits for the group's coordinator as long as it takes, and a consumer may not be destroyed meanwhile.
So a member's commits and its close go through one thread, in their order: what comes late still comes in turn. While
one is late, every other call on that consumer would wait for it too (the client library lets one at a time in), so its
owner asks `is_free` first.

The steps of a transaction wait likewise. A transactor does not await a late one: it abandons the thread, and with it
the producer that the step holds, which then goes when the step ends.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

_T = TypeVar("_T")


class Bounded:
    """Calls, one after the other, in a thread that dies with the process. Used by one thread."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._orders: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._late: Future[Any] | None = None

    def call(self, step: Callable[[], _T], timeout_s: float) -> _T:
        """What `step` returns or raises. Raises TimeoutError when it takes longer: it then goes on by itself, or was
        not even begun because an earlier one is late."""
        began = time.monotonic()
        if not self.is_free(timeout_s):
            raise TimeoutError
        answer = self._order(step)
        try:
            return answer.result(max(0.0, timeout_s - (time.monotonic() - began)))
        finally:
            if not answer.done():
                self._late = answer
            del answer, step  # an error's traceback leads here, and must not keep what the step holds

    def is_free(self, timeout_s: float) -> bool:
        """Whether nothing is late any more; waits so long for it."""
        if self._late is not None:
            try:
                self._late.exception(timeout_s)
            except TimeoutError:
                return False
            self._late = None
        return True

    def end(self, step: Callable[[], object], timeout_s: float) -> None:
        """The last call, made even when an earlier one is late. Raises what it raises, and TimeoutError."""
        answer = self._order(step)
        self.abandon()
        answer.result(timeout_s)

    def abandon(self) -> None:
        """Make no call any more; the thread ends after what it was given, and keeps nothing."""
        self._orders.put(None)

    def _order(self, step: Callable[[], _T]) -> Future[_T]:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        answer: Future[_T] = Future()
        self._orders.put((answer, step))
        return answer

    def _work(self) -> None:
        while (order := self._orders.get()) is not None:
            answer, step = order
            try:
                answer.set_result(step())
            except BaseException as error:  # noqa: BLE001 (it is raised again where the answer is waited for)
                answer.set_exception(error)
            del order, answer, step  # what a step holds must not outlive it
