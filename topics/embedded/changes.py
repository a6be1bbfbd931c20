"""Notification of commits, within a process and between processes."""

from __future__ import annotations

import sqlite3
import threading
import time

IDLE_SHARE, LOOK_S_MIN, LOOK_S_MAX = 0.1, 0.001, 0.02


class Changes:
    """Counter of commits: incremented at once by this process, and within 1 to 20 ms after commits of other processes.

    A waiter reads `count` before it reads the log, then waits until the count differs, so that no commit is missed.
    `wakes` counts the calls of `wake`, after which waiters return without a commit.
    `watcher` is a connection of its own for seeing other processes' commits; None for a log in memory."""

    def __init__(self, watcher: sqlite3.Connection | None) -> None:
        self.count = self.wakes = 0
        self._watcher = watcher
        self._version = -1
        self._changed_s = time.monotonic()
        self._condition = threading.Condition()

    def announce(self) -> None:
        """Report a commit of this process."""
        with self._condition:
            self._other_process_committed()  # so that this commit is not attributed to another process later
            self._increment()

    def wake(self) -> None:
        """Let all who wait return."""
        with self._condition:
            self.wakes += 1
            self._increment()

    def wait(self, seen: int, timeout_s: float) -> None:
        """Wait until `count` differs from `seen`, or for `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        with self._condition:
            while self.count == seen:
                now = time.monotonic()
                if now >= deadline:
                    return
                self._condition.wait(min(deadline - now, self._pause_s(now)))
                if self.count == seen and self._other_process_committed():
                    self._increment()

    def close(self) -> None:
        """Wake all waiters and stop watching."""
        with self._condition:
            if self._watcher is not None:
                self._watcher.close()
                self._watcher = None
            self._increment()

    def _pause_s(self, now: float) -> float:
        # Short pauses after recent commits, longer ones as the log becomes idle.
        if self._watcher is None:
            return 3600.0
        return min(max((now - self._changed_s) * IDLE_SHARE, LOOK_S_MIN), LOOK_S_MAX)

    def _other_process_committed(self) -> bool:
        if self._watcher is None:
            return False
        version = int(self._watcher.execute("PRAGMA data_version").fetchone()[0])
        changed, self._version = version != self._version, version
        return changed

    def _increment(self) -> None:
        self.count += 1
        self._changed_s = time.monotonic()
        self._condition.notify_all()
