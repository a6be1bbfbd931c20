"""The log's contract on a Kafka cluster."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from confluent_kafka import Consumer, Producer

from penstock.schemas.errors import OffsetOutOfRange, TopicMismatch
from penstock.topics.kafka import settings
from penstock.topics.kafka.admin import Admin
from penstock.topics.kafka.faults import Watch
from penstock.topics.kafka.member import KafkaMember
from penstock.topics.kafka.publisher import KafkaPublisher
from penstock.topics.kafka.reading import KafkaReader, read_to_end
from penstock.topics.kafka.transactor import KafkaTransactor
from penstock.topics.log import Listener, Record, StoredRecord, TopicDescription, TopicPartition, TopicSpec

_NO_OPTIONS: Mapping[str, str] = MappingProxyType({})


class KafkaLog:
    """`Log` on Kafka. Each client that it returns has its own connections.

    `bootstrap` is `host:port[,host:port…]`; `options` are librdkafka settings for every client (security, tuning).
    Connects at the first call, which raises LogUnavailable after about 5 s if no broker answers."""

    creates_topics = False

    def __init__(self, bootstrap: str, options: Mapping[str, str] = _NO_OPTIONS) -> None:
        self._bootstrap = bootstrap
        self._options = dict(options)
        self._opened: Admin | None = None

    def describe(self, topics: Sequence[str] | None = None) -> Mapping[str, TopicDescription]:
        """The existing topics: all except Kafka's internal ones, or those of `topics`. Raises LogUnavailable."""
        return self._admin.describe(topics)

    def create(self, specs: Sequence[TopicSpec]) -> None:
        """Create these topics and wait until they are visible; existing ones are left unchanged."""
        self._admin.create(specs)

    def configure(self, topic: str, config: Mapping[str, str]) -> None:
        """Change these settings of a topic. Raises UnknownTopic, LogUnavailable."""
        self._admin.configure(topic, config)

    def ends(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        """First offset kept and next offset of each partition. Raises UnknownTopic, LogUnavailable."""
        return self._admin.ends(partitions)

    def trim(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Delete the records below these offsets. Raises OffsetOutOfRange (beyond the end), UnknownTopic."""
        self._admin.trim(offsets)

    def read_to_end(self, topic: str, partition: int, start: int, timeout_s: float) -> Iterator[list[StoredRecord]]:
        """Every committed record from `start` to the end at the time of the call.

        Raises OffsetOutOfRange, LogUnavailable."""
        first, end = self._admin.ends([(topic, partition)])[topic, partition]
        if not first <= start <= end:
            raise OffsetOutOfRange(
                f"{topic}[{partition}] has offsets {first} to {end}, so it cannot be read from {start} on"
            )
        if start == end:
            return
        watch = Watch(self._bootstrap)
        consumer = Consumer(settings.reading(self._bootstrap, self._options, watch, to_end=True))
        try:
            yield from read_to_end(consumer, (topic, partition), start, end, timeout_s, self._bootstrap)
        finally:
            consumer.close()

    def reader(self, positions: Mapping[TopicPartition, int]) -> KafkaReader:
        """A reader from these offsets on; -1 means the end at the time of the call.

        Raises UnknownTopic, LogUnavailable."""
        ends = self._admin.ends([partition for partition, offset in positions.items() if offset < 0])
        resolved = {partition: ends[partition][1] if offset < 0 else offset for partition, offset in positions.items()}
        consumer = Consumer(settings.reading(self._bootstrap, self._options, Watch(self._bootstrap)))
        return KafkaReader(consumer, resolved, self._bootstrap)

    def publisher(self) -> KafkaPublisher:
        """A publisher of records outside of transactions."""
        return KafkaPublisher(
            lambda watch: Producer(settings.publishing(self._bootstrap, self._options, watch)),
            self._check,
            self._bootstrap,
        )

    def join(self, group: str, topics: Sequence[str], listener: Listener) -> KafkaMember:
        """Join a consumer group. Raises UnknownTopic, TopicMismatch (unequal partitions), LogUnavailable."""
        counts = {topic: self._admin.partitions(topic) for topic in topics}
        if len(set(counts.values())) > 1:
            raise TopicMismatch(f"group {group} needs topics with equal numbers of partitions, not {counts}")
        instance = uuid.uuid4().hex
        return KafkaMember(
            lambda watch: Consumer(settings.member(self._bootstrap, self._options, watch, group, instance)),
            topics,
            listener,
            self._bootstrap,
            float(self._options.get("session.timeout.ms", settings.SESSION_TIMEOUT_MS)) / 1_000,
            float(self._options.get("max.poll.interval.ms", settings.POLL_INTERVAL_MS)) / 1_000,
        )

    def members(self, group: str) -> frozenset[str]:
        """Ids of the group's current members. Raises LogUnavailable."""
        return self._admin.members(group)

    def transactor(self, transactional_id: str) -> KafkaTransactor:
        """A transactor with this transactional id."""
        return KafkaTransactor(
            lambda watch: Producer(settings.transactional(self._bootstrap, self._options, watch, transactional_id)),
            self._check,
            self._admin.unwritable,
            transactional_id,
            self._bootstrap,
        )

    def wake(self) -> None:
        """Has no effect: what waits for Kafka returns within its own time limit."""

    def close(self) -> None:
        """Close the admin client. Other clients are closed by their owners."""
        self._opened = None

    @property
    def _check(self) -> Callable[[Iterable[Record]], None]:
        return self._admin.check

    @property
    def _admin(self) -> Admin:
        if self._opened is None:
            self._opened = Admin(self._bootstrap, self._options)
        return self._opened
