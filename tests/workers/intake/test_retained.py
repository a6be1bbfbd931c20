"""Started tasks of released partitions (workers/intake/retained.py)."""

from __future__ import annotations

from penstock.workers.intake.retained import RetainedTasks
from tests.workers.intake.held import held_task, partition_of


def test_started_tasks_are_retained_and_taken_once() -> None:
    """Of a released partition the started tasks are retained, and each can be taken once."""
    partition = partition_of()
    started, waiting = held_task(1, partition), held_task(2, partition)
    started.start()
    retained = RetainedTasks()
    retained.retain(partition)
    assert len(retained) == 1
    assert retained.take(partition.topic_partition, waiting.offset) is None
    assert retained.take(partition.topic_partition, started.offset) is started
    assert retained.take(partition.topic_partition, started.offset) is None
    assert retained.take(("tasks", 9), started.offset) is None


def test_tasks_below_the_next_offset_are_removed() -> None:
    """Of a partition that was granted again, tasks that will not be delivered any more are removed."""
    before = partition_of()
    tasks = [held_task(offset, before) for offset in (1, 5)]
    for held in tasks:
        held.start()
    retained = RetainedTasks()
    retained.retain(before)
    again = partition_of(offset=5)
    retained.prune({again.topic_partition: again})
    assert retained.take(again.topic_partition, 1) is None
    assert retained.take(again.topic_partition, 5) is tasks[1]


def test_finished_tasks_of_other_partitions_are_removed() -> None:
    """Of a partition that was not granted again, running tasks are retained and finished ones removed."""
    partition = partition_of()
    running, finished = held_task(1, partition), held_task(2, partition)
    for held in (running, finished):
        held.start()
    finished.done = True
    retained = RetainedTasks()
    retained.retain(partition)
    retained.prune({})
    assert len(retained) == 1
    assert retained.take(partition.topic_partition, 1) is running


def test_finished_tasks_that_no_commit_names_are_restored() -> None:
    """Of a partition that was released before a commit, the finished tasks are not run when it is granted again."""
    before = partition_of()
    for offset in range(4):
        before.progress.delivered(offset)
    for offset in (0, 1, 3):
        before.progress.finished(offset)
    before.dirty = True
    retained = RetainedTasks()
    retained.retain(before)
    again = partition_of()
    retained.restore(again, end=4)
    assert again.dirty
    assert [offset for offset in range(6) if again.progress.delivered(offset)] == [2, 4, 5]


def test_finished_tasks_of_another_topic_are_not_restored() -> None:
    """A log that ends below what was read is a new topic of the same name: its tasks are run."""
    before = partition_of()
    for offset in range(4):
        before.progress.delivered(offset)
        before.progress.finished(offset)
    before.dirty = True
    retained = RetainedTasks()
    retained.retain(before)
    again = partition_of()
    retained.restore(again, end=2)
    assert again.progress.delivered(0)


def test_committed_tasks_are_not_retained() -> None:
    """Of a partition whose last commit was made, nothing is restored: the log knows more than this worker."""
    before = partition_of()
    before.progress.delivered(0)
    before.progress.finished(0)
    retained = RetainedTasks()
    retained.retain(before)
    again = partition_of()
    retained.restore(again, end=9)
    assert again.progress.delivered(0)
