"""How does a handful of records get into the log, outside of any transaction? Sent, acknowledged, or an error."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.schemas.errors import LogError
from penstock.topics.log import Log, Record


def publish(log: Log, records: Iterable[Record], timeout_s: float) -> None:
    """Append the records and wait until all are acknowledged; those before one that is refused may have been written.

    Raises what the log says of the first that it refuses (UnknownTopic, RecordTooLarge, another LogError), and
    LogUnavailable."""
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
