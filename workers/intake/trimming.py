"""Deletion of done tasks: a task topic keeps its records without limit, and workers delete those below their commits.

What is left when all workers are away for longer than the group's offsets are kept (seven days on Kafka) is what was
not done. Deleting is a request to the log that may wait for replicas, hence it is made by a thread of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from structlog.typing import FilteringBoundLogger

from penstock.schemas.errors import LogError
from penstock.topics.log import CommittedOffset, Log, TopicPartition

TRIM_INTERVAL_S = 10.0
JOIN_TIMEOUT_S = 5.0


class Trimming:
    """Offsets below which tasks can be deleted. Used by one thread."""

    def __init__(self, log: Log, logger: FilteringBoundLogger) -> None:
        self._log, self._logger = log, logger
        self._below: dict[TopicPartition, int] = {}
        self._next_s = time.monotonic() + TRIM_INTERVAL_S
        self._thread: threading.Thread | None = None

    def committed(self, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
        """Note a commit; every task below it is done."""
        for at, committed in offsets.items():
            if committed.offset > 0:
                self._below[at] = committed.offset

    def trim_when_due(self) -> None:
        """Delete what is done, at most once every TRIM_INTERVAL_S."""
        if not self._below or time.monotonic() < self._next_s or (self._thread and self._thread.is_alive()):
            return
        self._next_s = time.monotonic() + TRIM_INTERVAL_S
        below, self._below = self._below, {}
        self._thread = threading.Thread(target=self._trim, args=[below], name="penstock-trim", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Delete what is done now, and wait for that within a bound."""
        if self._thread is not None:
            self._thread.join(JOIN_TIMEOUT_S)
        self._next_s = 0.0
        self.trim_when_due()
        if self._thread is not None:
            self._thread.join(JOIN_TIMEOUT_S)

    def _trim(self, below: Mapping[TopicPartition, int]) -> None:
        try:
            self._log.trim(below)
        except LogError as error:  # they are deleted with later ones
            self._logger.warning("done tasks not deleted, trying again later", error=str(error))
