"""Inbox of a client: reads the client's partition of `replies` on a thread.

An error ends no thread: another reader is opened where the last one stopped, so that no reply is missed that is still
kept, and callers whose time runs out meanwhile learn the reason.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence

import structlog

from penstock.schemas.encoding.codec import decode
from penstock.schemas.errors import Undecodable
from penstock.schemas.records.replies import Reply
from penstock.topics.log import Log, Reader, StoredRecord, TopicPartition

BATCH_RECORDS_MAX = 1_000
READ_TIMEOUT_S = 0.2
RECONNECT_S = 1.0
REPEAT_S = 60.0
RECENT_S = 5.0

logger = structlog.get_logger(__name__)


class Inbox:
    """Replies of one partition that arrive from now on; `deliver` gets them on the inbox's thread.

    Raises UnknownTopic, LogUnavailable."""

    def __init__(self, log: Log, partition: TopicPartition, deliver: Callable[[list[Reply]], None]) -> None:
        self._log, self._partition, self._deliver = log, partition, deliver
        self._position: int | None = None
        self._error = ""
        self._failed_s = self._logged_s = -math.inf
        self._reader: Reader | None = self._open()

    @property
    def position(self) -> int:
        """The offset behind the last reply that was handed on."""
        return self._position or 0

    @property
    def trouble(self) -> str:
        """Why replies could not be read lately; empty if they could."""
        return self._error if time.monotonic() - self._failed_s < RECENT_S else ""

    def run(self, closing: threading.Event) -> None:
        """Read until `closing`; the body of the thread."""
        while not closing.is_set():
            try:
                if self._reader is None:
                    self._reader = self._open()
                records = self._reader.read(BATCH_RECORDS_MAX, READ_TIMEOUT_S)
            except Exception as error:  # noqa: BLE001 - without this thread, every later call would time out
                self._note(error)
                self._close()
                closing.wait(RECONNECT_S)
            else:
                self._take(records)
        self._close()

    def _open(self) -> Reader:
        """A reader from the next reply on; from the first one kept if that has expired, or the topic was made anew."""
        first, end = self._log.ends([self._partition])[self._partition]
        if self._position is None:
            self._position = end
        elif not first <= self._position <= end:
            self._position = first
        return self._log.reader({self._partition: self._position})

    def _take(self, records: Sequence[StoredRecord]) -> None:
        if records:
            replies = [reply for record in records if (reply := _reply(record)) is not None]
            if replies:
                self._deliver(replies)
            self._position = records[-1].offset + 1

    def _note(self, error: Exception) -> None:
        """Remember an error for callers, and log it once a minute."""
        self._error, self._failed_s = str(error) or type(error).__name__, time.monotonic()
        if self._failed_s - self._logged_s >= REPEAT_S:
            self._logged_s = self._failed_s
            logger.warning("replies cannot be read; trying again", error=self._error)

    def _close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            try:
                reader.close()
            except Exception as error:  # noqa: BLE001 - it is given up in any case
                logger.debug("reader of replies not closed cleanly", error=str(error))


def _reply(record: StoredRecord) -> Reply | None:
    try:
        value = decode(record.value or b"")
    except Undecodable as error:
        logger.debug("undecodable reply ignored", partition=record.partition, offset=record.offset, error=str(error))
        return None
    return value if isinstance(value, Reply) else None
