"""Tests of the fold of the topic `registry`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from penstock.schemas.encoding.codec import encode
from penstock.schemas.records.registry import NamespaceDeclared, ShardOwned, WorkflowDeclared
from penstock.topics.admin import apply, plan
from penstock.topics.catalogue import Topics, specs
from penstock.topics.embedded import EmbeddedLog
from penstock.topics.log import Log, Record
from penstock.topics.publishing import publish
from penstock.topics.registry import NAMESPACE_KEY, Registry, owners, read_registry, shard_key

TOPICS = Topics()
WAIT_S = 5.0


@pytest.fixture
def log() -> Iterator[Log]:
    """A log in memory with the topics of one shard."""
    opened = EmbeddedLog()
    apply(opened, plan(opened, specs(TOPICS, 1)))
    yield opened
    opened.close()


def owned(shard: int, holder: str, *, released: bool = False) -> ShardOwned:
    return ShardOwned(shard=shard, transactional_id=holder, address="", released=released, at_ms=1)


def write(log: Log, *entries: tuple[bytes | None, bytes | None]) -> None:
    publish(log, [Record(TOPICS.registry, 0, key, value) for key, value in entries], WAIT_S)


def test_the_latest_entry_of_each_kind_counts(log: Log) -> None:
    """The fold has the namespace, the last owner of each shard, released ones too, and the workflows by type."""
    namespace = NamespaceDeclared(namespace="default", shards=2)
    workflow = WorkflowDeclared(workflow_type="fulfil", version=2, module="orders")
    write(
        log,
        (NAMESPACE_KEY, encode(namespace)),
        (shard_key(0), encode(owned(0, "first"))),
        (shard_key(1), encode(owned(1, "first"))),
        (b"workflow/fulfil", encode(WorkflowDeclared(workflow_type="fulfil", version=1, module="orders"))),
        (shard_key(0), encode(owned(0, "second", released=True))),
        (b"workflow/fulfil", encode(workflow)),
    )
    expected = {0: owned(0, "second", released=True), 1: owned(1, "first")}
    assert read_registry(log, TOPICS, WAIT_S) == Registry(namespace, expected, {"fulfil": workflow}, {})
    assert owners(log, TOPICS, WAIT_S) == expected


def test_an_undecodable_entry_hides_no_other(log: Log) -> None:
    """Bytes that cannot be decoded, other records and tombstones leave the valid entries, and are reported by key."""
    write(
        log,
        (shard_key(0), encode(owned(0, "first"))),
        (shard_key(0), b"nonsense"),
        (None, b""),
        (NAMESPACE_KEY, encode(owned(7, "misplaced"))),
        (b"default", encode(NamespaceDeclared(namespace="default", shards=9))),
        (shard_key(1), b"nonsense"),
        (shard_key(1), encode(owned(1, "second"))),
        (shard_key(1), None),
    )
    registry = read_registry(log, TOPICS, WAIT_S)
    assert registry.owners == {0: owned(0, "first"), 1: owned(1, "second")}
    assert registry.namespace is None
    assert {key: error.offset for key, error in registry.undecodable.items()} == {
        shard_key(0): 1,
        b"": 2,
        NAMESPACE_KEY: 3,
    }


def test_without_the_topic_the_registry_is_empty() -> None:
    """A namespace without topics has an empty registry."""
    empty = EmbeddedLog()
    assert read_registry(empty, TOPICS, WAIT_S) == Registry()
    empty.close()
