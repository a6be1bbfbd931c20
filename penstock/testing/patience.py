"""Limit of the real time that skipping waits for activity attempts."""

from __future__ import annotations

import time

import structlog

from penstock.engine.runtime.reads import Attempt

ATTEMPT_AWAITED_S = 1.0
ATTEMPTS_LOGGED_MAX = 10

logger = structlog.get_logger(__name__)


class Patience:
    """Decision which attempts are still awaited.

    Each is awaited for a second of real time after it was first seen, and for a second after another one ended, since
    it may only have waited for its turn. An attempt that was given up is not awaited again.
    """

    def __init__(self) -> None:
        self._seen_s: dict[Attempt, float] = {}
        self._given_up: frozenset[Attempt] = frozenset()
        self._ended_s = 0.0

    def is_over(self, attempts: frozenset[Attempt]) -> bool:
        """Return whether none of the attempts that the workers have now is awaited."""
        now_s = time.monotonic()
        if self._seen_s.keys() - attempts:
            self._ended_s = now_s
        self._seen_s = {attempt: self._seen_s.get(attempt, now_s) for attempt in attempts}
        awaited = attempts - self._given_up
        if not awaited:
            return True
        since_s = max(self._ended_s, *(self._seen_s[attempt] for attempt in awaited))
        if now_s < since_s + ATTEMPT_AWAITED_S:
            return False
        self._given_up |= awaited
        names = sorted(f"{attempt.workflow_id} #{attempt.sequence}" for attempt in awaited)
        logger.info("time is skipped while activities run", activities=names[:ATTEMPTS_LOGGED_MAX])
        return True
