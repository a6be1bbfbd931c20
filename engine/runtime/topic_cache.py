"""Which topics are there, and how many partitions do they have? Asked of the log, remembered for a while."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from penstock.schemas.errors import LogError
from penstock.topics.log import Log

log = structlog.get_logger(__name__)

MISSING_AGAIN_MS = 1_000


class TopicFactsCache:
    """Partition counts by topic. A topic that was missing is looked for again after a second."""

    def __init__(self, events: Log, clock_ms: Callable[[], int]) -> None:
        self._log, self._clock_ms = events, clock_ms
        self._known: dict[str, int] = {}
        self._missing: set[str] = set()
        self._asked_ms = 0

    def load(self) -> None:
        """Ask once before anything is decided: topics that nobody could look up would pass for missing ones.

        Raises LogUnavailable."""
        self._known = {name: facts.partitions for name, facts in self._log.describe().items()}

    def partitions(self, topic: str) -> int | None:
        """How many partitions the topic has; None: it does not exist."""
        count = self._known.get(topic)
        if count is None and not (topic in self._missing and self._asked_lately()):
            self._ask()
            count = self._known.get(topic)
            if count is None:
                self._missing.add(topic)
        return count

    def has_news(self) -> bool:
        """Whether a topic that was missing has come to be since this was asked last."""
        if not self._missing or self._asked_lately():
            return False
        self._ask()
        found = {topic for topic in self._missing if topic in self._known}
        self._missing -= found
        return bool(found)

    def _asked_lately(self) -> bool:
        """A clock that was set back must not keep us from asking until it has caught up."""
        return 0 <= self._clock_ms() - self._asked_ms < MISSING_AGAIN_MS

    def _ask(self) -> None:
        self._asked_ms = self._clock_ms()
        try:
            self._known = {name: facts.partitions for name, facts in self._log.describe().items()}
        except LogError as error:
            log.warning("topics not listed", error=str(error))
