"""Held tasks for the tests of the intake."""

from __future__ import annotations

from penstock.schemas.records.tasks import ActivityTask
from penstock.workers.intake.contact import Contact
from penstock.workers.intake.gate import Gate
from penstock.workers.intake.partition import HeldTask, Partition
from penstock.workers.intake.progress import Progress


def partition_of(number: int = 0, offset: int = 0) -> Partition:
    """A partition of the topic `tasks`, of which nothing was delivered from `offset` on."""
    partition = Partition(("tasks", number), Progress(offset))
    contact = Contact()
    contact.note(3_600)
    partition.admit_by(contact, Gate(), lambda _: None)
    partition.committed(1_000)
    return partition


def held_task(offset: int, partition: Partition | None = None, *, shard: int = 1, size_bytes: int = 0) -> HeldTask:
    """A held task; its sequence is its offset."""
    task = ActivityTask(
        workflow_id="w", run_id="r", sequence=offset, attempt=1, activity="a", input=b"", queue="q", shard=shard
    )
    held = HeldTask(partition or partition_of(), offset, size_bytes, task, lambda _: None)
    held.partition.held[offset] = held
    return held
