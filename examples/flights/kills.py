"""When is whom to be killed? A plan, made by chance from a seed, in flights closed rather than in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import msgspec

KILLS_EACH = 2


class Kill(msgspec.Struct, frozen=True):
    """Kill that process once so many flights have closed."""

    closed: int
    name: str


def plan(seed: int, flights: int, names: Sequence[str]) -> list[Kill]:
    """Twice a processor and twice a worker, in any order, spread over the run so that work is always in flight."""
    random = Random(seed)  # noqa: S311 - a plan that can be repeated, no secret
    victims = [
        random.choice([name for name in names if name.startswith(kind)])
        for kind in ("processor", "worker")
        for _ in range(KILLS_EACH)
    ]
    random.shuffle(victims)
    step = flights / (len(victims) + 1)
    return [
        Kill(closed=int(step * (number + random.uniform(0.4, 1.0))), name=name) for number, name in enumerate(victims)
    ]
