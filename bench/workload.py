"""Workflow `sequential5` of the closed and backlog rows: five activities, one after the other, each of which adds one.

The activities do next to nothing, so the figures are those of Penstock alone: per workflow one start, five tasks, five
results, six decisions.
"""

from __future__ import annotations

from collections.abc import Iterator

from penstock import activity, workflow
from penstock.client.uuid7 import uuid7
from penstock.schemas.encoding.codec import encode
from penstock.schemas.records.run import StartWorkflow
from penstock.topics.catalogue import Topics
from penstock.topics.log import Record
from penstock.topics.partitioner import partition_of

NAME = "sequential5"
QUEUE = "default"
ACTIVITIES = 5
INPUTS = 1 + ACTIVITIES
PREFIX_CHARACTERS = 5


@workflow(name=NAME)
async def sequential5(n: int) -> int:
    """The number plus five, in five activities."""
    for _ in range(ACTIVITIES):
        n = await step(n)
    return n


@activity
async def step(n: int) -> int:
    """The number plus one."""
    return n + 1


def starts(kind: str, first: int, count: int, topics: Topics, shards: int) -> Iterator[Record]:
    """Encoded StartWorkflow records with the ids `<kind>-<number>`; all kinds have four letters, all ids one length."""
    assert len(kind) == PREFIX_CHARACTERS - 1
    for number in range(first, first + count):
        workflow_id = f"{kind}-{number:08d}"
        start = StartWorkflow(
            workflow_id=workflow_id, workflow_type=NAME, input=str(number).encode(), message_id=uuid7()
        )
        yield Record(topics.commands, partition_of(workflow_id, shards), workflow_id.encode(), encode(start))


def number_of(key: bytes) -> int:
    """Number in a workflow id, from a record's key."""
    return int(key[PREFIX_CHARACTERS:])


def result_of(number: int) -> bytes:
    """Result of the workflow of that number."""
    return str(number + ACTIVITIES).encode()
