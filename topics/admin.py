"""Administration of topics: compare with the catalogue, create, configure, verify, declare the namespace.

`plan` compares and `apply` carries out what it found; `verify` reports problems. Partitions are never changed, because
keys would move away from the state that belongs to them.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.schemas.encoding.codec import encode
from penstock.schemas.errors import TopicMismatch
from penstock.schemas.records.registry import NamespaceDeclared
from penstock.schemas.values.levels import FIRST_LEVEL, LEVEL
from penstock.topics.catalogue import AT_LEAST, IN_SYNC, Topics, creation_advice
from penstock.topics.log import Log, Record, TopicDescription, TopicSpec
from penstock.topics.publishing import publish
from penstock.topics.registry import NAMESPACE_KEY, level_record, read_registry

WAIT_S_MAX = 30.0
IN_SYNC_FROM = 2  # with more replicas than this, a record must be on two of them before it is acknowledged


class Create(msgspec.Struct, frozen=True, tag=True):
    """A topic that does not exist."""

    spec: TopicSpec

    def __str__(self) -> str:
        return f"create {self.spec.name} with {_partitions(self.spec.partitions)}"


class Configure(msgspec.Struct, frozen=True, tag=True):
    """A topic's setting that differs from the required value. `actual` is None if the setting is not set."""

    topic: str
    key: str
    actual: str | None
    required: str

    def __str__(self) -> str:
        return f"set {self.key} of {self.topic} to {self.required} (it is {self.actual or 'not set'})"


class Mismatch(msgspec.Struct, frozen=True, tag=True):
    """A topic with a wrong number of partitions, which cannot be changed."""

    topic: str
    actual: int
    required: int

    def __str__(self) -> str:
        return (
            f"{self.topic} has {_partitions(self.actual)} and must have {self.required}, which cannot be changed: "
            "set the number of shards that the namespace was created with, or use another namespace"
        )


class TooFewReplicas(msgspec.Struct, frozen=True, tag=True):
    """A topic with fewer replicas than required, which only Kafka's own tools can change."""

    topic: str
    actual: int
    required: int

    def __str__(self) -> str:
        replicas = f"{self.actual} {'replica' if self.actual == 1 else 'replicas'}"
        return (
            f"{self.topic} has {replicas} of each partition and must have {self.required}: "
            "add replicas with kafka-reassign-partitions, or remove the setting replication"
        )


class Unreadable(msgspec.Struct, frozen=True, tag=True):
    """A topic whose settings this program may not read."""

    topic: str

    def __str__(self) -> str:
        return (
            f"the settings of {self.topic} cannot be read, and so not be verified: give this program's principal the "
            "right DESCRIBE_CONFIGS of the topic"
        )


Change = Create | Configure | Mismatch | TooFewReplicas | Unreadable


class Plan(msgspec.Struct, frozen=True):
    """Changes that bring the topics into their required state; empty if they are in it."""

    changes: tuple[Change, ...]

    @property
    def mismatches(self) -> list[Mismatch | TooFewReplicas | Unreadable]:
        """Differences that `apply` cannot remove."""
        return [change for change in self.changes if isinstance(change, Mismatch | TooFewReplicas | Unreadable)]


def plan(log: Log, specs: Sequence[TopicSpec]) -> Plan:
    """Compare the topics with their specifications. Changes nothing. Raises LogUnavailable."""
    existing = log.describe([spec.name for spec in specs])
    return Plan(tuple(change for spec in specs for change in _changes(spec, existing.get(spec.name))))


def apply(log: Log, planned: Plan) -> None:
    """Carry out the plan. Raises TopicMismatch, before any change, if the plan has mismatches."""
    if planned.mismatches:
        raise TopicMismatch("; ".join(str(mismatch) for mismatch in planned.mismatches))
    created = [change.spec for change in planned.changes if isinstance(change, Create)]
    changes = planned.changes
    if created:
        log.create(created)
        # Of the broker's default, the number of replicas is known only now.
        changes += plan(log, created).changes
    settings: dict[str, dict[str, str]] = {}
    for change in changes:
        if isinstance(change, Configure):
            settings.setdefault(change.topic, {})[change.key] = change.required
    for topic, config in settings.items():
        log.configure(topic, config)


def verify(log: Log, specs: Sequence[TopicSpec]) -> list[str]:
    """Problems of the topics, one sentence each; empty if there are none. Raises LogUnavailable."""
    return [_problem(change) for change in plan(log, specs).changes]


def declared_shards(log: Log, topics: Topics) -> int | None:
    """The number of shards that the namespace was created with, None if it was not created yet.

    Raises LogUnavailable, and Undecodable if its entry in the registry cannot be read."""
    registry = read_registry(log, topics, WAIT_S_MAX)
    if NAMESPACE_KEY in registry.undecodable:
        raise registry.undecodable[NAMESPACE_KEY]
    return registry.namespace.shards if registry.namespace is not None else None


def declare_namespace(log: Log, topics: Topics, shards: int) -> None:
    """Record the namespace's number of shards in the registry, once its topics exist. Idempotent.

    Raises TopicMismatch if the namespace was created with another number, LogUnavailable."""
    commands = log.describe([topics.commands]).get(topics.commands)
    if commands is None:
        raise TopicMismatch(f"{topics.commands} does not exist: {creation_advice(topics.commands)}")
    declared = declared_shards(log, topics)
    # The creation of the topics decides between two processes that start at once with different numbers.
    for actual in (commands.partitions, declared):
        if actual is not None and actual != shards:
            raise TopicMismatch(
                f"namespace {topics.namespace} was created with {actual} shards, not {shards}: "
                f"set shards to {actual}, or use another namespace"
            )
    if declared is None:
        entry = encode(NamespaceDeclared(namespace=topics.namespace, shards=shards))
        level = [level_record(topics, LEVEL, "operator")] if LEVEL > FIRST_LEVEL else []
        publish(log, [*level, Record(topics.registry, 0, NAMESPACE_KEY, entry)], WAIT_S_MAX)


def _changes(spec: TopicSpec, actual: TopicDescription | None) -> list[Change]:
    if actual is None:
        return [Create(spec)]
    if actual.partitions != spec.partitions:
        return [Mismatch(spec.name, actual.partitions, spec.partitions)]
    if 0 < actual.replication < spec.replication:
        return [TooFewReplicas(spec.name, actual.replication, spec.replication)]
    if actual.replication and not actual.config:  # Kafka reports every setting, also those of its defaults
        return [Unreadable(spec.name)]
    required = dict(spec.config)
    if actual.replication > IN_SYNC_FROM:
        required.setdefault(IN_SYNC, "2")
    return [
        Configure(spec.name, key, actual.config.get(key), value)
        for key, value in sorted(required.items())
        if not _is_met(key, actual.config.get(key), value)
    ]


def _is_met(key: str, actual: str | None, required: str) -> bool:
    if actual is not None and key in AT_LEAST:
        return int(actual) >= int(required)
    return actual == required


def _problem(change: Change) -> str:
    match change:
        case Create(spec):
            return f"{spec.name} does not exist: {creation_advice(spec.name)}"
        case Configure(topic, key, actual, required):
            least = "at least " if key in AT_LEAST else ""
            return f"{key} of {topic} is {actual or 'not set'} and must be {least}{required}: {creation_advice(topic)}"
        case Mismatch() | TooFewReplicas() | Unreadable():
            return str(change)


def _partitions(count: int) -> str:
    return f"{count} partition{'' if count == 1 else 's'}"
