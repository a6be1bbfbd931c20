"""Administration of topics in Kafka: description, creation, configuration, trimming, ends of partitions.

`check` validates records against cached partitions and limits, because producing to a topic that does not exist fails
only after seconds, and with it the whole transaction.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import (
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
)
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it does not declare its exports
    AclOperation,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from penstock.schemas.errors import LogUnavailable, RecordTooLarge, UnknownTopic
from penstock.topics.catalogue import creation_advice
from penstock.topics.kafka import faults, settings
from penstock.topics.log import Record, TopicDescription, TopicPartition, TopicSpec

ANSWER_TIMEOUT_S = 5.0
WORK_TIMEOUT_S = 30.0
LEADER_PAUSE_S = 0.05
# What Kafka adds to a record that is alone in its batch: 61 bytes, and at most 30 of lengths.
RECORD_OVERHEAD_BYTES = 100
DEFAULT_MAX_MESSAGE_BYTES = 1_048_588


class Admin:
    """Client for the administration of topics. May be used by several threads."""

    def __init__(self, bootstrap: str, options: Mapping[str, str]) -> None:
        self._bootstrap = bootstrap
        self._client = AdminClient(settings.administering(bootstrap, options))
        # topic -> (partitions, limit in bytes for key and value together)
        self._limits: dict[str, tuple[int, int]] = {}

    def check(self, records: Iterable[Record]) -> None:
        """Raise UnknownTopic or RecordTooLarge if one of the records cannot be appended. Raises LogUnavailable."""
        limits, unknown = self._limits, (0, 0)
        for record in records:
            partitions, bytes_max = limits.get(record.topic, unknown)
            size = len(record.key or b"") + len(record.value or b"")
            if not 0 <= record.partition < partitions or size > bytes_max:
                self._check_uncached(record, size)

    def _check_uncached(self, record: Record, size: int) -> None:
        # The cache may be outdated: a topic can be created, grow, and have its limit raised at any time.
        partitions, bytes_max = self._read_limits(record.topic)
        if not 0 <= record.partition < partitions:
            raise UnknownTopic(
                f"topic {record.topic} has partitions 0 to {partitions - 1}, but no partition {record.partition}",
                topic=record.topic,
                partition=record.partition,
            )
        if size > bytes_max:
            raise RecordTooLarge(
                f"a record of {size:,} bytes exceeds the limit of topic {record.topic}, {bytes_max:,}: "
                "make it smaller or raise the topic's max.message.bytes"
            )

    def unwritable(self, topics: Collection[str]) -> list[str]:
        """Those of the topics that this program may not write; none if the broker does not say."""
        asked = self._client.describe_topics(
            TopicCollection(list(topics)), include_authorized_operations=True, request_timeout=ANSWER_TIMEOUT_S
        )
        found = []
        for topic, future in asked.items():
            try:
                allowed = future.result(ANSWER_TIMEOUT_S).authorized_operations
            except (KafkaException, TimeoutError):
                continue  # missing, or no answer: the next transaction's error says which
            if allowed is not None and AclOperation.WRITE not in allowed:
                found.append(topic)
        return found

    def partitions(self, topic: str) -> int:
        """The number of a topic's partitions, uncached. Raises UnknownTopic, LogUnavailable."""
        count = self._counts().get(topic)
        if count is None:
            raise UnknownTopic(
                f"topic {topic} does not exist at {self._bootstrap}: {creation_advice(topic)}", topic=topic
            )
        return count

    def _read_limits(self, topic: str) -> tuple[int, int]:
        partitions = self.partitions(topic)
        limit = self._configs([topic]).get(topic, {}).get("max.message.bytes", str(DEFAULT_MAX_MESSAGE_BYTES))
        self._limits[topic] = (partitions, int(limit) - RECORD_OVERHEAD_BYTES)
        return self._limits[topic]

    def describe(self, topics: Sequence[str] | None) -> Mapping[str, TopicDescription]:
        """The existing topics by name: all except Kafka's internal ones, or those of `topics`, which cost less."""
        found = self._found() if topics is None else self._named(topics)
        present = [name for name in found if topics is not None or not name.startswith("__")]
        configs = self._configs(present)
        return {
            name: TopicDescription(
                name,
                len(found[name]),
                configs.get(name, {}),
                min(len(partition.replicas) for partition in found[name].values()),
            )
            for name in present
        }

    def create(self, specs: Sequence[TopicSpec]) -> None:
        """Create these topics and wait until they are visible; existing ones are left unchanged."""
        existing = self._counts()
        # A replication factor of -1 is the broker's default (KIP-464).
        missing = [
            NewTopic(spec.name, spec.partitions, spec.replication, config=dict(spec.config))
            for spec in specs
            if spec.name not in existing
        ]
        if not missing:
            return
        for name, future in self._client.create_topics(missing, request_timeout=WORK_TIMEOUT_S).items():
            self._result(future, f"topic {name} could not be created", ignore=(KafkaError.TOPIC_ALREADY_EXISTS,))
        self._await_visible([spec.name for spec in specs])

    def configure(self, topic: str, config: Mapping[str, str]) -> None:
        """Set these settings of a topic (IncrementalAlterConfigs, KIP-339)."""
        self.partitions(topic)
        entries = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in config.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        futures = self._client.incremental_alter_configs([resource], request_timeout=WORK_TIMEOUT_S)
        for future in futures.values():
            self._result(future, f"topic {topic} could not be configured")
        self._limits.pop(topic, None)

    def ends(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        """First offset kept and next offset (including uncommitted records) of each partition."""
        self._require(partitions)
        first = self._offsets(partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        following = self._offsets(partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return {partition: (first[partition], following[partition]) for partition in partitions}

    def members(self, group: str) -> frozenset[str]:
        """The member ids of a group. Raises LogUnavailable."""
        futures = self._client.describe_consumer_groups([group], request_timeout=ANSWER_TIMEOUT_S)
        described = self._result(futures[group], f"the members of group {group} cannot be listed")
        return frozenset(member.member_id for member in described.members)

    def trim(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Delete the records below these offsets (KIP-107)."""
        if not offsets:
            return
        self._require(offsets)
        below = [KafkaPartition(topic, number, offset) for (topic, number), offset in offsets.items()]
        futures = self._client.delete_records(below, request_timeout=WORK_TIMEOUT_S, operation_timeout=WORK_TIMEOUT_S)
        for partition, future in futures.items():
            self._result(future, f"{partition.topic}[{partition.partition}] could not be trimmed")

    def _require(self, partitions: Iterable[TopicPartition]) -> None:
        counts: Mapping[str, int] | None = None
        for topic, number in partitions:
            if 0 <= number < self._limits.get(topic, (0, 0))[0]:
                continue
            counts = self._counts() if counts is None else counts
            if not 0 <= number < counts.get(topic, 0):
                raise UnknownTopic(f"{topic}[{number}] does not exist at {self._bootstrap}: {creation_advice(topic)}")

    def _offsets(self, partitions: Sequence[TopicPartition], spec: OffsetSpec) -> dict[TopicPartition, int]:
        began = time.monotonic()
        while partitions:
            found = self._list_offsets(partitions, spec, retry=time.monotonic() - began < WORK_TIMEOUT_S)
            if len(found) == len(partitions):
                if min(found.values()) >= 0:
                    return found
                # Unanswered requests return offset -1001 without an error.
                if time.monotonic() - began >= ANSWER_TIMEOUT_S:
                    raise LogUnavailable(f"offsets cannot be listed: {faults.no_broker(self._bootstrap)}")
            time.sleep(LEADER_PAUSE_S)
            self._counts()  # makes the client refresh its metadata, and so the leader epoch
        return {}

    def _list_offsets(
        self, partitions: Sequence[TopicPartition], spec: OffsetSpec, *, retry: bool
    ) -> dict[TopicPartition, int]:
        """Offsets of the partitions. With `retry`, those whose leader is changing are left out instead of an error.

        A new topic's leader is in the metadata before the leader itself knows about the topic."""
        # Not `get_watermark_offsets`: under read_committed it excludes records of open transactions.
        futures = self._client.list_offsets(
            {KafkaPartition(topic, number): spec for topic, number in partitions},
            isolation_level=IsolationLevel.READ_UNCOMMITTED,
            request_timeout=ANSWER_TIMEOUT_S,
        )
        ignore = faults.LEADER_MOVES if retry else ()
        results = {at: self._result(future, "offsets could not be listed", ignore) for at, future in futures.items()}
        return {(at.topic, at.partition): result.offset for at, result in results.items() if result is not None}

    def _counts(self, *, led: bool = False) -> dict[str, int]:
        """Numbers of partitions by topic. With `led`, only topics whose partitions all have a leader."""
        return {
            name: len(partitions)
            for name, partitions in self._found().items()
            if not (led and any(partition.leader < 0 for partition in partitions.values()))
        }

    def _found(self) -> dict[str, Mapping[int, Any]]:
        """Partitions of all topics. A request for a single topic could create it (KIP-361)."""
        try:
            found = self._client.list_topics(timeout=ANSWER_TIMEOUT_S)
        except KafkaException as error:
            raise faults.plain_failure(faults.error_of(error), self._bootstrap, "topics cannot be listed") from error
        return {name: topic.partitions for name, topic in found.topics.items() if topic.partitions}

    def _named(self, topics: Collection[str]) -> dict[str, Mapping[int, Any]]:
        """Partitions of these topics, as far as they exist. This request creates none."""
        if not topics:
            return {}
        asked = self._client.describe_topics(TopicCollection(list(topics)), request_timeout=ANSWER_TIMEOUT_S)
        absent = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_EXCEPTION, KafkaError.TOPIC_AUTHORIZATION_FAILED)
        described = {
            name: self._result(future, f"topic {name} cannot be described", absent) for name, future in asked.items()
        }
        return {
            name: {partition.id: partition for partition in found.partitions}
            for name, found in described.items()
            if found is not None and found.partitions
        }

    def _configs(self, topics: Sequence[str]) -> dict[str, dict[str, str]]:
        if not topics:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in topics]
        configs: dict[str, dict[str, str]] = {}
        for resource, future in self._client.describe_configs(resources, request_timeout=WORK_TIMEOUT_S).items():
            # A principal may have no permission to read settings; a topic may be deleted between two requests.
            entries = self._result(
                future,
                f"topic {resource.name} cannot be described",
                ignore=(KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.UNKNOWN_TOPIC_OR_PART),
            )
            if entries is not None:
                configs[resource.name] = {name: entry.value or "" for name, entry in entries.items()}
        return configs

    def _await_visible(self, topics: Sequence[str]) -> None:
        deadline = time.monotonic() + WORK_TIMEOUT_S
        while not set(topics) <= self._counts(led=True).keys():
            if time.monotonic() > deadline:
                raise LogUnavailable(
                    f"topics {', '.join(topics)} were created but did not become visible within {WORK_TIMEOUT_S:g} s"
                )
            time.sleep(0.01)

    def _result(self, future: Future[Any], problem: str, ignore: Collection[int] = ()) -> Any:
        """The future's result; None if it failed with one of the codes of `ignore`."""
        try:
            return future.result(WORK_TIMEOUT_S + ANSWER_TIMEOUT_S)
        except KafkaException as raised:
            error = faults.error_of(raised)
            if error.code() in ignore:
                return None
            raise faults.plain_failure(error, self._bootstrap, problem) from raised
