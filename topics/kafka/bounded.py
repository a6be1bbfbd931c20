"""How is a wait bounded that librdkafka does not bound? A thread waits; the caller gives up in time.

`Consumer.commit` waits for the group's coordinator as long as it takes, and a consumer may not be destroyed meanwhile.
So a member's commits and its close go through one thread, in their order: what comes late still comes in turn.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from penstock.schemas.errors import LogUnavailable

_Order = tuple[Callable[[], Any], "queue.SimpleQueue[tuple[Any, BaseException | None]]"]


class Bounded:
    """Calls, one after the other, in a thread that dies with the process. Used by one thread."""

    def __init__(self, name: str) -> None:
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._started = False

    def call(self, step: Callable[[], Any], timeout_s: float, doing: str) -> Any:
        """What `step` returns or raises. Raises LogUnavailable when it takes longer; it then goes on by itself."""
        if not self._started:
            self._started = True
            self._thread.start()
        answer: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._orders.put((step, answer))
        try:
            result, error = answer.get(timeout=timeout_s)
        except queue.Empty:
            raise LogUnavailable(f"{doing} took longer than {timeout_s:g} s: does the Kafka broker answer?") from None
        if error is not None:
            raise error
        return result

    def end(self) -> None:
        """Let the thread end after what it was given."""
        self._orders.put(None)

    def _work(self) -> None:
        while (order := self._orders.get()) is not None:
            step, answer = order
            try:
                answer.put((step(), None))
            except BaseException as error:  # noqa: BLE001 (it is raised again where the answer is waited for)
                answer.put((None, error))
