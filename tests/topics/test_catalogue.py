"""Tests of the catalogue of topics."""

from __future__ import annotations

import pytest

from penstock.schemas.encoding.codec import RECORDS
from penstock.schemas.errors import BadName
from penstock.topics.catalogue import (
    DEAD_LETTER_BYTES_MAX,
    DELETE_RETENTION_MS,
    KINDS,
    MESSAGE_BYTES_MAX,
    RECORD_BYTES_MAX,
    TASKS,
    Topics,
    specs,
    task_partitions_of,
)

DAY_MS = 86_400_000
PROMISED = {
    "commands": (4, "delete", "-1"),
    "results": (4, "delete", "-1"),
    "events": (4, "delete", "-1"),
    "completions": (4, "delete", str(28 * DAY_MS)),
    "replies": (4, "delete", "3600000"),
    "state-changelog": (4, "compact", None),
    "dead-letters": (1, "delete", str(28 * DAY_MS)),
    "registry": (1, "compact", None),
    "cancellations": (4, "delete", "3600000"),
    "tasks.default": (16, "delete", "-1"),
    "tasks.payments": (16, "delete", "-1"),
}


def test_each_topic_is_as_promised() -> None:
    """Names, partitions, cleanup and retention of a namespace of four shards and two queues."""
    made = specs(Topics(), 4, ("payments", "default", "payments"))
    found = {
        spec.name.removeprefix("penstock.default."): (
            spec.partitions,
            spec.config["cleanup.policy"],
            spec.config.get("retention.ms"),
        )
        for spec in made
    }
    assert found == PROMISED
    assert len(made) == len(PROMISED)


def test_partitions_follow_the_shards() -> None:
    """Co-partitioned topics have a partition a shard, task topics four; the others have a fixed number."""
    partitions = {spec.name: spec.partitions for spec in specs(Topics(), 1, ["q"])}
    names = Topics()
    for name in (
        names.commands,
        names.results,
        names.events,
        names.completions,
        names.state_changelog,
        names.cancellations,
    ):
        assert partitions[name] == 1
    assert partitions[names.tasks("q")] == 4
    assert (partitions[names.replies], partitions[names.dead_letters], partitions[names.registry]) == (4, 1, 1)


def test_every_limit_is_explicit_and_leaves_headroom() -> None:
    """Each topic says how large its records may be; a record of ours fits, and a dead letter holds any of them."""
    limits = {spec.name: int(spec.config["max.message.bytes"]) for spec in specs(Topics(), 1, ["q"])}
    names = Topics()
    assert limits.pop(names.dead_letters) == DEAD_LETTER_BYTES_MAX > MESSAGE_BYTES_MAX
    assert set(limits.values()) == {MESSAGE_BYTES_MAX}
    assert MESSAGE_BYTES_MAX - RECORD_BYTES_MAX > 40_000


def test_timestamps_are_the_logs() -> None:
    """No topic takes the timestamps of producers, whose clocks could get a record refused, or expired at once."""
    made = specs(Topics(), 1, ["q"])
    assert {spec.config["message.timestamp.type"] for spec in made} == {"LogAppendTime"}


def test_no_replica_that_missed_records_becomes_leader() -> None:
    """Each topic says so itself, whatever the broker's default is."""
    assert {spec.config["unclean.leader.election.enable"] for spec in specs(Topics(), 1, ["q"])} == {"false"}


def test_no_record_is_deleted_for_a_topics_size() -> None:
    """Topics that are not compacted keep their records whatever their size, and whatever the broker's default is."""
    sizes = {spec.config["cleanup.policy"]: spec.config.get("retention.bytes") for spec in specs(Topics(), 1, ["q"])}
    assert sizes == {"delete": "-1", "compact": None}


def test_compacted_topics_keep_deletions_for_a_known_time() -> None:
    """Whether a store missed deletions is judged by that time, so it is set, not left to the broker."""
    kept = {spec.name: spec.config.get("delete.retention.ms") for spec in specs(Topics(), 1)}
    assert {name for name, value in kept.items() if value == str(DELETE_RETENTION_MS)} == {
        Topics().state_changelog,
        Topics().registry,
    }
    assert set(kept.values()) == {None, str(DELETE_RETENTION_MS)}


def test_replication_is_the_brokers_by_default() -> None:
    """By default the broker's replication applies; with three replicas, two must be in sync."""
    assert {spec.replication for spec in specs(Topics(), 1)} == {-1}
    assert not any("min.insync.replicas" in spec.config for spec in specs(Topics(), 1))
    assert {(s.replication, s.config["min.insync.replicas"]) for s in specs(Topics(), 1, replication=3)} == {(3, "2")}


def test_names_and_queues_go_both_ways() -> None:
    """A queue's topic leads back to the queue; other topics, and those of other namespaces, to none."""
    topics = Topics("billing", "acme.flows")
    assert topics.commands == "acme.flows.billing.commands"
    assert topics.tasks("mail.slow") == "acme.flows.billing.tasks.mail.slow"
    assert topics.queue_of(topics.tasks("mail.slow")) == "mail.slow"
    assert topics.queue_of(topics.commands) is None
    assert topics.queue_of(Topics("other", "acme.flows").tasks("mail.slow")) is None


@pytest.mark.parametrize("name", ["", "a b", "ünicode", "a/b", "a.b", "x" * 240])
def test_names_that_kafka_refuses_are_refused(name: str) -> None:
    """A namespace that would make a bad topic name raises BadName."""
    with pytest.raises(BadName):
        Topics(name)


@pytest.mark.parametrize("queue", ["", ".", "a..b", "a b", "a/b", ".a"])
def test_bad_queue_names_are_refused(queue: str) -> None:
    """A queue that would make a bad or misleading topic name raises BadName."""
    with pytest.raises(BadName):
        Topics().tasks(queue)


def test_task_partitions_are_shared_out_among_shards() -> None:
    """Every task partition belongs to exactly one shard, the one it is congruent to."""
    for shards, partitions in ((1, 4), (4, 16), (3, 7)):
        shares = [task_partitions_of(shard, shards, partitions) for shard in range(shards)]
        assert sorted(number for share in shares for number in share) == list(range(partitions))
        assert all(number % shards == shard for shard, share in enumerate(shares) for number in share)


def test_record_types_named_are_record_types() -> None:
    """What the catalogue says a topic holds exists as a schema, and no two topics share a name."""
    kinds = [*KINDS, TASKS]
    named = {record for kind in kinds if kind.name != "state-changelog" for record in kind.records}
    assert named <= set(RECORDS)
    assert len({kind.name for kind in kinds}) == len(kinds)
