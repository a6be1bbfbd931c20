"""Reading of the topic `cancellations`: attempts whose end no run awaits any more.

Every worker reads all partitions from its start on, without a group, since any worker may have any attempt. A namespace
without the topic (an earlier build made it) works without: attempts then run to their end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from structlog.typing import FilteringBoundLogger

from penstock.schemas.encoding.codec import decode
from penstock.schemas.errors import LogError, OffsetOutOfRange, Undecodable
from penstock.schemas.records.tasks import AttemptsCancelled
from penstock.topics.catalogue import creation_advice
from penstock.topics.log import Log, Reader, TopicPartition

LOOK_S = 0.2
"""Interval of reads. Waiting for a record instead would wake the thread at each commit of an embedded log."""

AWAY_S = 1.0
READ_RECORDS_MAX = 1_000


class CancellationReader:
    """Hands over what the topic says, from `begin` on. `run` is the body of its thread."""

    def __init__(
        self,
        log: Log,
        topic: str,
        logger: FilteringBoundLogger,
        receive: Callable[[Sequence[AttemptsCancelled]], None],
    ) -> None:
        self._log, self._topic, self._logger, self._receive = log, topic, logger, receive
        self._positions: dict[TopicPartition, int] = {}
        self._reader: Reader | None = None
        self._stop = threading.Event()

    def begin(self, partitions: int) -> None:
        """Begin at the present end of so many partitions; 0: there is no such topic. Raises LogUnavailable."""
        if not partitions:
            self._logger.warning(
                "cancelled runs do not reach running activities, which go on to their end",
                missing_topic=self._topic,
                remedy=creation_advice(self._topic),
            )
            return
        ends = self._log.ends([(self._topic, number) for number in range(partitions)])
        self._positions = {at: end for at, (_, end) in ends.items()}

    def stop(self) -> None:
        """End `run`."""
        self._stop.set()

    def run(self) -> None:
        """Read until `stop`. A log that is away is tried again."""
        try:
            while self._positions and not self._stop.wait(LOOK_S):
                try:
                    self._read()
                except OffsetOutOfRange:  # the worker was away for longer than the topic keeps records
                    self._reopen(self._firsts)
                except LogError as error:
                    self._logger.warning("cancellations not read, trying again", error=str(error))
                    self._reopen(dict)
                    self._stop.wait(AWAY_S)
        finally:
            self._close()

    def _read(self) -> None:
        if self._reader is None:
            self._reader = self._log.reader(self._positions)
        while records := self._reader.read(READ_RECORDS_MAX, 0.0):
            found = []
            for record in records:
                self._positions[record.topic, record.partition] = record.offset + 1
                try:
                    value = decode(record.value or b"")
                except Undecodable as error:
                    self._logger.warning("undecodable cancellation", error=str(error))
                    continue
                if isinstance(value, AttemptsCancelled):
                    found.append(value)
            if found:
                self._receive(found)

    def _firsts(self) -> Mapping[TopicPartition, int]:
        ends = self._log.ends(list(self._positions))
        return {at: max(first, min(self._positions[at], end)) for at, (first, end) in ends.items()}

    def _reopen(self, positions: Callable[[], Mapping[TopicPartition, int]]) -> None:
        """Open another reader the next time, at these positions; at those of this one without any."""
        self._close()
        try:
            self._positions.update(positions())
        except LogError as error:
            self._logger.warning("cancellations not read, trying again", error=str(error))

    def _close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
