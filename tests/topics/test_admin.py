"""Tests of plan, apply and verify."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
import pytest

from penstock.schemas.encoding.codec import decode
from penstock.schemas.errors import TopicMismatch, Undecodable
from penstock.schemas.records.registry import NamespaceDeclared
from penstock.topics.admin import (
    Configure,
    Create,
    Mismatch,
    TooFewReplicas,
    Unreadable,
    apply,
    declare_namespace,
    declared_shards,
    plan,
    verify,
)
from penstock.topics.catalogue import Topics, specs
from penstock.topics.embedded import EmbeddedLog
from penstock.topics.log import Log, Record, TopicDescription
from penstock.topics.publishing import publish

TOPICS = Topics()
RUN = "run `penstock topics apply`"


@pytest.fixture
def log() -> Iterator[Log]:
    """An empty log in memory."""
    opened = EmbeddedLog()
    yield opened
    opened.close()


def test_an_empty_log_is_planned_from_nothing(log: Log) -> None:
    """Each topic is created, in the catalogue's order; planning changes nothing."""
    required = specs(TOPICS, 2, ["default"])
    assert plan(log, required).changes == tuple(Create(spec) for spec in required)
    assert log.describe() == {}


def test_after_apply_nothing_is_left_to_do(log: Log) -> None:
    """After apply the plan is empty, verify finds nothing, and applying the same plan again changes nothing."""
    required = specs(TOPICS, 2, ["default"])
    planned = plan(log, required)
    apply(log, planned)
    assert plan(log, required).changes == ()
    assert verify(log, required) == []
    apply(log, planned)
    assert verify(log, required) == []


def test_a_setting_that_differs_is_set_and_others_stay(log: Log) -> None:
    """A changed setting is planned with what is and what must be; a setting of the user's own is not touched."""
    required = specs(TOPICS, 1)
    apply(log, plan(log, required))
    log.configure(TOPICS.commands, {"retention.ms": "1000", "compression.type": "zstd"})
    planned = plan(log, required)
    assert planned.changes == (Configure(TOPICS.commands, "retention.ms", "1000", "-1"),)
    assert verify(log, required) == [
        f"retention.ms of {TOPICS.commands} is 1000 and must be -1: run `penstock topics apply`"
    ]
    apply(log, planned)
    assert log.describe()[TOPICS.commands].config["retention.ms"] == "-1"
    assert log.describe()[TOPICS.commands].config["compression.type"] == "zstd"


def test_another_number_of_partitions_cannot_be_corrected(log: Log) -> None:
    """A mismatch names topic and both numbers, and applying such a plan changes nothing at all."""
    apply(log, plan(log, specs(TOPICS, 2)))
    planned = plan(log, specs(TOPICS, 4, ["new"]))
    assert Mismatch(TOPICS.commands, 2, 4) in planned.mismatches
    assert len(planned.mismatches) == 6
    with pytest.raises(TopicMismatch, match=rf"{TOPICS.commands} has 2 partitions and must have 4"):
        apply(log, planned)
    assert TOPICS.tasks("new") not in log.describe()


