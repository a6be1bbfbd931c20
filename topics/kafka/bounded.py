"""Thread for calls of librdkafka that have no timeout, so that the caller waits for a bounded time.

`Consumer.commit` waits for the group's coordinator without a limit, and a consumer must not be destroyed during the
call. A member's commits and its close therefore run in one thread, in order. While a call is late, other calls on the
same consumer would wait as well (the client library serializes them), so the member checks `is_free` first.

Steps of a transaction have no timeout either. A transactor does not wait for a late step: it abandons the thread,
together with the producer, which is destroyed when the step ends.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

_T = TypeVar("_T")


class Bounded:
    """Executor of calls, one after the other, in a daemon thread. Used by one thread."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._late: Future[Any] | None = None

    def call(
        self, step: Callable[[], _T], timeout_s: float, is_lost: Callable[[], bool] | None = None, look_s: float = 1.0
    ) -> _T:
        """The result of `step`, or its exception. Raises TimeoutError after `timeout_s`.

        The step then continues in the thread, or was not started because an earlier one is late. `is_lost`: asked every
        `look_s` whether there is no use in waiting any longer."""
        deadline_s = time.monotonic() + timeout_s
        if not self.is_free(timeout_s):
            raise TimeoutError
        answer = self._submit(step)
        try:
            while is_lost is not None and time.monotonic() + look_s < deadline_s:
                with contextlib.suppress(TimeoutError):
                    answer.exception(look_s)
                if answer.done() or is_lost():
                    deadline_s = 0.0
            return answer.result(max(0.0, deadline_s - time.monotonic()))
        finally:
            if not answer.done():
                self._late = answer
            del answer, step  # an error's traceback refers to this frame, and must not keep the step's objects alive

    def is_free(self, timeout_s: float) -> bool:
        """Whether no call is late, after waiting up to `timeout_s` for a late one."""
        if self._late is not None:
            try:
                self._late.exception(timeout_s)
            except TimeoutError:
                return False
            self._late = None
        return True

    def end(self, step: Callable[[], object], timeout_s: float) -> None:
        """Make the last call, even if an earlier one is late. Raises the step's exception, TimeoutError."""
        answer = self._submit(step)
        self.abandon()
        answer.result(timeout_s)

    def abandon(self) -> None:
        """Accept no more calls; the thread ends after those already submitted."""
        self._calls.put(None)

    def _submit(self, step: Callable[[], _T]) -> Future[_T]:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        answer: Future[_T] = Future()
        self._calls.put((answer, step))
        return answer

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            answer, step = call
            try:
                answer.set_result(step())
            except BaseException as error:  # noqa: BLE001 (raised again by the caller's wait)
                answer.set_exception(error)
            del call, answer, step  # objects of a step must not outlive it
