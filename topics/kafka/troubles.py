"""Errors of a consumer that librdkafka does not resolve, such as a missing right: reported again while they last.

librdkafka reports most of them once, and then fetches in silence. When its partitions are assigned again, it reports
what still holds; what is resolved meanwhile goes on by itself.
"""

from __future__ import annotations

import math
import time

from penstock.schemas.errors import LogError, LogUnavailable

REPEAT_S = 60.0


class Troubles:
    """When a consumer's errors are raised, and when its partitions are to be assigned again."""

    def __init__(self) -> None:
        self._raised_s: dict[str, float] = {}
        self._again_s = math.inf

    def to_raise(self, failure: LogError | None) -> LogError | None:
        """The failure, or None if it was raised within the last minute. Only LogUnavailable repeats."""
        if not isinstance(failure, LogUnavailable):
            return failure
        now_s, text = time.monotonic(), str(failure)
        self._again_s = min(self._again_s, now_s + REPEAT_S)
        if now_s - self._raised_s.get(text, -math.inf) < REPEAT_S:
            return None
        self._raised_s[text] = now_s
        return failure

    def is_due(self) -> bool:
        """Whether the partitions are to be assigned again, to learn whether an error lasts."""
        if time.monotonic() < self._again_s:
            return False
        self._again_s = math.inf
        return True
