"""What runs where? The records of the topic `registry`: it lists, it decides nothing.

Record keys: `namespace`, `shard/<n>`, `workflow/<type>`.
"""

from __future__ import annotations

import msgspec


class NamespaceDeclared(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """How many shards the namespace has; fixed when its topics are made."""

    namespace: str
    shards: int


class ShardOwned(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Who has the shard: `transactional_id` (a successor aborts what it left open) and `address` (`http://host:port`
    of committed reads, empty for none). `released` tells a clean goodbye."""

    shard: int
    transactional_id: str
    address: str
    released: bool
    at_ms: int


class WorkflowDeclared(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A workflow type that the namespace's processors host."""

    workflow_type: str
    version: int
    module: str


RegistryEntry = NamespaceDeclared | ShardOwned | WorkflowDeclared
