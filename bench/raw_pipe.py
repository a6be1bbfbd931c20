"""Raw pipe on Kafka: the records of a Penstock processor without its decisions, the benchmark's upper bound.

FROZEN. This program is the measure of comparison and is not tuned with Penstock. It imports only confluent_kafka and
the standard library, and tests/bench/test_frozen.py holds a hash of its code; a change of the code needs a new hash,
and all figures measured again.

It reads a plan (JSON) from stdin, fills input topics of its own with bytes of the given sizes, and then, transaction by
transaction, takes the next inputs, produces their outputs, adds the input offsets and commits. The schedule of inputs
takes the shards in turn, so that a transaction of n inputs touches as many partitions as Penstock's.
One thread runs one transaction at a time with prepared bytes. It prints its figures (JSON), without the first
transactions.

    {"bootstrap": "host:port", "shards": 4,
     "inputs":    [{"topic": "commands", "per_workflow": 1, "key_bytes": 13, "value_bytes": 90}, …],
     "outputs":   [{"topic": "events", "per_workflow": 6, "key_bytes": 13, "value_bytes": 300, "partitions": 4}, …],
     "per_shard": [{"topic": "state-changelog", "key_bytes": 1, "value_bytes": 90, "partitions": 4}],
     "inputs_per_transaction": 50, "transactions": 200, "seconds_max": 5.0}
"""

import json
import sys
import time
import uuid
from collections import deque
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # it does not say what it exports

UNCOUNTED = 5
TOGETHER = 32
WAIT_S = 30.0
Plan = dict[str, Any]
Schedule = list[tuple[str, int]]
CLIENT: dict[str, Any] = {
    "retry.backoff.ms": 2,
    "retry.backoff.max.ms": 10,
    "socket.nagle.disable": True,
    "log_level": 3,
}


def main() -> None:
    """Carry the plan out."""
    plan = json.load(sys.stdin)
    run = f"raw-pipe-{uuid.uuid4().hex[:8]}"
    kinds = {flow["topic"]: flow["partitions"] for flow in [*plan["inputs"], *plan["outputs"], *plan["per_shard"]]}
    names = {kind: f"{run}.{kind}" for kind in kinds}
    client = {**CLIENT, "bootstrap.servers": plan["bootstrap"]}
    admin = AdminClient(client)
    _settle(admin.create_topics([NewTopic(names[kind], kinds[kind], -1) for kind in kinds]))
    try:
        schedule = _schedule(plan)
        _fill(client, plan, names, schedule)
        print(json.dumps(_pump(client, plan, names, schedule, run)))
    finally:
        _settle(admin.delete_topics(list(names.values())))


