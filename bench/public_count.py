"""Counter of the records and bytes that a namespace's topics receive.

    python -m bench.public_count URL PREFIX

Answers each line on standard input with a line of JSON on standard output: records and bytes (keys and values) by
topic, since the line before; the first answer counts nothing. Topics are those whose names begin with PREFIX, which is
left out of the answer. Finished tasks are trimmed meanwhile: a partition counts as if the trimmed records had been like
those that are left, and one with none left counts nothing. Kafka is read with a consumer of its own, uncommitted
records included; transaction markers are not records and are not counted. The embedded log is read through the
installed Penstock.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping

import msgspec
from confluent_kafka import Consumer, Message, TopicPartition

from penstock.topics.connect import connect

TIMEOUT_S = 30.0
BATCH = 5_000

Positions = dict[tuple[str, int], int]


class Flow(msgspec.Struct):
    """Records of a topic, and the bytes of their keys and values."""

    records: int = 0
    size: int = 0

    def add(self, key: bytes | None, value: bytes | None) -> None:
        """Count one record."""
        self.records += 1
        self.size += len(key or b"") + len(value or b"")

    def extend(self, other: Flow, factor: float = 1.0) -> None:
        """Count what another flow counted, so many times."""
        self.records += round(other.records * factor)
        self.size += round(other.size * factor)


def main() -> int:
    """Answer until standard input ends."""
    url, prefix = sys.argv[1:]
    kafka = url.startswith("kafka:")
    counter: KafkaCounter | EmbeddedCounter
    counter = KafkaCounter(url.removeprefix("kafka://"), prefix) if kafka else EmbeddedCounter(url, prefix)
    before: Positions = {}
    for _ in sys.stdin:
        now = counter.ends()
        flows = counter.between(before, now) if before else {}
        before = now
        print(msgspec.json.encode({topic.removeprefix(prefix): flow for topic, flow in flows.items()}).decode())
        sys.stdout.flush()
    return 0


class KafkaCounter:
    """Topics of a broker, read by a consumer that exists during a count only: an idle one would send requests."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self._prefix = prefix
        self._settings = {
            "bootstrap.servers": bootstrap,
            "group.id": "penstock-bench-count",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_uncommitted",
            "auto.offset.reset": "earliest",  # finished tasks are trimmed while the bench runs
            "log_level": 3,
        }

    def ends(self) -> Positions:
        """Next offset of each partition."""
        consumer = Consumer(self._settings)
        try:
            topics = consumer.list_topics(timeout=TIMEOUT_S).topics
            places = [
                (name, number) for name in topics if name.startswith(self._prefix) for number in topics[name].partitions
            ]
            return {
                place: consumer.get_watermark_offsets(TopicPartition(*place), TIMEOUT_S, cached=False)[1]
                for place in places
            }
        finally:
            consumer.close()

    def between(self, before: Positions, now: Positions) -> dict[str, Flow]:
        """Records of each topic from the offsets `before` up to `now`; those trimmed since count as what is left."""
        kept: dict[tuple[str, int], Flow] = {}
        firsts: dict[tuple[str, int], int] = {}
        for message in self._messages(before, now):
            place, offset = (str(message.topic()), message.partition() or 0), message.offset() or 0
            firsts.setdefault(place, offset)
            if offset < now[place]:
                kept.setdefault(place, Flow()).add(message.key(), message.value())
        flows: dict[str, Flow] = {}
        for place, flow in kept.items():
            start, first, end = before.get(place, 0), firsts[place], now[place]
            # The markers of transactions have offsets too: records are scaled by offsets, which are not trimmed alone.
            missed = (first - start) / (end - first) if first > start + 1 else 0.0
            flows.setdefault(place[0], Flow()).extend(flow, 1 + missed)
        return flows

    def _messages(self, before: Positions, now: Positions) -> Iterator[Message]:
        remaining = {place for place, end in now.items() if end > before.get(place, 0)}
        consumer = Consumer(self._settings)
        try:
            consumer.assign([TopicPartition(*place, before.get(place, 0)) for place in remaining])
            deadline_s = time.monotonic() + TIMEOUT_S
            while remaining:
                if time.monotonic() > deadline_s:
                    raise TimeoutError(f"{len(remaining)} partitions could not be read within {TIMEOUT_S:g} s")
                for message in consumer.consume(BATCH, 0.1):
                    if message.error() is None:
                        yield message
                    else:  # the end of a partition
                        remaining.discard((str(message.topic()), message.partition() or 0))
        finally:
            consumer.close()


class EmbeddedCounter:
    """Topics of an embedded log."""

    def __init__(self, url: str, prefix: str) -> None:
        self._log = connect(url)
        self._prefix = prefix

    def ends(self) -> Positions:
        """Next offset of each partition."""
        topics = self._log.describe()
        places = [
            (name, number)
            for name, topic in topics.items()
            if name.startswith(self._prefix)
            for number in range(topic.partitions)
        ]
        return {place: end for place, (_, end) in self._log.ends(places).items()}

    def between(self, before: Positions, now: Positions) -> dict[str, Flow]:
        """Records of each topic from the offsets `before` up to `now`."""
        flows: dict[str, Flow] = {}
        for (topic, number), end in now.items():
            start = before.get((topic, number), 0)
            if end > start:
                flows.setdefault(topic, Flow()).extend(whole(self._kept(topic, number, start, end), end - start))
        return flows

    def _kept(self, topic: str, number: int, start: int, end: int) -> Flow:
        flow = Flow()
        first, _ = self._log.ends([(topic, number)])[topic, number]
        reader = self._log.reader({(topic, number): max(first, start)})
        try:
            while records := reader.read(BATCH, 0.0):
                for record in records:
                    if record.offset < end:
                        flow.add(record.key, record.value)
                if records[-1].offset >= end - 1:
                    break
        finally:
            reader.close()
        return flow


def whole(kept: Flow, written: int) -> Flow:
    """The flow before compaction: `written` records of the average size of those that were `kept`."""
    return Flow(written, round(kept.size * written / kept.records) if kept.records else 0)


def answer_of(line: str) -> Mapping[str, Flow]:
    """Records and bytes by topic, from a line that this program printed."""
    return msgspec.json.decode(line, type=dict[str, Flow])


if __name__ == "__main__":
    sys.exit(main())
