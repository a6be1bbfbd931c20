"""Publishing of a few records outside of transactions."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.schemas.errors import LogError
from penstock.topics.log import Log, Record


def publish(log: Log, records: Iterable[Record], timeout_s: float) -> None:
    """Append the records and wait until all are acknowledged.

    Raises the error of the first record that the log refuses (UnknownTopic, RecordTooLarge, another LogError), and
    LogUnavailable. Other records may have been written then."""
    refusals: list[Exception] = []
    publisher = log.publisher()
    try:
        for record in records:
            publisher.send(record, lambda error: refusals.append(error) if error is not None else None)
        publisher.flush(timeout_s)
    finally:
        publisher.close()
    if refusals:
        raise refusals[0] if isinstance(refusals[0], LogError) else LogError(str(refusals[0]))
