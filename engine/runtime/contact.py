"""Contact of a processor with its group: whether its stores may be served as the state of its shards.

A process that was frozen (SIGSTOP, a paused container, a suspended machine) longer than its session goes on in the
middle of everything, and its read server with it. The group has given its shards to another processor meanwhile, which
the driver learns by a later poll. So after a pause, and while the driver does not poll, reads ask the log who is a
member.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from penstock.schemas.errors import LogError
from penstock.topics.log import Log, Member

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # goes on while a machine is suspended


TRUSTED = 0.5
"""Part of a session for which a poll vouches: the group counts from the last heartbeat, which may be older."""


class Contact:
    """Contact of one member. `clock_s`: seconds on a clock that never stops and is never set."""

    def __init__(
        self, log: Log, group: str, member: Member, clock_s: Callable[[], float] = partial(time.clock_gettime, _CLOCK)
    ) -> None:
        self._log, self._group, self._member, self._clock_s = log, group, member, clock_s
        self._polled_s = clock_s()
        self._is_doubtful = False

    def polled(self) -> None:
        """The member polls now. For the driver's thread."""
        now_s = self._clock_s()
        if now_s - self._polled_s >= self._member.session_timeout_s * TRUSTED:
            self._is_doubtful = True
        self._polled_s = now_s

    def holds(self) -> bool:
        """Whether the group still has this member, as far as its session says, else by asking the log. For any
        thread."""
        if not self._is_doubtful and self._clock_s() - self._polled_s < self._member.session_timeout_s * TRUSTED:
            return True
        name = self._member.name
        try:
            is_present = name in self._log.members(self._group)
        except LogError:
            return False
        if is_present:
            self._is_doubtful = False
        return is_present
