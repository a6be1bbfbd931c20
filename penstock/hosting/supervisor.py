"""Supervisor of several processor processes: restarts those that die, with a growing delay and a limit.

The shards of a dead process move to the others meanwhile. Children have process groups of their own, so that Ctrl-C
reaches them through the parent only (a second signal would end them at once), and stop when the parent is gone.
"""

from __future__ import annotations

import subprocess
import time
from collections import deque
from collections.abc import Sequence

import structlog

from penstock.hosting.parts import STOP_TIMEOUT_S
from penstock.hosting.stop_signals import StopSignals

RESTARTS_MAX = 5
RESTARTS_WINDOW_S = 60.0
DELAY_S_FIRST = 1.0
DELAY_S_MAX = 30.0
EXIT_USAGE = 2  # a wrong setting or module: a restart would not help
EXIT_UNREACHABLE = 3

logger = structlog.get_logger(__name__)


class Slot:
    """One child process and the times at which it died."""

    def __init__(self, number: int, command: Sequence[str]) -> None:
        self.number, self._command = number, command
        self._deaths: deque[float] = deque(maxlen=RESTARTS_MAX)
        self._start_at = 0.0
        self.process: subprocess.Popen[bytes] | None = None

    def tend(self, now: float) -> int | None:
        """Start the child when it is due; returns an exit code if the supervisor must give up."""
        if self.process is None:
            if now >= self._start_at:
                self.process = subprocess.Popen(self._command, stdin=subprocess.PIPE, process_group=0)  # noqa: S603 - ourselves
                logger.info("processor process started", slot=self.number, pid=self.process.pid)
            return None
        code = self.process.poll()
        if code is None:
            return None
        self._forget()
        if code == EXIT_USAGE:
            return EXIT_USAGE
        return self._died(now, code)

    def stop(self) -> None:
        """Request the child to drain."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def end(self, deadline: float) -> None:
        """Wait for the child; kill it after the deadline."""
        if self.process is None:
            return
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            logger.warning("processor process did not drain in time", slot=self.number, pid=self.process.pid)
            self.process.kill()
            self.process.wait()
        self._forget()

    def _died(self, now: float, code: int) -> int | None:
        if len(self._deaths) == RESTARTS_MAX and now - self._deaths[0] < RESTARTS_WINDOW_S:
            logger.error("processor process died too often; giving up", slot=self.number, exit_code=code)
            return code if code > 0 else EXIT_UNREACHABLE
        recent = sum(now - death < RESTARTS_WINDOW_S for death in self._deaths)
        delay_s = min(DELAY_S_MAX, DELAY_S_FIRST * 2**recent)
        self._deaths.append(now)
        self._start_at = now + delay_s
        logger.warning("processor process died", slot=self.number, exit_code=code, restart_in_s=delay_s)
        return None

    def _forget(self) -> None:
        process, self.process = self.process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()


def supervise(command: Sequence[str], processes: int) -> int:
    """Keep that many children running until SIGINT or SIGTERM; returns the exit code.

    A child that exits is restarted after 1 s, then 2 s, 4 s and so on. All are stopped when one died more than five
    times within a minute, or exited with EXIT_USAGE.
    """
    signals = StopSignals()
    slots = [Slot(number, command) for number in range(processes)]
    exit_code = 0
    try:
        while not signals.received and not exit_code:
            now = time.monotonic()
            exit_code = next((code for slot in slots if (code := slot.tend(now)) is not None), 0)
            signals.wait()
    finally:
        for slot in slots:
            slot.stop()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for slot in slots:
            slot.end(deadline)
    return exit_code
