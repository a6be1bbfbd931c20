"""How do the flights get in? As JSON on the topic `commands`, as any program with a Kafka client could write them.

No Penstock client takes part: a start is one record, and so is what the desk says about a very late flight.
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

DESK_DISTANCE_MIN = 500  # nearer, the desk sends passengers to the railway
FLUSH_TIMEOUT_S = 60.0


def decision_of(distance: int) -> Decision:
    """What the desk says: it rebooks whoever flies far. Deterministic, so that the totals can be computed."""
    return Decision(ok=distance >= DESK_DISTANCE_MIN, by="desk")


class Departures:
    """Publishes starts as they are wanted, reading the table no further than that.

    `run` begins every workflow id, so that the totals of one run never mix with those of another.
    """

    def __init__(self, log: Log, topics: Topics, shards: int, run: str, flights: Iterator[Flight]) -> None:
        self._commands, self._shards, self._run, self._flights = topics.commands, shards, run, flights
        self._publisher = log.publisher()
        self._failures: list[Exception] = []
        self.published = 0

    def publish(self, count: int) -> None:
        """Start the next `count` flights and let the desk decide about those that need it. Raises LogError."""
        flights = list(islice(self._flights, count))
        for one in flights:
            self._send(one, {"type": flight.name, "input": one})
        # Behind the start on the same partition: a signal finds its run.
        for one in filter(needs_approval, flights):
            decision = decision_of(one.distance)
            self._send(one, {"command": "SignalWorkflow", "signal": approval.name, "input": decision})
        if flights:
            self._publisher.flush(FLUSH_TIMEOUT_S)
        if self._failures:
            raise self._failures[0]
        self.published += len(flights)

    def close(self) -> None:
        """Let go of the log."""
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
