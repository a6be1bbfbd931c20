"""How do all flights get through in bounded memory? New ones start only as others close."""

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
    """What the flights flow through. `show` is told how many have closed and how many are under way."""

    stage: Stage
    departures: Departures
    downstream: Downstream
    show: Callable[[int, int], None]


def run_to_the_end(flow: Flow, flights: int, in_flight_max: int, kills: Kills) -> None:
    """Start flights as there is room, count what closes, kill who is due, until all have closed.

    Raises StageError when a process ended by itself or nothing closes any more, LogError.
    """
    stage, departures, downstream, show = flow
    room = kills.in_flight_max(in_flight_max)
    closed, moved_s = 0, time.monotonic()
    while closed < flights:
        departures.publish(room - (departures.published - closed))
        kills.take_due(closed)  # right after the starts: whoever dies has work under way
        downstream.take(POLL_S)
        stage.check()
        before, closed = closed, downstream.totals.closed()
        show(closed, departures.published - closed)
        if closed != before:
            moved_s = time.monotonic()
        elif time.monotonic() - moved_s > STALL_S:
            raise StageError(f"waited {STALL_S:g} s for another flight to close: {closed} of {flights} have")
