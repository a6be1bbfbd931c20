"""Contents of the topic `registry`: namespace, feature level, owners of shards, members, declared workflows.

`read_registry` is the only reader of the topic. Entries that cannot be decoded are skipped and reported in
`Registry.undecodable`, so that one foreign record does not hide the others.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import msgspec

from penstock.schemas.encoding.codec import encode
from penstock.schemas.errors import NotAdmitted, Undecodable
from penstock.schemas.records.registry import (
    LevelRaised,
    MemberAnnounced,
    NamespaceDeclared,
    RegistryEntry,
    ShardOwned,
    WorkflowDeclared,
)
from penstock.schemas.values.levels import FIRST_LEVEL, LEVEL
from penstock.topics.catalogue import Topics
from penstock.topics.decoding import decoded
from penstock.topics.log import Log, Record, StoredRecord

NAMESPACE_KEY = b"namespace"
LEVEL_KEY = b"level"
MEMBER_PREFIX = b"member/"

logger = logging.getLogger(__name__)


class SeenMember(msgspec.Struct, frozen=True):
    """A member's latest announcement, and where it stands: offset, and append time by the log's clock (epoch)."""

    announced: MemberAnnounced
    offset: int
    at_ms: int


class Registry(msgspec.Struct):
    """Latest entries of the registry: `owners` by shard, `workflows` by type, `members` by name, `undecodable` by key.

    `level`: feature level of the namespace. A key is in `undecodable` if its latest record could not be decoded; an
    earlier, valid entry stays in effect."""

    namespace: NamespaceDeclared | None = None
    owners: dict[int, ShardOwned] = {}
    workflows: dict[str, WorkflowDeclared] = {}
    undecodable: dict[bytes, Undecodable] = {}
    members: dict[str, SeenMember] = {}
    level: int = FIRST_LEVEL

    def add(self, record: StoredRecord) -> None:
        """Apply the next record of the topic."""
        key = record.key or b""
        if record.value is None:
            if key.startswith(MEMBER_PREFIX):
                self.members.pop(key.removeprefix(MEMBER_PREFIX).decode(errors="replace"), None)
            return
        try:
            self._set(record, key, _entry_in(record, key))
        except Undecodable as error:
            logger.debug("registry entry skipped: %s", error)
            self.undecodable[key] = error
        else:
            self.undecodable.pop(key, None)

    def live(self, now_ms: int) -> list[SeenMember]:
        """Members whose latest announcement has not expired at that time of the log, sorted by name."""
        found = (seen for seen in self.members.values() if now_ms <= seen.at_ms + seen.announced.expires_ms)
        return sorted(found, key=lambda seen: seen.announced.member)

    def _set(self, record: StoredRecord, key: bytes, entry: RegistryEntry) -> None:
        match entry:
            case NamespaceDeclared():
                self.namespace = entry if key == NAMESPACE_KEY else self.namespace
            case ShardOwned():
                self.owners[entry.shard] = entry
            case WorkflowDeclared():
                self.workflows[entry.workflow_type] = entry
            case MemberAnnounced():
                self.members[entry.member] = SeenMember(entry, record.offset, record.timestamp_ms)
            case LevelRaised():
                self.level = max(self.level, entry.level)


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


def member_key(member: str) -> bytes:
    """The key of a member's entry."""
    return MEMBER_PREFIX + member.encode()


def level_record(topics: Topics, level: int, by: str) -> Record:
    """The record that raises the namespace's level."""
    return Record(topics.registry, 0, LEVEL_KEY, encode(LevelRaised(level=level, by=by)))


def require_level(level: int, known: int = LEVEL) -> None:
    """Raise NotAdmitted if a namespace of that feature level may contain records that this program cannot read."""
    if level > known:
        raise NotAdmitted(
            f"the namespace has feature level {level} and this build knows levels up to {known}, so it cannot read all "
            "records: run a newer build (a level cannot be lowered)."
        )


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
