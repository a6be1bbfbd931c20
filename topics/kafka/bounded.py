"""How is a wait bounded that librdkafka does not bound? A thread waits; the caller gives up in time.

`Consumer.commit` waits for the group's coordinator as long as it takes, and a consumer may not be destroyed meanwhile.
So a member's commits and its close go through one thread, in their order: what comes late still comes in turn. While
one is late, every other call on that consumer would wait for it too (the client library lets one at a time in), so its
owner asks `is_free` first.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from penstock.schemas.errors import LogUnavailable

_Answer = queue.SimpleQueue[tuple[Any, BaseException | None]]
_Order = tuple[Callable[[], Any], _Answer]


class Bounded:
    """Calls, one after the other, in a thread that dies with the process. Used by one thread."""

    def __init__(self, name: str) -> None:
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._started = False
        self._late: _Answer | None = None

    def call(self, step: Callable[[], Any], timeout_s: float, doing: str) -> Any:
        """What `step` returns or raises. Raises LogUnavailable when it takes longer: it then goes on by itself, or was
        not even begun because an earlier one is late."""
        began = time.monotonic()
        if self.is_free(timeout_s):
            answer = self._order(step)
            try:
                result, error = answer.get(timeout=max(0.0, timeout_s - (time.monotonic() - began)))
            except queue.Empty:
                self._late = answer
            else:
                if error is not None:
                    raise error
                return result
        raise LogUnavailable(f"{doing} took longer than {timeout_s:g} s: does the Kafka broker answer?")

    def is_free(self, timeout_s: float) -> bool:
        """Whether nothing is late any more; waits so long for it."""
        if self._late is not None:
            try:
                self._late.get(timeout=timeout_s) if timeout_s > 0 else self._late.get_nowait()
            except queue.Empty:
                return False
            self._late = None
        return True

    def end(self, step: Callable[[], Any], timeout_s: float) -> bool:
        """The last call, made even when an earlier one is late. Whether it was done in time."""
        answer = self._order(step)
        self._orders.put(None)
        try:
            _, error = answer.get(timeout=timeout_s)
        except queue.Empty:
            return False
        if error is not None:
            raise error
        return True

    def _order(self, step: Callable[[], Any]) -> _Answer:
        if not self._started:
            self._started = True
            self._thread.start()
        answer: _Answer = queue.SimpleQueue()
        self._orders.put((step, answer))
        return answer

    def _work(self) -> None:
        while (order := self._orders.get()) is not None:
            step, answer = order
            try:
                answer.put((step(), None))
            except BaseException as error:  # noqa: BLE001 (it is raised again where the answer is waited for)
                answer.put((None, error))
