"""Deletion of inputs that will not be read again, but for those that are kept for audits."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from penstock.engine.runtime.held import Held
from penstock.schemas.errors import LogError
from penstock.topics.log import Log, TopicPartition

logger = structlog.get_logger(__name__)


class Trimming:
    """Deletes inputs of the shards of a process, at intervals. `window`: records kept below the committed offset."""

    def __init__(self, log: Log, interval_s: float, window: int) -> None:
        self._log, self._interval_ms, self._window = log, int(interval_s * 1000), window
        self._due_ms = 0

    def trim_when_due(self, held: Mapping[int, Held], now_ms: int) -> None:
        """Delete the inputs of these shards, if it is time to. A log that does not is only logged."""
        if now_ms < self._due_ms:
            return
        self._due_ms = now_ms + self._interval_ms
        below: dict[TopicPartition, int] = {}
        for number, one in held.items():
            for topic, offset in one.shard.committed_positions().items():
                if offset > self._window:
                    below[topic, number] = offset - self._window
        if below:
            try:
                self._log.trim(below)
            except LogError as error:
                logger.warning("inputs not trimmed", error=str(error))