def test_too_few_replicas_cannot_be_corrected(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """A topic with too few replicas is reported, and settings that depend on them are not changed."""
    apply(log, plan(log, specs(TOPICS, 1)))
    found = {name: msgspec.structs.replace(facts, replication=1) for name, facts in log.describe().items()}
    monkeypatch.setattr(log, "describe", lambda _: found)
    planned = plan(log, specs(TOPICS, 1, replication=3))
    assert planned.mismatches == list(planned.changes)
    assert planned.changes[0] == TooFewReplicas(TOPICS.commands, 1, 3)
    with pytest.raises(TopicMismatch, match=rf"{TOPICS.commands} has 1 replica of each partition and must have 3"):
        apply(log, planned)
    assert plan(log, specs(TOPICS, 1)).changes == ()


def _with_replicas(log: Log, monkeypatch: pytest.MonkeyPatch, replicas: int) -> None:
    """Let the log report this many replicas of each partition."""
    describe = log.describe

    def described(topics: Sequence[str] | None = None) -> Mapping[str, TopicDescription]:
        found = describe(topics)
        return {name: msgspec.structs.replace(facts, replication=replicas) for name, facts in found.items()}

    monkeypatch.setattr(log, "describe", described)


@pytest.mark.parametrize(("replicas", "needed"), [(1, None), (2, None), (3, "2"), (5, "2")])
def test_replicas_of_the_brokers_choice_are_put_to_use(
    log: Log, monkeypatch: pytest.MonkeyPatch, replicas: int, needed: str | None
) -> None:
    """If the broker makes three replicas or more, a record must be on two of them; apply sets that at once."""
    _with_replicas(log, monkeypatch, replicas)
    required = specs(TOPICS, 1)
    apply(log, plan(log, required))
    assert verify(log, required) == []
    assert {facts.config.get("min.insync.replicas") for facts in log.describe().values()} == {needed}


def test_a_minimum_may_be_exceeded(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deletions may be kept for longer, and more replicas be in sync, than is required; less is a problem."""
    _with_replicas(log, monkeypatch, 3)
    required = specs(TOPICS, 1)
    apply(log, plan(log, required))
    log.configure(TOPICS.state_changelog, {"delete.retention.ms": "999999999", "min.insync.replicas": "3"})
    assert verify(log, required) == []
    log.configure(TOPICS.state_changelog, {"delete.retention.ms": "1000", "min.insync.replicas": "1"})
    assert verify(log, required) == [
        f"delete.retention.ms of {TOPICS.state_changelog} is 1000 and must be at least 86400000: {RUN}",
        f"min.insync.replicas of {TOPICS.state_changelog} is 1 and must be at least 2: {RUN}",
    ]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("message.timestamp.type", "CreateTime"),
        ("unclean.leader.election.enable", "true"),
        ("cleanup.policy", "compact"),
        ("retention.ms", "604800000"),
        ("retention.bytes", "1000000"),
    ],
)
def test_a_setting_that_loses_records_is_a_problem(log: Log, key: str, value: str) -> None:
    """Timestamps of producers, leaders that have missed records and deletions are reported with the remedy."""
    required = specs(TOPICS, 1, ["default"])
    apply(log, plan(log, required))
    log.configure(TOPICS.tasks("default"), {key: value})
    (problem,) = verify(log, required)
    assert problem.startswith(f"{key} of {TOPICS.tasks('default')} is {value} and must be ")
    assert "run `penstock topics apply MODULE`" in problem


def test_settings_that_cannot_be_read_are_a_problem(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the broker does not say how topics are set, they are not taken for wrong ones; the missing right is named."""
    apply(log, plan(log, specs(TOPICS, 1)))
    found = {name: msgspec.structs.replace(it, replication=1, config={}) for name, it in log.describe().items()}
    monkeypatch.setattr(log, "describe", lambda _: found)
    planned = plan(log, specs(TOPICS, 1))
    assert planned.mismatches == [Unreadable(spec.name) for spec in specs(TOPICS, 1)]
    assert "give this program's principal the right DESCRIBE_CONFIGS" in verify(log, specs(TOPICS, 1))[0]


def test_every_change_reads_as_a_sentence(log: Log) -> None:
    """Each change's text names the topic and the numbers."""
    required = specs(TOPICS, 1)
    assert str(plan(log, required).changes[0]) == f"create {TOPICS.commands} with 1 partition"
    assert verify(log, required)[0] == f"{TOPICS.commands} does not exist: run `penstock topics apply`"
    assert verify(log, specs(TOPICS, 1, ["mail"]))[-1].endswith(
        "run `penstock topics apply MODULE` (the module of its activities)"
    )
    change = Configure("t", "retention.ms", None, "5")
    assert str(change) == "set retention.ms of t to 5 (it is not set)"


def test_the_namespace_is_declared_once(log: Log) -> None:
    """Nothing is declared before; afterwards the number of shards is read back from one record in the registry."""
    assert declared_shards(log, TOPICS) is None
    apply(log, plan(log, specs(TOPICS, 3)))
    assert declared_shards(log, TOPICS) is None
    declare_namespace(log, TOPICS, 3)
    declare_namespace(log, TOPICS, 3)
    assert declared_shards(log, TOPICS) == 3
    ((record,),) = log.read_to_end(TOPICS.registry, 0, 0, 5.0)
    assert (record.key, decode(record.value or b"")) == (
        b"namespace",
        NamespaceDeclared(namespace="default", shards=3),
    )


def test_another_number_of_shards_is_refused(log: Log) -> None:
    """A namespace created with two shards cannot be declared with four, before or after it was declared with two."""
    apply(log, plan(log, specs(TOPICS, 2)))
    for _ in range(2):
        with pytest.raises(TopicMismatch, match="created with 2 shards, not 4"):
            declare_namespace(log, TOPICS, 4)
        declare_namespace(log, TOPICS, 2)


def test_declaring_needs_the_topics(log: Log) -> None:
    """Without topics there is nothing to declare, and the error says what to run."""
    with pytest.raises(TopicMismatch, match="penstock topics apply"):
        declare_namespace(log, TOPICS, 1)


def test_a_spoilt_declaration_is_named_by_its_place(log: Log) -> None:
    """Invalid bytes under the namespace's key raise Undecodable with topic, partition and offset."""
    apply(log, plan(log, specs(TOPICS, 1)))
    publish(log, [Record(TOPICS.registry, 0, b"namespace", b"nonsense")], 5.0)
    with pytest.raises(Undecodable) as caught:
        declared_shards(log, TOPICS)
    assert (caught.value.topic, caught.value.partition, caught.value.offset) == (TOPICS.registry, 0, 0)
