"""Are the topics what they must be, and what would make them so?

`plan` compares, `apply` carries out, `verify` tells. Partitions are never changed: keys would land elsewhere than
the state that knows them.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.schemas.encoding.codec import decode, encode
from penstock.schemas.errors import TopicMismatch, Undecodable
from penstock.schemas.records.registry import NamespaceDeclared
from penstock.topics.catalogue import Topics, what_makes
from penstock.topics.log import Log, Record, StoredRecord, TopicFacts, TopicSpec
from penstock.topics.publishing import publish

NAMESPACE_KEY = b"namespace"
WAIT_S_MAX = 30.0


class Create(msgspec.Struct, frozen=True, tag=True):
    """The topic does not exist yet."""

    spec: TopicSpec

    def __str__(self) -> str:
        return f"create {self.spec.name} with {_partitions(self.spec.partitions)}"


class Configure(msgspec.Struct, frozen=True, tag=True):
    """A setting of the topic differs."""

    topic: str
    key: str
    actual: str | None
    required: str

    def __str__(self) -> str:
        return f"set {self.key} of {self.topic} to {self.required} (it is {self.actual or 'not set'})"


class Mismatch(msgspec.Struct, frozen=True, tag=True):
    """The topic has another number of partitions, which nothing here can change."""

    topic: str
    actual: int
    required: int

    def __str__(self) -> str:
        return (
            f"{self.topic} has {_partitions(self.actual)} and must have {self.required}, which cannot be changed: "
            "set the number of shards that the namespace was made with, or use another namespace"
        )


class TooFewCopies(msgspec.Struct, frozen=True, tag=True):
    """The topic is replicated less than it must be, which only Kafka's own tools can change."""

    topic: str
    actual: int
    required: int

    def __str__(self) -> str:
        copies = f"{self.actual} {'copy' if self.actual == 1 else 'copies'}"
        return (
            f"{self.topic} has {copies} of each partition and must have {self.required}: "
            "let kafka-reassign-partitions make more, or leave the setting replication out"
        )


Change = Create | Configure | Mismatch | TooFewCopies


class Plan(msgspec.Struct, frozen=True):
    """What would make the topics as they must be; empty when they are."""

    changes: tuple[Change, ...]

    @property
    def mismatches(self) -> list[Mismatch | TooFewCopies]:
        """What the plan cannot mend."""
        return [change for change in self.changes if isinstance(change, Mismatch | TooFewCopies)]


def plan(log: Log, specs: Sequence[TopicSpec]) -> Plan:
    """Compare the topics with what they must be. Changes nothing. Raises LogUnavailable."""
    existing = log.describe([spec.name for spec in specs])
    return Plan(tuple(change for spec in specs for change in _changes(spec, existing.get(spec.name))))


def apply(log: Log, planned: Plan) -> None:
    """Carry the plan out. Raises TopicMismatch, before anything is changed, when it holds what cannot be mended."""
    if planned.mismatches:
        raise TopicMismatch("; ".join(str(mismatch) for mismatch in planned.mismatches))
    created = [change.spec for change in planned.changes if isinstance(change, Create)]
    if created:
        log.create(created)
    settings: dict[str, dict[str, str]] = {}
    for change in planned.changes:
        if isinstance(change, Configure):
            settings.setdefault(change.topic, {})[change.key] = change.required
    for topic, config in settings.items():
        log.configure(topic, config)


def verify(log: Log, specs: Sequence[TopicSpec]) -> list[str]:
    """What is wrong with the topics, one sentence each; empty when nothing is. Raises LogUnavailable."""
    return [_problem(change) for change in plan(log, specs).changes]


def declared_shards(log: Log, topics: Topics) -> int | None:
    """How many shards the namespace was made with, None when it was not made yet.

    Raises LogUnavailable, Undecodable."""
    if topics.registry not in log.describe([topics.registry]):
        return None
    where = (topics.registry, 0)
    start, _ = log.ends([where])[where]
    shards = None
    for batch in log.read_to_end(*where, start, WAIT_S_MAX):
        for record in batch:
            if record.key == NAMESPACE_KEY and record.value is not None:
                shards = _declaration(record).shards
    return shards


def declare_namespace(log: Log, topics: Topics, shards: int) -> None:
    """Write down how many shards the namespace has, once its topics are made; said again, it changes nothing.

    Raises TopicMismatch when it was made with another number, LogUnavailable."""
    facts = log.describe([topics.commands]).get(topics.commands)
    if facts is None:
        raise TopicMismatch(f"{topics.commands} does not exist: run {what_makes(topics.commands)}")
    declared = declared_shards(log, topics)
    # Making the topics is what decides between two who begin at once with different numbers.
    for actual in (facts.partitions, declared):
        if actual is not None and actual != shards:
            raise TopicMismatch(
                f"namespace {topics.namespace} was made with {actual} shards, not {shards}: "
                f"set shards to {actual}, or use another namespace"
            )
    if declared is None:
        entry = encode(NamespaceDeclared(namespace=topics.namespace, shards=shards))
        publish(log, [Record(topics.registry, 0, NAMESPACE_KEY, entry)], WAIT_S_MAX)


def _declaration(record: StoredRecord) -> NamespaceDeclared:
    assert record.value is not None
    try:
        entry = decode(record.value)
        if not isinstance(entry, NamespaceDeclared):
            raise Undecodable(f"a {type(entry).__name__} declares no namespace")
    except Undecodable as error:
        raise Undecodable(error.detail, topic=record.topic, partition=record.partition, offset=record.offset) from error
    return entry


def _changes(spec: TopicSpec, facts: TopicFacts | None) -> list[Change]:
    if facts is None:
        return [Create(spec)]
    if facts.partitions != spec.partitions:
        return [Mismatch(spec.name, facts.partitions, spec.partitions)]
    if 0 < facts.replication < spec.replication:
        return [TooFewCopies(spec.name, facts.replication, spec.replication)]
    return [
        Configure(spec.name, key, facts.config.get(key), required)
        for key, required in sorted(spec.config.items())
        if facts.config.get(key) != required
    ]


def _problem(change: Change) -> str:
    match change:
        case Create(spec):
            return f"{spec.name} does not exist: run {what_makes(spec.name)}"
        case Configure(topic, key, actual, required):
            return f"{key} of {topic} is {actual or 'not set'} and must be {required}: run {what_makes(topic)}"
        case Mismatch() | TooFewCopies():
            return str(change)


def _partitions(count: int) -> str:
    return f"{count} partition{'' if count == 1 else 's'}"
