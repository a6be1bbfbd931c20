"""Contact with the group: whether this process may still assume that its partitions are its own.

A process that was frozen (SIGSTOP, a paused container, a suspended machine) longer than its session continues in the
middle of everything. Its group has given its partitions to others meanwhile, but no error says so until the next answer
of the log. Threads go on before that, hence each start of a task compares the clock with the last contact.
"""

from __future__ import annotations

import time
from functools import partial

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # goes on while a machine is suspended


now_s = partial(time.clock_gettime, _CLOCK)
"""Seconds on a clock that never stops and is never set."""


class Contact:
    """Time until which the group keeps this member's partitions for it. Read by any thread, noted by one."""

    def __init__(self) -> None:
        self._fresh_until_s = 0.0

    @property
    def fresh(self) -> bool:
        """Whether the last contact is younger than the session."""
        return now_s() < self._fresh_until_s

    def note(self, session_timeout_s: float) -> None:
        """Note a contact. `session_timeout_s`: how long the group waits for the next one."""
        self._fresh_until_s = now_s() + session_timeout_s
