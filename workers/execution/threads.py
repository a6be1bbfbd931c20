"""Bounded pool of daemon threads for sync activities.

A ThreadPoolExecutor does not fit: the interpreter joins its threads at exit, so one stuck activity would keep a
stopped worker's process alive. Daemon threads end with the process, and their tasks are delivered again.

A thread cannot be stopped from outside. One whose job goes on after its timeout is replaced, so that the worker keeps
its threads; a worker in which as many hang as it has threads is of no use any more and has to be restarted.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any

import structlog

from penstock.schemas.errors import ActivitiesHang
from penstock.schemas.values.frames import called_by, frame_of, place

_Job = tuple[Callable[[], Any], "asyncio.Future[Any]", asyncio.AbstractEventLoop]

logger = structlog.get_logger(__name__)


class Threads:
    """At most `count` threads, each started when first needed. Used in the event loop's thread.

    `exhausted` receives the reason, once, when more than `count` threads hang."""

    def __init__(self, count: int, name: str, exhausted: Callable[[ActivitiesHang], None] = lambda _: None) -> None:
        self.count = count
        self._name, self._exhausted = name, exhausted
        self._started = 0
        self._busy = 0
        self._hanging: set[asyncio.Future[Any]] = set()
        self._thread_of: dict[asyncio.Future[Any], int] = {}  # of jobs that have not returned; 0 before they begin
        self._lock = threading.Lock()  # between the return of a job and its being given up
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()

    @property
    def free(self) -> int:
        """Number of jobs that can start now; a job occupies its thread until its function returns or is given up."""
        return self.count - self._busy

    @property
    def hanging(self) -> int:
        """Number of jobs that were given up and have not returned."""
        return len(self._hanging)

    def run(self, job: Callable[[], Any]) -> asyncio.Future[Any]:
        """Run `job` in a thread. Cancelling the future does not stop the job."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._busy += 1
        if self._started < self._busy and self._started < self.count:
            self._started += 1
            threading.Thread(target=self._work, name=f"{self._name}-{self._started}", daemon=True).start()
        self._thread_of[future] = 0
        self._jobs.put((job, future, loop))
        return future

    def give_up(self, future: asyncio.Future[Any], what: str) -> None:
        """Replace the thread of a job that does not return. `what`: its name, for log lines."""
        with self._lock:
            thread_id = self._thread_of.get(future)
            if thread_id is None or future in self._hanging:
                return  # it has just returned
            self._hanging.add(future)
        self._busy -= 1
        self._started -= 1
        at = _place(thread_id)
        logger.warning(
            "a sync activity goes on after its timeout; its thread is replaced",
            activity=what,
            at=at,
            hanging=self.hanging,
            hanging_max=self.count,
        )
        if self.hanging == self.count + 1:
            self._exhausted(
                ActivitiesHang(
                    f"{self.hanging} sync activities go on after their timeout, the last one is {what} at {at}: this "
                    "worker has no more threads and ends; set time-outs for the calls that such activities make."
                )
            )

    def close(self) -> None:
        """End idle threads now, and busy ones after their current job."""
        for _ in range(self._started):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            function, future, loop = job
            self._thread_of[future] = threading.get_ident()
            value, error = None, None
            try:
                value = function()
            except BaseException as raised:  # including SystemExit, which fails the attempt only
                error = raised
            with self._lock:
                del self._thread_of[future]
                replaced = future in self._hanging
            try:
                loop.call_soon_threadsafe(self._ended, future, value, error)
            except RuntimeError:
                return  # the loop was closed while the job ran
            if replaced:
                return
            del job, function, future, value, error

    def _ended(self, future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
        if future in self._hanging:
            self._hanging.discard(future)
        else:
            self._busy -= 1
        if future.cancelled():
            return
        if error is None:
            future.set_result(value)
        else:
            # A future refuses StopIteration, which an activity may raise by mistake.
            future.set_exception(error if not isinstance(error, StopIteration) else _wrapped(error))


_WORK = Threads._work.__code__  # noqa: SLF001 - of this module


def _place(thread_id: int) -> str:
    innermost = frame_of(thread_id)
    return place(innermost, called_by(_WORK, innermost))


def _wrapped(error: StopIteration) -> RuntimeError:
    wrapped = RuntimeError("the activity raised StopIteration")
    wrapped.__cause__ = error
    return wrapped
