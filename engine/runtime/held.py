"""A shard that this process owns."""

from __future__ import annotations

from penstock.engine.runtime.shard import Shard
from penstock.engine.runtime.suspicion import Suspicion
from penstock.engine.store.store import Store


class Held:
    """A shard that this process owns, with its store. `suspicion`: after its last owner's unclean end."""

    __slots__ = ("shard", "store", "suspicion")

    def __init__(self, shard: Shard, store: Store) -> None:
        self.shard, self.store = shard, store
        self.suspicion: Suspicion | None = None
