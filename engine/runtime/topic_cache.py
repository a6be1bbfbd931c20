"""Cache of the topics that exist and their partition counts."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from penstock.schemas.errors import LogError
from penstock.topics.log import Log

logger = structlog.get_logger(__name__)

MISSING_AGAIN_MS = 1_000


class TopicCache:
    """Partition counts by topic. A missing topic is looked up again after a second."""

    def __init__(self, log: Log, clock_ms: Callable[[], int]) -> None:
        self._log, self._clock_ms = log, clock_ms
        self._known: dict[str, int] = {}
        self._missing: set[str] = set()
        self._asked_ms = 0

    def load(self) -> None:
        """Read all topics before anything is decided: a topic that could not be looked up would count as missing.

        Raises LogUnavailable."""
        self._known = {name: found.partitions for name, found in self._log.describe().items()}

    def partitions(self, topic: str) -> int | None:
        """Number of partitions of the topic; None if it does not exist."""
        count = self._known.get(topic)
        if count is None and not (topic in self._missing and self._asked_lately()):
            self._ask()
            count = self._known.get(topic)
            if count is None:
                self._missing.add(topic)
        return count

    def has_news(self) -> bool:
        """Whether a topic that was missing exists since the last call."""
        if not self._missing or self._asked_lately():
            return False
        self._ask()
        found = {topic for topic in self._missing if topic in self._known}
        self._missing -= found
        return bool(found)

    def _asked_lately(self) -> bool:
        """Whether the last look-up is recent. A clock that was set back does not count as recent."""
        return 0 <= self._clock_ms() - self._asked_ms < MISSING_AGAIN_MS

    def _ask(self) -> None:
        self._asked_ms = self._clock_ms()
        try:
            self._known = {name: found.partitions for name, found in self._log.describe().items()}
        except LogError as error:
            logger.warning("topics not listed", error=str(error))
