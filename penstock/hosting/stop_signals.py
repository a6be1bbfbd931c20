"""Stop signals: SIGINT and SIGTERM as a flag that the main thread polls."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

POLL_S = 0.2


class StopSignals:
    """Receiver of SIGINT and SIGTERM, for the main thread. A second signal ends the process at once, after `at_once`,
    which may end its children and must take no lock."""

    def __init__(self, at_once: Callable[[], None] = lambda: None) -> None:
        self.received = False
        self._at_once = at_once
        self._pause = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def wait(self, timeout_s: float = POLL_S) -> None:
        """Sleep; check `received` afterwards."""
        self._pause.wait(timeout_s)

    def _handle(self, number: int, _: object) -> None:
        if self.received:
            self._at_once()
            os._exit(128 + number)
        # Only a flag: the handler may interrupt the main thread while that holds locks.
        self.received = True
