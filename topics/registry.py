"""Contents of the topic `registry`: namespace, owners of shards, declared workflows.

`read_registry` is the only reader of the topic. Entries that cannot be decoded are skipped and reported in
`Registry.undecodable`, so that one foreign record does not hide the others.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import msgspec

from penstock.schemas.errors import Undecodable
from penstock.schemas.records.registry import NamespaceDeclared, RegistryEntry, ShardOwned, WorkflowDeclared
from penstock.topics.catalogue import Topics
from penstock.topics.decoding import decoded
from penstock.topics.log import Log, StoredRecord

NAMESPACE_KEY = b"namespace"

logger = logging.getLogger(__name__)


class Registry(msgspec.Struct):
    """Latest entries of the registry: `owners` by shard, `workflows` by type, `undecodable` by record key.

    A key is in `undecodable` if its latest record could not be decoded; an earlier, valid entry stays in effect."""

    namespace: NamespaceDeclared | None = None
    owners: dict[int, ShardOwned] = {}
    workflows: dict[str, WorkflowDeclared] = {}
    undecodable: dict[bytes, Undecodable] = {}

    def add(self, record: StoredRecord) -> None:
        """Apply the next record of the topic."""
        if record.value is None:
            return
        key = record.key or b""
        try:
            self._set(key, _entry_in(record, key))
        except Undecodable as error:
            logger.debug("registry entry skipped: %s", error)
            self.undecodable[key] = error
        else:
            self.undecodable.pop(key, None)

    def _set(self, key: bytes, entry: RegistryEntry) -> None:
        match entry:
            case NamespaceDeclared():
                self.namespace = entry if key == NAMESPACE_KEY else self.namespace
            case ShardOwned():
                self.owners[entry.shard] = entry
            case WorkflowDeclared():
                self.workflows[entry.workflow_type] = entry


def read_registry(log: Log, topics: Topics, timeout_s: float) -> Registry:
    """Read the topic to its end and fold its records; empty if the topic does not exist. Raises LogUnavailable."""
    registry = Registry()
    for record in _records(log, topics.registry, timeout_s):
        registry.add(record)
    return registry


def owners(log: Log, topics: Topics, timeout_s: float) -> dict[int, ShardOwned]:
    """The latest owner of each shard, including owners that released it. Raises LogUnavailable."""
    return read_registry(log, topics, timeout_s).owners


def shard_key(shard: int) -> bytes:
    """The key of a shard's entry."""
    return b"shard/%d" % shard


def _entry_in(record: StoredRecord, key: bytes) -> RegistryEntry:
    """The record's entry. Raises Undecodable, also for an entry that its key does not allow."""
    entry = decoded(record)
    allowed = NamespaceDeclared if key == NAMESPACE_KEY else RegistryEntry
    if isinstance(entry, allowed):
        return entry
    raise Undecodable(
        f"A {type(entry).__name__} is no registry entry for the key {key.decode(errors='replace')!r}.",
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
    )


def _records(log: Log, topic: str, timeout_s: float) -> Iterator[StoredRecord]:
    found = log.describe([topic]).get(topic)
    for partition in range(found.partitions if found else 0):
        first, _ = log.ends([(topic, partition)])[topic, partition]
        for batch in log.read_to_end(topic, partition, first, timeout_s):
            yield from batch
