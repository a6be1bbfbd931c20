"""Whom to kill, and when? Chosen by chance from a seed: twice a processor, twice a worker, with flights under way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import msgspec

from examples.flights.stage import Processes

KILLS_EACH = 2
IN_FLIGHT_SHARE = 10
IN_FLIGHT_LEAST = 20


class Kill(msgspec.Struct, frozen=True):
    """Kill that process once so many flights have closed."""

    closed: int
    name: str


class Kills:
    """Carries a plan out. `say` is told of the plan, and of each kill."""

    def __init__(self, seed: int, flights: int, stage: Processes, say: Callable[[str], None]) -> None:
        self._flights, self._stage, self._say = flights, stage, say
        self._due = plan(seed, flights, stage.names)
        say(f"seed {seed} kills " + ", ".join(f"{kill.name} after {kill.closed}" for kill in self._due))

    def in_flight_max(self, wanted: int) -> int:
        """Few at once: then flights close all along, not in one burst behind the last kill."""
        return min(wanted, max(IN_FLIGHT_LEAST, self._flights // IN_FLIGHT_SHARE))

    def take_due(self, closed: int) -> None:
        """Kill the next one if it is its turn, and start it again."""
        if self._due and closed >= self._due[0].closed:
            name = self._due.pop(0).name
            self._stage.kill_and_restart(name)
            self._say(f"killed {name} with {closed} flights closed, and started it again")


class _Nobody(Kills):
    def __init__(self) -> None:
        self._due = []

    def in_flight_max(self, wanted: int) -> int:
        return wanted


NOBODY: Kills = _Nobody()


def plan(seed: int, flights: int, names: Sequence[str]) -> list[Kill]:
    """Twice a processor and twice a worker in any order, spread over the first four fifths of the flights."""
    random = Random(seed)  # noqa: S311 - a plan that can be repeated, no secret
    victims = [
        random.choice([name for name in names if name.startswith(kind)])
        for kind in ("processor", "worker")
        for _ in range(KILLS_EACH)
    ]
    random.shuffle(victims)
    step = flights / (len(victims) + 1)
    return [Kill(int(step * (number + random.uniform(0.4, 1.0))), name) for number, name in enumerate(victims)]
