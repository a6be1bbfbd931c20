"""Supervisor of several processor processes: restarts those that die, without end, with a growing delay.

The shards of a dead process move to the others meanwhile. Children have process groups of their own, so that Ctrl-C
reaches them through the parent only (a second signal would end them at once), and stop when the parent is gone.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections import deque
from collections.abc import Sequence

import structlog

from penstock.hosting.parts import STOP_TIMEOUT_S
from penstock.hosting.stop_signals import StopSignals

DEATHS_WINDOW_S = 300.0
"""Deaths longer ago do not lengthen the delay."""

DELAY_S_FIRST = 1.0
DELAY_S_MAX = 30.0
EXIT_USAGE = 2  # a wrong setting or module: a restart would not help
EXIT_UNFINISHED = 3
DEATHS_MAX = 16

logger = structlog.get_logger(__name__)


class Slot:
    """One child process and the times at which it died. `first`: the command of its first start, if it is another."""

    def __init__(self, number: int, command: Sequence[str], first: Sequence[str] | None = None) -> None:
        self.number, self._command, self._first = number, command, first
        self._deaths: deque[float] = deque(maxlen=DEATHS_MAX)
        self._start_at = 0.0
        self.process: subprocess.Popen[bytes] | None = None

    def tend(self, now: float) -> int | None:
        """Start the child when it is due; returns an exit code if the supervisor must give up."""
        if self.process is None:
            if now >= self._start_at:
                command, self._first = self._first or self._command, None
                self.process = subprocess.Popen(command, stdin=subprocess.PIPE, process_group=0)  # noqa: S603 - ourselves
                logger.info("processor process started", slot=self.number, pid=self.process.pid)
            return None
        code = self.process.poll()
        if code is None:
            return None
        self._forget()
        if code == EXIT_USAGE:
            return EXIT_USAGE
        self._died(now, code)
        return None

    def stop(self) -> None:
        """Request the child to drain."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def end(self, deadline: float) -> bool:
        """Wait for the child; kill it after the deadline. Returns whether it drained."""
        if self.process is None:
            return True
        drained = True
        try:
            # One that SIGTERM ended had not begun to work: its handlers were not there yet.
            drained = self.process.wait(max(0.0, deadline - time.monotonic())) in {0, -signal.SIGTERM}
        except subprocess.TimeoutExpired:
            logger.warning("processor process did not drain in time", slot=self.number, pid=self.process.pid)
            self.process.kill()
            self.process.wait()
            drained = False
        self._forget()
        return drained

    def _died(self, now: float, code: int) -> None:
        while self._deaths and now - self._deaths[0] >= DEATHS_WINDOW_S:
            self._deaths.popleft()
        delay_s = min(DELAY_S_MAX, DELAY_S_FIRST * 2 ** len(self._deaths))
        self._deaths.append(now)
        self._start_at = now + delay_s
        logger.warning(
            "processor process died",
            slot=self.number,
            exit_code=code,
            deaths_lately=len(self._deaths),
            restart_in_s=delay_s,
        )

    def _forget(self) -> None:
        process, self.process = self.process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()


def supervise(command: Sequence[str], processes: int, first: Sequence[str] | None = None) -> int:
    """Keep that many children running until SIGINT or SIGTERM; returns the exit code.

    `first`: what each child is started with the first time, if flags of one start are to be gone after a restart.

    A child that exits is restarted after 1 s, then 2 s, 4 s and so on up to 30 s. All are stopped when one exits with
    EXIT_USAGE. The exit code is EXIT_UNFINISHED if one had to be killed at the end.
    """
    signals = StopSignals()
    slots = [Slot(number, command, first) for number in range(processes)]
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
        drained = [slot.end(deadline) for slot in slots]
    return exit_code or (0 if all(drained) else EXIT_UNFINISHED)
