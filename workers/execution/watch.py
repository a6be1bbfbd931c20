"""Watch for async activities that block the event loop, and so keep all other tasks of their worker from going on.

A second thread asks the loop for an answer at intervals, and looks at the loop's frames if none comes. The fast path
keeps no record for this purpose.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from structlog.typing import FilteringBoundLogger

from penstock.schemas.values.frames import called_by, frame_of, place
from penstock.workers.execution.attempt import CALLED

SLOW_S = 5.0
LOOK_S_MAX = 1.0


class LoopWatch:
    """Logs once when the event loop gives no answer for `slow_s`, with the activity and its line, and when it answers
    again. Created in the loop's thread; `start` looks from a thread of its own, a test calls `look` itself."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, thread_id: int, logger: FilteringBoundLogger, slow_s: float = SLOW_S
    ) -> None:
        self._loop, self._thread_id, self._logger, self._slow_s = loop, thread_id, logger, slow_s
        self._asked_s: float | None = None
        self._warned: dict[str, Any] = {}
        self._stopping = threading.Event()

    def start(self) -> None:
        """Look at intervals until `stop`."""
        threading.Thread(target=self._run, name="penstock-loop-watch", daemon=True).start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()

    def look(self, now_s: float) -> None:
        """Ask the loop for an answer, or look what it does if it has not answered."""
        asked_s = self._asked_s
        if asked_s is None:
            self._asked_s = now_s
            self._loop.call_soon_threadsafe(self._answer)
        elif not self._warned and now_s - asked_s >= self._slow_s:
            self._warned = self._found()
            self._logger.warning(
                "the event loop is blocked, and with it all other tasks of this worker: make the activity await, or "
                "declare it with def",
                blocked_s=round(now_s - asked_s, 1),
                **self._warned,
            )

    def _answer(self) -> None:
        asked_s, self._asked_s = self._asked_s, None
        if self._warned and asked_s is not None:
            blocked_s = round(time.monotonic() - asked_s, 1)
            self._logger.warning("the event loop goes on", blocked_s=blocked_s, **self._warned)
            self._warned = {}

    def _found(self) -> dict[str, Any]:
        innermost = frame_of(self._thread_id)
        caller = called_by(CALLED, innermost)
        activity = caller.f_locals["definition"].name if caller is not None else None
        return {"activity": activity, "at": place(innermost, caller)}

    def _run(self) -> None:
        while not self._stopping.wait(min(self._slow_s / 4, LOOK_S_MAX)):
            try:
                self.look(time.monotonic())
            except RuntimeError:  # the loop is closed
                return
