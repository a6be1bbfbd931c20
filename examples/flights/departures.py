"""Start of the flights by JSON records on the topic `commands`, as any program with a Kafka client can write them.

No Penstock client is involved: a start is one record, and so is the desk's decision on a very late flight.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec

from examples.flights.data import Flight
from examples.flights.workflow import Decision, approval, flight, needs_approval
from penstock.topics.catalogue import Topics
from penstock.topics.log import Log, Record
from penstock.topics.partitioner import partition_of

DESK_DISTANCE_MIN = 500  # below, the desk denies a rebooking
FLUSH_TIMEOUT_S = 60.0


def decision_of(distance: int) -> Decision:
    """Return the desk's decision: it approves long flights. Deterministic, so that the totals can be computed."""
    return Decision(ok=distance >= DESK_DISTANCE_MIN, by="desk")


class Departures:
    """Publishes the starts of flights, reading the table as it goes.

    `run` is the prefix of every workflow id, so that the totals of different runs do not mix.
    """

    def __init__(self, log: Log, topics: Topics, shards: int, run: str, flights: Iterator[Flight]) -> None:
        self._commands, self._shards, self._run, self._flights = topics.commands, shards, run, flights
        self._publisher = log.publisher()
        self._failures: list[Exception] = []
        self.published = 0

    def publish(self, count: int) -> None:
        """Start the next `count` flights, and send the desk's decision for those that need one. Raises LogError."""
        flights = list(islice(self._flights, count))
        for one in flights:
            self._send(one, {"type": flight.name, "input": one})
        # Sent after the starts, on the same partition, so that each signal finds its run.
        for one in filter(needs_approval, flights):
            decision = decision_of(one.distance)
            self._send(one, {"command": "SignalWorkflow", "signal": approval.name, "input": decision})
        if flights:
            self._publisher.flush(FLUSH_TIMEOUT_S)
        if self._failures:
            raise self._failures[0]
        self.published += len(flights)

    def close(self) -> None:
        """Close the publisher."""
        self._publisher.close()

    def _send(self, one: Flight, command: dict[str, Any]) -> None:
        id = f"{self._run}-{one.name}"
        value = msgspec.json.encode({**command, "id": id})
        key = id.encode()
        record = Record(self._commands, partition_of(key, self._shards), key, value)
        self._publisher.send(record, self._done)

    def _done(self, error: Exception | None) -> None:
        if error is not None:
            self._failures.append(error)
