"""Publisher of the embedded log: a thread writes all queued records as one SQL transaction."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from penstock.schemas.errors import LogError, LogUnavailable
from penstock.topics.embedded.database import WAIT_S_MAX, Database
from penstock.topics.embedded.records import Catalogue, append
from penstock.topics.log import Record

# Counted bytes include RECORD_BYTES for each record, so that they bound the number of records too.
QUEUED_BYTES_MAX = 64 * 1024 * 1024
BATCH_BYTES_MAX = 4 * 1024 * 1024
RECORD_BYTES = 200
CLOSE_S_MAX = 10.0

OnDone = Callable[[Exception | None], None]
Sent = tuple[Record, OnDone | None, LogError | None]

logger = logging.getLogger(__name__)


class EmbeddedPublisher:
    """`Publisher` of the log's contract. `flush` raises the error of a record that was sent without `on_done`."""

    def __init__(self, database: Database, catalogue: Catalogue) -> None:
        self._database = database
        self._catalogue = catalogue
        self._queue: deque[Sent] = deque()
        self._queued_bytes = 0
        self._unsettled = 0
        self._refusal: Exception | None = None
        self._closed = False
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None

    def send(self, record: Record, on_done: OnDone | None = None) -> None:
        """Queue the record; `on_done(None | error)` is called once, from the publisher's thread.

        Waits while the queue is full; raises LogUnavailable if that takes longer than 10 s, or after `close`."""
        refusal: LogError | None = None
        try:
            self._catalogue.require_accepted((record,))
        except LogError as error:
            refusal = error
        with self._condition:
            self._await_room()
            self._start_thread()
            self._queue.append((record, on_done, refusal))
            self._queued_bytes += _size(record)
            self._unsettled += 1
            if len(self._queue) == 1:
                self._condition.notify_all()

    def flush(self, timeout_s: float) -> None:
        """Wait until all sent records are acknowledged. Raises LogUnavailable after `timeout_s`."""
        with self._condition:
            if not self._condition.wait_for(lambda: self._unsettled == 0, timeout_s):
                raise LogUnavailable(f"{self._unsettled} records were not written within {timeout_s:g} s: try again")
            refusal, self._refusal = self._refusal, None
        if refusal is not None:
            raise refusal

    def close(self) -> None:
        """Write the queued records, within 10 s, and end the thread."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(CLOSE_S_MAX)

    def _await_room(self) -> None:
        def room() -> bool:
            return self._queued_bytes < QUEUED_BYTES_MAX or self._closed

        if not room() and not self._condition.wait_for(room, WAIT_S_MAX):
            raise LogUnavailable(f"records sent earlier were not written within {WAIT_S_MAX:g} s: try again")
        if self._closed:
            raise LogUnavailable("this publisher was closed: create another")

    def _start_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="penstock-publisher", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while batch := self._next_batch():
            error = self._write([record for record, _, refusal in batch if refusal is None])
            for _, on_done, refusal in batch:
                self._report(on_done, refusal or error)
            with self._condition:
                self._unsettled -= len(batch)
                self._condition.notify_all()

    def _next_batch(self) -> list[Sent]:
        batch: list[Sent] = []
        size = 0
        with self._condition:
            self._condition.wait_for(lambda: self._queue or self._closed)
            while self._queue and size < BATCH_BYTES_MAX:
                sent = self._queue.popleft()
                size += _size(sent[0])
                batch.append(sent)
            self._queued_bytes -= size
        return batch

    def _write(self, records: list[Record]) -> Exception | None:
        if not records:
            return None
        try:
            with self._database.write() as connection:
                append(connection, records)
        except LogError as error:
            return error
        return None

    def _report(self, on_done: OnDone | None, error: Exception | None) -> None:
        if on_done is None:
            self._refusal = self._refusal or error
            return
        try:
            on_done(error)
        except Exception:
            # An error in one callback must not prevent the others.
            logger.exception("on_done callback failed")


def _size(record: Record) -> int:
    return len(record.value or b"") + RECORD_BYTES
