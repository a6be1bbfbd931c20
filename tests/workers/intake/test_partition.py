"""Granted partitions and held tasks (workers/intake/partition.py)."""

from __future__ import annotations

from penstock.workers.intake.partition import HeldTask
from tests.workers.intake.held import held_task, partition_of


def test_tasks_of_a_released_partition_do_not_start() -> None:
    """A task can start until its partition is released; one that started before stays started."""
    partition = partition_of()
    first, second = held_task(0, partition), held_task(1, partition)
    assert first.start()
    partition.release()
    assert not second.start()
    assert (first.started, second.started) == (True, False)
    assert first.released
    assert second.released


def test_an_acknowledgement_names_its_task() -> None:
    """`acknowledged` calls back with the held task."""
    acknowledged: list[HeldTask] = []
    held = held_task(0)
    HeldTask(held.partition, 7, 0, held.task, acknowledged.append).acknowledged()
    assert [one.offset for one in acknowledged] == [7]
