"""How do several processors of one machine stay up? A parent starts each and starts again, within bounds, what died.

The others go on meanwhile: the shards of the dead one move to them. Children stand in process groups of their own, so
that Ctrl-C reaches them through the parent alone (twice would mean: at once), and stop when the parent is gone.
"""

from __future__ import annotations

import subprocess
import time
from collections import deque
from collections.abc import Sequence

import structlog

from penstock.hosting.parts import LOOK_EVERY_S, STOP_TIMEOUT_S, Stopper

RESTARTS_MAX = 5
RESTARTS_WINDOW_S = 60.0
DELAY_S_FIRST = 1.0
DELAY_S_MAX = 30.0
USAGE = 2  # a wrong setting or module: starting again would not help
REFUSED = 3

_log = structlog.get_logger(__name__)


class Slot:
    """One place for a child: the process that fills it, and when it died before."""

    def __init__(self, number: int, command: Sequence[str]) -> None:
        self.number, self._command = number, command
        self._deaths: deque[float] = deque(maxlen=RESTARTS_MAX)
        self._start_at = 0.0
        self.process: subprocess.Popen[bytes] | None = None

    def tend(self, now: float) -> int | None:
        """Start the child when it is due; returns the exit code that means that there is no sense in going on."""
        if self.process is None:
            if now >= self._start_at:
                self.process = subprocess.Popen(self._command, stdin=subprocess.PIPE, process_group=0)  # noqa: S603 - ourselves
                _log.info("processor process started", slot=self.number, pid=self.process.pid)
            return None
        code = self.process.poll()
        if code is None:
            return None
        self._let_go()
        if code == USAGE:
            return USAGE
        return self._died(now, code)

    def stop(self) -> None:
        """Ask the child to drain."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def end(self, deadline: float) -> None:
        """Wait for the child; kill it when it takes too long."""
        if self.process is None:
            return
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _log.warning("processor process did not drain in time", slot=self.number, pid=self.process.pid)
            self.process.kill()
            self.process.wait()
        self._let_go()

    def _died(self, now: float, code: int) -> int | None:
        if len(self._deaths) == RESTARTS_MAX and now - self._deaths[0] < RESTARTS_WINDOW_S:
            _log.error("processor process keeps dying; giving up", slot=self.number, exit_code=code)
            return code if code > 0 else REFUSED
        recent = sum(now - death < RESTARTS_WINDOW_S for death in self._deaths)
        delay_s = min(DELAY_S_MAX, DELAY_S_FIRST * 2**recent)
        self._deaths.append(now)
        self._start_at = now + delay_s
        _log.warning("processor process died", slot=self.number, exit_code=code, restart_in_s=delay_s)
        return None

    def _let_go(self) -> None:
        process, self.process = self.process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()


def supervise(command: Sequence[str], processes: int) -> int:
    """Keep that many children running until SIGINT or SIGTERM; returns the exit code.

    A child that exits by itself is started again, after 1 s and then ever later; one that died five times within a
    minute, or that says that its settings are wrong, ends them all.
    """
    stopper = Stopper()
    slots = [Slot(number, command) for number in range(processes)]
    verdict = 0
    try:
        while not stopper.wanted and not verdict:
            now = time.monotonic()
            verdict = next((code for slot in slots if (code := slot.tend(now)) is not None), 0)
            stopper.wait(LOOK_EVERY_S)
    finally:
        for slot in slots:
            slot.stop()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for slot in slots:
            slot.end(deadline)
    return verdict
