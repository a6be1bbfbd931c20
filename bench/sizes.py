"""Records that a processor moves for one workflow, counted in the topics after a run, for the raw pipe to repeat.

Counts and sizes come from a sample of workflows that ran alone in the namespace; the number of inputs in a transaction
comes from the `events` of the measurement itself: all decisions of one transaction carry the same time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec

from bench import workload
from bench.client import Report
from bench.system import System
from penstock.engine.core.keys import SHARD_KEY
from penstock.schemas.encoding.codec import decode
from penstock.topics.log import StoredRecord

SAMPLE_S = 60.0
READ_S = 30.0


class Flow(msgspec.Struct, frozen=True):
    """Records of a topic: their number per workflow and average size, and the topic's partitions."""

    topic: str
    per_workflow: float
    key_bytes: int
    value_bytes: int
    partitions: int


class Sample(msgspec.Struct, frozen=True):
    """Records that the processor reads and writes; `per_shard` once for each shard in a transaction."""

    inputs: list[Flow]
    outputs: list[Flow]
    per_shard: list[Flow]

    @property
    def records_per_workflow(self) -> float:
        """Inputs and outputs, without those that are written once per transaction."""
        return sum(flow.per_workflow for flow in (*self.inputs, *self.outputs))


class Batches(msgspec.Struct, frozen=True):
    """Transactions of a measurement. `layers`: shards with decisions, summed over the transactions."""

    decisions: int
    transactions: int
    layers: int


def sample(system: System, workflows: int) -> Sample:
    """Run that many workflows in a fresh namespace and count the records of its topics."""
    topics, log = system.topics, system.log
    reader = log.reader({(topics.completions, number): -1 for number in range(system.shards)})
    publisher = log.publisher()
    for record in workload.starts("warm", 0, workflows, topics, system.shards):
        publisher.send(record)
    deadline_s, completed = time.monotonic() + SAMPLE_S, 0
    while completed < workflows:
        completed += len(reader.read(workflows, 1.0))
        assert time.monotonic() < deadline_s, f"{completed} of {workflows} sample workflows completed in {SAMPLE_S} s"
    reader.close()
    publisher.close()

    def flow(topic: str, *, own_row: bool = False) -> Flow:
        records = [record for record in _all(system, topic) if (record.key == SHARD_KEY) is own_row]
        count = max(1, len(records))
        return Flow(
            topic=topic.removeprefix(f"{topics.prefix}.{topics.namespace}."),
            per_workflow=len(records) / workflows,
            key_bytes=round(sum(len(record.key or b"") for record in records) / count),
            value_bytes=round(sum(len(record.value or b"") for record in records) / count),
            partitions=log.describe([topic])[topic].partitions,
        )

    return Sample(
        inputs=[flow(topics.commands), flow(topics.results)],
        outputs=[
            flow(topic)
            for topic in (topics.events, topics.state_changelog, topics.tasks(workload.QUEUE), topics.completions)
        ],
        per_shard=[flow(topics.state_changelog, own_row=True)],
    )


def batches(system: System, report: Report) -> Batches:
    """Count the transactions between the begin and the end of a measurement."""
    decisions, layers = 0, set()
    for record in _all(system, system.topics.events):
        recorded = decode(record.value or b"")
        if report.began_ms <= recorded.now_ms < report.ended_ms:
            decisions += 1
            layers.add((recorded.now_ms, recorded.shard))
    return Batches(decisions, len({now_ms for now_ms, _ in layers}), len(layers))


def _all(system: System, topic: str) -> Iterator[StoredRecord]:
    for number in range(system.log.describe([topic])[topic].partitions):
        first, _ = system.log.ends([(topic, number)])[topic, number]
        for batch in system.log.read_to_end(topic, number, first, READ_S):
            yield from batch