def _schedule(plan: Plan) -> Schedule:
    """Which (topic, shard) each input comes from: shard after shard, in each the topics by their share."""
    kinds = [flow["topic"] for flow in plan["inputs"] for _ in range(round(flow["per_workflow"]))]
    shards, count = plan["shards"], plan["inputs_per_transaction"] * plan["transactions"]
    return [(kinds[(index // shards) % len(kinds)], index % shards) for index in range(count)]


def _fill(client: dict[str, Any], plan: Plan, names: dict[str, str], schedule: Schedule) -> None:
    producer = Producer({**client, "acks": "all", "enable.idempotence": True, "linger.ms": 5})
    bytes_of = {flow["topic"]: (bytes(flow["value_bytes"]), bytes(flow["key_bytes"])) for flow in plan["inputs"]}
    for kind, shard in schedule:
        while True:
            try:
                producer.produce(names[kind], *bytes_of[kind], shard)
                break
            except BufferError:
                producer.poll(0.05)
    if producer.flush(WAIT_S):
        raise RuntimeError("the inputs could not be written in time")


def _pump(client: dict[str, Any], plan: Plan, names: dict[str, str], schedule: Schedule, run: str) -> dict[str, float]:
    """Move it all; what was counted."""
    consumer = Consumer(
        {
            **client,
            "group.id": run,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "queued.min.messages": 20_000,
            "queued.max.messages.kbytes": 32_768,
            "fetch.wait.max.ms": 100,
            "fetch.queue.backoff.ms": 5,
        }
    )
    consumer.assign([TopicPartition(names[kind], shard, 0) for kind, shard in sorted(set(schedule))])
    producer = Producer(
        {
            **client,
            "transactional.id": run,
            "linger.ms": 0,
            "batch.size": 1_000_000,
            "queue.buffering.max.messages": 1_000_000,
            "compression.type": "none",
        }
    )
    producer.init_transactions(WAIT_S)
    source, sink = _Source(consumer), _Sink(plan, names, producer)
    size, records, done, began, cpu = plan["inputs_per_transaction"], 0, 0, 0.0, 0.0
    for start in range(0, len(schedule), size):
        if done == UNCOUNTED:
            records, began, cpu = 0, time.monotonic(), time.process_time()
        slots = schedule[start : start + size]
        offsets: dict[tuple[str, int], int] = {}
        for kind, shard in slots:
            offsets[kind, shard] = source.take(names[kind], shard) + 1
        producer.begin_transaction()
        records += len(slots) + sink.put([shard for _, shard in slots])
        positions = [TopicPartition(names[kind], shard, offset) for (kind, shard), offset in offsets.items()]
        producer.send_offsets_to_transaction(positions, consumer.consumer_group_metadata())
        producer.commit_transaction()
        producer.poll(0)
        done += 1
        if done > UNCOUNTED and time.monotonic() - began > plan["seconds_max"]:
            break
    counted = {"records": records, "transactions": done - UNCOUNTED, "seconds": time.monotonic() - began}
    counted["cpu_s"] = time.process_time() - cpu
    consumer.close()
    return counted


class _Source:
    """Hands out inputs of the wanted partition, keeping those of others that came along."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._waiting: dict[tuple[str, int], deque[int]] = {}

    def take(self, topic: str, shard: int) -> int:
        """The offset of the partition's next record."""
        deadline = time.monotonic() + WAIT_S
        while not self._waiting.get((topic, shard)):
            if time.monotonic() > deadline:
                raise RuntimeError(f"no input came from {topic}[{shard}]")
            first = self._consumer.poll(1.0)
            for message in [first, *self._consumer.consume(2_000, 0)] if first is not None else []:
                if message.error() is not None:
                    continue
                found, number, offset = message.topic(), message.partition(), message.offset()
                if found is None or number is None or offset is None or not message.value():
                    raise RuntimeError("an input without its place or its bytes")
                self._waiting.setdefault((found, number), deque()).append(offset)
        return self._waiting[topic, shard].popleft()


class _Sink:
    """Produces what a number of inputs stands for."""

    def __init__(self, plan: Plan, names: dict[str, str], producer: Producer) -> None:
        inputs = sum(round(flow["per_workflow"]) for flow in plan["inputs"])
        self._produce = producer.produce
        self._flows = [
            (names[flow["topic"]], flow["partitions"] == plan["shards"], flow["partitions"],
             flow["per_workflow"] / inputs, bytes(flow["value_bytes"]), bytes(flow["key_bytes"]))
            for flow in plan["outputs"]
        ]  # fmt: skip
        self._per_shard = [
            (names[flow["topic"]], bytes(flow["value_bytes"]), bytes(flow["key_bytes"])) for flow in plan["per_shard"]
        ]
        self._due = [0.0] * len(self._flows)
        self._turn = 0

    def put(self, shards: list[int]) -> int:
        """Produce for inputs of these shards; how many records that were."""
        self._turn += 1
        produce, due, count, spread = self._produce, self._due, 0, 0
        for shard in shards:
            for index, (topic, by_shard, partitions, per_input, value, key) in enumerate(self._flows):
                due[index] += per_input
                while due[index] >= 0.999_999:
                    due[index] -= 1
                    if by_shard:
                        produce(topic, value, key, shard)
                    else:
                        produce(topic, value, key, (self._turn + spread // TOGETHER) % partitions)
                        spread += 1
                    count += 1
        for shard in set(shards):
            for topic, value, key in self._per_shard:
                produce(topic, value, key, shard)
                count += 1
        return count


def _settle(futures: dict[str, Any]) -> None:
    for future in futures.values():
        future.result(WAIT_S)


if __name__ == "__main__":
    main()
