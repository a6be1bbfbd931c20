"""What leaves a shard because of an event: tasks, commands to other shards, replies, the completion."""

from __future__ import annotations

from penstock.engine.core.catalogue import EVENTS
from penstock.engine.core.machine import Effects
from penstock.engine.core.working import WorkingRun
from penstock.schemas.records.kinds import Event

EFFECTS = {kind: rule.effects for kind, rule in EVENTS.items() if rule.effects is not None}


def add_effects(found: Effects, run: WorkingRun, event: Event, shard: int) -> None:
    """Add what `event` causes outside its run, which is as `evolve` left it. `shard`: the shard's number."""
    effects = EFFECTS.get(type(event))
    if effects is not None:
        effects(found, run, event, shard)
