"""Bounded pool of daemon threads for sync activities.

A ThreadPoolExecutor does not fit: the interpreter joins its threads at exit, so one stuck activity would keep a
stopped worker's process alive. Daemon threads end with the process, and their tasks are delivered again.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any

_Job = tuple[Callable[[], Any], "asyncio.Future[Any]", asyncio.AbstractEventLoop]


class Threads:
    """At most `count` threads, each started when first needed. Used in the event loop's thread."""

    def __init__(self, count: int, name: str) -> None:
        self.count = count
        self._name = name
        self._started = 0
        self._busy = 0
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()

    @property
    def free(self) -> int:
        """Number of jobs that can start now; a job occupies its thread until its function returns."""
        return self.count - self._busy

    def run(self, job: Callable[[], Any]) -> asyncio.Future[Any]:
        """Run `job` in a thread. Cancelling the future does not stop the job."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._busy += 1
        if self._started < self._busy and self._started < self.count:
            self._started += 1
            threading.Thread(target=self._work, name=f"{self._name}-{self._started}", daemon=True).start()
        self._jobs.put((job, future, loop))
        return future

    def close(self) -> None:
        """End idle threads now, and busy ones after their current job."""
        for _ in range(self._started):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            function, future, loop = job
            value, error = None, None
            try:
                value = function()
            except BaseException as raised:  # including SystemExit, which fails the attempt only
                error = raised
            try:
                loop.call_soon_threadsafe(self._ended, future, value, error)
            except RuntimeError:
                return  # the loop was closed while the job ran
            del job, function, future, value, error

    def _ended(self, future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
        self._busy -= 1
        if future.cancelled():
            return
        if error is None:
            future.set_result(value)
        else:
            # A future refuses StopIteration, which an activity may raise by mistake.
            future.set_exception(error if not isinstance(error, StopIteration) else _wrapped(error))


def _wrapped(error: StopIteration) -> RuntimeError:
    wrapped = RuntimeError("the activity raised StopIteration")
    wrapped.__cause__ = error
    return wrapped
