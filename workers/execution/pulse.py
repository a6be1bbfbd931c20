"""Heartbeats of one attempt: the first is sent at once, then one at most in each interval, with the last details.

A call that comes too early is sent when the interval is over, unless the attempt has ended by then: what was not sent
goes with its failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable

SENT_FRACTION = 0.8
"""Part of a heartbeat's time after which the next one is sent."""

SENT_EVERY_S = 30.0
"""Interval for an activity without a heartbeat's time: its details are kept for the case that its worker dies."""


class Pulse:
    """Heartbeats of one attempt, from any thread. `send` receives details (JSON) and is called in that thread."""

    __slots__ = ("_details", "_ended", "_every_s", "_lock", "_loop", "_next_s", "_send", "_unsent", "_waits")

    def __init__(self, heartbeat_ms: int, loop: asyncio.AbstractEventLoop, send: Callable[[bytes], None]) -> None:
        self._every_s = SENT_FRACTION * heartbeat_ms / 1_000 if heartbeat_ms else SENT_EVERY_S
        self._loop, self._send = loop, send
        self._lock = threading.Lock()
        self._details = b""
        self._next_s = 0.0
        self._unsent = self._waits = self._ended = False

    def beat(self, details: bytes) -> None:
        """Report that the attempt goes on."""
        with self._lock:
            if self._ended:
                return
            self._details, self._unsent = details, True
            now_s = time.monotonic()
            if now_s >= self._next_s:
                self._send_now(now_s)
            elif not self._waits:
                self._waits = True
                with contextlib.suppress(RuntimeError):  # the loop is closed: the worker has stopped
                    self._loop.call_soon_threadsafe(self._loop.call_later, self._next_s - now_s, self._send_waiting)

    def end(self) -> bytes:
        """Send nothing any more; returns the details that were not sent, empty for none."""
        with self._lock:
            self._ended = True
            return self._details if self._unsent else b""

    def _send_waiting(self) -> None:
        with self._lock:
            self._waits = False
            if self._unsent and not self._ended:
                self._send_now(time.monotonic())

    def _send_now(self, now_s: float) -> None:
        self._next_s, self._unsent = now_s + self._every_s, False
        self._send(self._details)
