"""What leaves a shard because of an event: tasks, commands to other shards, replies, the completion."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.engine.core.catalogue import EVENTS
from penstock.engine.core.evolve import EVOLVERS
from penstock.engine.core.machine import Cause, Effects
from penstock.engine.core.working import WorkingRun
from penstock.schemas.records.kinds import Event

EFFECTS = {kind: rule.effects for kind, rule in EVENTS.items() if rule.effects is not None}


def evolve_with_effects(found: Effects, run: WorkingRun, events: Sequence[Event], cause: Cause, shard: int) -> None:
    """Evolve the run by each event in turn, and add what that event causes outside to `found`.

    `shard`: the shard's number. AssertionError for an event that its machine's table forbids."""
    for event in events:
        kind = type(event)
        EVOLVERS[kind](run, event, cause)
        effects = EFFECTS.get(kind)
        if effects is not None:
            effects(found, run, event, shard)
