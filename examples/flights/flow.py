"""Flow of all flights in bounded memory: new ones start only as others close."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from examples.flights.departures import Departures
from examples.flights.kills import Kills
from examples.flights.stage import Stage, StageError
from examples.flights.totals import Downstream

IN_FLIGHT_MAX = 1_000
STALL_S = 120.0
POLL_S = 0.2


class Flow(NamedTuple):
    """The parts of a run. `show` is called with the number of closed flights and the number in flight."""

    stage: Stage
    departures: Departures
    downstream: Downstream
    show: Callable[[int, int], None]


def run_to_the_end(flow: Flow, flights: int, in_flight_max: int, kills: Kills) -> None:
    """Start flights while there is room, count closed ones, kill the processes that are due, until all have closed.

    Raises StageError if a process ended by itself or no flight closes within STALL_S, LogError.
    """
    stage, departures, downstream, show = flow
    room = kills.in_flight_max(in_flight_max)
    closed, moved_s = 0, time.monotonic()
    while closed < flights:
        departures.publish(room - (departures.published - closed))
        kills.take_due(closed)  # right after the starts, so that the killed process has work in flight
        downstream.take(POLL_S)
        stage.check()
        before, closed = closed, downstream.totals.closed()
        show(closed, departures.published - closed)
        if closed != before:
            moved_s = time.monotonic()
        elif time.monotonic() - moved_s > STALL_S:
            raise StageError(f"waited {STALL_S:g} s for another flight to close: {closed} of {flights} have")
