"""Handover of running tasks (workers/intake/handover.py)."""

from __future__ import annotations

import pytest

from penstock.schemas.encoding.codec import encode
from penstock.schemas.errors import LogUnavailable
from penstock.schemas.records.tasks import ActivityTask
from penstock.topics.embedded import MEMORY, EmbeddedLog
from penstock.topics.log import Record, TopicSpec
from penstock.workers.intake import handover as handover_module
from penstock.workers.intake.claims import Claim
from penstock.workers.intake.handover import Handover
from penstock.workers.intake.partition import HeldTask, Partition
from penstock.workers.intake.progress import Progress

RESULTS = "results"


class Group(EmbeddedLog):
    """A log in memory whose groups have the members that it is told."""

    def __init__(self) -> None:
        super().__init__(MEMORY)
        self.present = {"other", "me"}
        self.away = False
        self.create([TopicSpec(RESULTS, 2, {})])

    def members(self, group: str) -> frozenset[str]:
        if self.away:
            raise LogUnavailable("nobody answers")
        return frozenset(self.present)

    def publish(self, task: ActivityTask) -> None:
        """The task's result."""
        publisher = self.publisher()
        publisher.send(Record(RESULTS, task.shard, b"key", encode(task.completed(b"1", worker="other"))))
        publisher.flush(5)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover_module, "CHECK_INTERVAL_S", 0.0)


def held(sequence: int) -> HeldTask:
    task = ActivityTask(
        workflow_id="w", run_id="r", sequence=sequence, attempt=1, activity="a", input=b"", queue="q", shard=1
    )
    return HeldTask(Partition(("tasks", 0), Progress(0)), sequence, 0, task, lambda _: None)


def waiting(log: Group, *tasks: HeldTask, holder: str = "other", since: int = 0) -> Handover:
    made = Handover(log, "group", RESULTS, lambda: "me")
    for one in tasks:
        made.add(one, Claim(holder, {1: since}, (one.offset,)))
    return made


def test_a_result_ends_the_waiting() -> None:
    """A task is done when its result lies on its shard of the results; others wait on."""
    log, (first, second) = Group(), (held(1), held(2))
    handover = waiting(log, first, second)
    assert handover.check() == ([], [])
    log.publish(second.task)
    assert handover.check() == ([second], [])
    log.publish(first.task)
    assert handover.check() == ([first], [])


def test_a_worker_that_is_gone_is_waited_for_no_longer() -> None:
    """Without a result, and with its worker missing twice, a task is to be run here; a result still counts first."""
    log, (first, second) = Group(), (held(1), held(2))
    handover = waiting(log, first, second)
    log.present = {"me"}
    assert handover.check() == ([], [])
    log.publish(first.task)
    assert handover.check() == ([first], [second])


def test_a_worker_that_was_overlooked_once_is_waited_for() -> None:
    """One look at the group that misses a worker decides nothing."""
    log, one = Group(), held(1)
    handover = waiting(log, one)
    for present in ({"me"}, {"me", "other"}, {"me"}):
        log.present = present
        assert handover.check() == ([], [])


def test_a_task_of_our_own_that_is_not_known_any_more_is_run() -> None:
    """A claim of our own name whose task does not run here is looked up in the results, and then run."""
    log, (first, second) = Group(), (held(1), held(2))
    log.publish(first.task)
    assert waiting(log, first, second, holder="me").check() == ([first], [second])


def test_a_look_that_fails_loses_nothing() -> None:
    """What a look found before the log went away is told by the next one."""
    log, one = Group(), held(1)
    handover = waiting(log, one, held(2))
    log.publish(one.task)
    log.away = True
    with pytest.raises(LogUnavailable):
        handover.check()
    log.away = False
    assert handover.check() == ([one], [])


def test_what_was_dropped_is_not_told() -> None:
    """Tasks of a partition that moved on are its new owner's to wait for."""
    log, one = Group(), held(1)
    handover = waiting(log, one)
    handover.drop(one.partition)
    log.publish(one.task)
    assert handover.check() == ([], [])


def test_results_that_were_trimmed_do_not_stop_a_look() -> None:
    """Where the results begin later than the claim says, what is left is looked at."""
    log, (first, second) = Group(), (held(1), held(2))
    log.publish(first.task)
    log.trim({(RESULTS, 1): 1})
    handover = waiting(log, second)
    assert handover.check() == ([], [])
    log.publish(second.task)
    assert handover.check() == ([second], [])
