"""Kills of processors and workers, twice each, at seeded random moments with flights in flight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import msgspec

from examples.flights.stage import Processes

KILLS_EACH = 2
IN_FLIGHT_SHARE = 10
IN_FLIGHT_LEAST = 20


class Kill(msgspec.Struct, frozen=True):
    """Kill the process `name` once `closed` flights have closed."""

    closed: int
    name: str


class Kills:
    """Carries out a plan of kills. `say` is called with a line for the plan, and for each kill."""

    def __init__(self, seed: int, flights: int, stage: Processes, say: Callable[[str], None]) -> None:
        self._flights, self._stage, self._say = flights, stage, say
        self._due = plan(seed, flights, stage.names)
        say(f"seed {seed} kills " + ", ".join(f"{kill.name} after {kill.closed}" for kill in self._due))

    def in_flight_max(self, wanted: int) -> int:
        """Limit the flights in flight, so that they close throughout the run and not in one burst at its end."""
        return min(wanted, max(IN_FLIGHT_LEAST, self._flights // IN_FLIGHT_SHARE))

    def take_due(self, closed: int) -> None:
        """Kill the next process if it is due, and start it again."""
        if self._due and closed >= self._due[0].closed:
            name = self._due.pop(0).name
            self._stage.kill_and_restart(name)
            self._say(f"killed {name} with {closed} flights closed, and started it again")


class _NoKills(Kills):
    def __init__(self) -> None:
        self._due = []

    def in_flight_max(self, wanted: int) -> int:
        return wanted


NO_KILLS: Kills = _NoKills()


def plan(seed: int, flights: int, names: Sequence[str]) -> list[Kill]:
    """Plan two kills of a processor and two of a worker, in random order over the first four fifths of the flights."""
    random = Random(seed)  # noqa: S311 - a repeatable plan, not a secret
    names_killed = [
        random.choice([name for name in names if name.startswith(kind)])
        for kind in ("processor", "worker")
        for _ in range(KILLS_EACH)
    ]
    random.shuffle(names_killed)
    step = flights / (len(names_killed) + 1)
    return [Kill(int(step * (number + random.uniform(0.4, 1.0))), name) for number, name in enumerate(names_killed)]
