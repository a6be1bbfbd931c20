"""How does a record get out for certain? Sent again until the log has acknowledged it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from structlog.typing import FilteringBoundLogger

from penstock.schemas.errors import RecordTooLarge
from penstock.topics.log import Publisher, Record

RESEND_DELAY_S = 1.0


class Outbox:
    """Sends from any thread; resends through `loop`, which must run until nothing is wanted any more."""

    def __init__(self, publisher: Publisher, loop: asyncio.AbstractEventLoop, logger: FilteringBoundLogger) -> None:
        self._publisher = publisher
        self._loop = loop
        self._logger = logger

    def send(
        self, record: Record, acknowledged: Callable[[], None], too_large: Callable[[], None] | None = None
    ) -> None:
        """Send until acknowledged, then call `acknowledged` once, from any thread.

        A record that no log will ever take calls `too_large` instead, in the loop's thread.
        """
        try:
            self._publisher.send(record, partial(self._done, record, acknowledged, too_large))
        except Exception as error:  # a full queue, a closed client: told the same way
            self._done(record, acknowledged, too_large, error)

    def flush(self, timeout_s: float) -> None:
        """Wait until what was sent so far is acknowledged or refused. Raises LogUnavailable."""
        self._publisher.flush(timeout_s)

    def _done(
        self,
        record: Record,
        acknowledged: Callable[[], None],
        too_large: Callable[[], None] | None,
        error: Exception | None,
    ) -> None:
        if error is None:
            return acknowledged()
        if isinstance(error, RecordTooLarge) and too_large is not None:
            return self._in_loop(too_large)
        self._logger.warning("record not taken, sending it again", topic=record.topic, error=str(error))
        return self._in_loop(partial(self._loop.call_later, RESEND_DELAY_S, self.send, record, acknowledged, too_large))

    def _in_loop(self, call: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            self._logger.warning("worker stopped before the log took a record; its task will be delivered again")
