"""Records of the topic `registry`: shards, their owners, members with what they host, and the feature level.

Record keys: `namespace`, `level`, `shard/<n>`, `member/<name>`, `workflow/<type>`.
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


class MemberAnnounced(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A running process with processors or workers, and what it hosts.

    Repeated at intervals, deleted by a process that ends in order. It counts until `expires_ms` after the log's append
    time. `application`: members of one namespace have the same. `level`: the highest feature level that it knows.
    `workflows`: hosted types with their highest versions; `versions`: all versions of types that are hosted in several.
    `admitted`: the process has compared itself with the other members;
    false in its first announcement."""

    member: str
    application: str
    build: str = ""
    level: int = 1
    host: str = ""
    pid: int = 0
    workflows: dict[str, int] = {}
    activities: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    admitted: bool = False
    expires_ms: int = 0
    versions: dict[str, tuple[int, ...]] = {}


class LevelRaised(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Feature level of the namespace: records and fields up to it may be written. `by`: `operator` | `members`."""

    level: int
    by: str


RegistryEntry = NamespaceDeclared | ShardOwned | WorkflowDeclared | MemberAnnounced | LevelRaised
