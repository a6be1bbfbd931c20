"""Cache of the topics that exist and their partition counts."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import structlog

from penstock.schemas.errors import LogError
from penstock.topics.log import Log, TopicSpec

logger = structlog.get_logger(__name__)

MISSING_AGAIN_MS = 1_000
"""Interval of look-ups of missing topics."""

LOOKED_UP_MAX = 100
"""Missing topics of one look-up; more of them take turns."""

NEW_MAX = 10
"""New names looked up at once in an interval; further ones count as missing until the next look-up."""


class TopicCache:
    """Partition counts by topic. A missing topic is looked up again after a second.

    A look-up names the topics that it asks for: describing all topics of a broker takes a second with 1,500 of them,
    and it is the deciding thread that waits."""

    def __init__(self, log: Log, clock_ms: Callable[[], int]) -> None:
        self._log, self._clock_ms = log, clock_ms
        self._used: dict[str, int] = {}
        self._unused: dict[str, int] = {}
        self._missing: dict[str, None] = {}
        self._asked_ms = self._new_since_ms = 0
        self._new = 0
        self._loaded = False

    def load(self) -> None:
        """Read the topics before anything is decided: one that could not be looked up would count as missing.

        The first time all of them, later those that were used. Raises LogUnavailable."""
        if self._loaded:
            self._used = self._described(sorted(self._used))
        else:
            self._unused = self._described(None)
        self._loaded = True

    def partitions(self, topic: str) -> int | None:
        """Number of partitions of the topic; None if it does not exist."""
        count = self._used.get(topic)
        return count if count is not None else self._not_used_yet(topic)

    def published(self, topic: str) -> int | None:
        """As `partitions`, of a topic of users; created with one partition where no operator creates topics."""
        count = self.partitions(topic)
        if count is None and self._log.creates_topics:
            try:
                self._log.create([TopicSpec(topic, 1, {})])
            except LogError as error:
                logger.warning("topic not created", topic=topic, error=str(error))
                return None
            del self._missing[topic]
            count = self._look_up([topic]).get(topic)
        return count

    def has_news(self) -> bool:
        """Whether a topic that was missing exists since the last call."""
        if not self._missing or self._lately(self._asked_ms):
            return False
        self._asked_ms = self._clock_ms()
        names = list(itertools.islice(self._missing, LOOKED_UP_MAX))
        found = self._look_up(names)
        for name in names:
            del self._missing[name]
            if name not in found:
                self._missing[name] = None  # behind those whose turn is next
        return bool(found)

    def _not_used_yet(self, topic: str) -> int | None:
        count = self._unused.pop(topic, None)
        if count is None:
            if topic in self._missing:
                return None
            count = self._look_up([topic]).get(topic) if self._may_ask() else None
        if count is None:
            self._missing[topic] = None
        else:
            self._used[topic] = count
        return count

    def _may_ask(self) -> bool:
        """Whether another new name may be looked up in this interval."""
        if not self._lately(self._new_since_ms):
            self._new_since_ms, self._new = self._clock_ms(), 0
        self._new += 1
        return self._new <= NEW_MAX

    def _lately(self, then_ms: int) -> bool:
        """Whether that was less than an interval ago. A clock that was set back does not count as recent."""
        return 0 <= self._clock_ms() - then_ms < MISSING_AGAIN_MS

    def _look_up(self, names: list[str]) -> dict[str, int]:
        try:
            found = self._described(names)
        except LogError as error:
            logger.warning("topics not looked up", topics=len(names), error=str(error))
            return {}
        self._used.update(found)
        return found

    def _described(self, names: list[str] | None) -> dict[str, int]:
        return {name: found.partitions for name, found in self._log.describe(names).items()}
