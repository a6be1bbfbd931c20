"""Records of the topic `registry`: shards, their owners, and hosted workflow types.

Record keys: `namespace`, `shard/<n>`, `workflow/<type>`.
"""

from __future__ import annotations

import msgspec


class NamespaceDeclared(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Number of shards of the namespace, fixed when its topics are created."""

    namespace: str
    shards: int


class ShardOwned(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Owner of a shard.

    `transactional_id`: a successor aborts the transaction that it left open. `address`: `http://host:port` of committed
    reads, empty for none. `released`: the owner gave the shard up in order."""

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
