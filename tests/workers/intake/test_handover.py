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
from penstock.workers.intake.partition import HeldTask
from tests.workers.intake.held import held_task

RESULTS = "results"


class Group(EmbeddedLog):
    """A log in memory whose groups have the members in `present`."""

    def __init__(self) -> None:
        super().__init__(MEMORY)
        self.present = {"other", "me"}
        self.unavailable = False
        self.create([TopicSpec(RESULTS, 2, {})])

    def members(self, group: str) -> frozenset[str]:
        if self.unavailable:
            raise LogUnavailable("no broker answers")
        return frozenset(self.present)

    def publish(self, task: ActivityTask) -> None:
        """Publish the task's result."""
        publisher = self.publisher()
        publisher.send(Record(RESULTS, task.shard, b"key", encode(task.completed(b"1", worker="other"))))
        publisher.flush(5)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover_module, "CHECK_INTERVAL_S", 0.0)


def waiting(log: Group, *tasks: HeldTask, holder: str = "other", since: int = 0) -> Handover:
    made = Handover(log, "group", RESULTS, lambda: "me")
    for one in tasks:
        made.add(one, Claim(holder, {1: since}, (one.offset,)))
    return made


def test_a_result_ends_the_waiting() -> None:
    """A task is done when its result is on its shard of the results; others go on waiting."""
    log, (first, second) = Group(), (held_task(1), held_task(2))
    handover = waiting(log, first, second)
    assert handover.check() == ([], [])
    log.publish(second.task)
    assert handover.check() == ([second], [])
    log.publish(first.task)
    assert handover.check() == ([first], [])


def test_tasks_of_an_absent_worker_are_orphaned() -> None:
    """A task without a result is orphaned once its worker is absent in two checks; a result still counts first."""
    log, (first, second) = Group(), (held_task(1), held_task(2))
    handover = waiting(log, first, second)
    log.present = {"me"}
    assert handover.check() == ([], [])
    log.publish(first.task)
    assert handover.check() == ([first], [second])


def test_a_worker_that_was_absent_once_is_waited_for() -> None:
    """One check without the worker orphans no task."""
    log, one = Group(), held_task(1)
    handover = waiting(log, one)
    for present in ({"me"}, {"me", "other"}, {"me"}):
        log.present = present
        assert handover.check() == ([], [])


def test_an_unknown_task_of_this_worker_is_orphaned() -> None:
    """A claim by this worker whose task it does not run is looked up in the results, and orphaned without one."""
    log, (first, second) = Group(), (held_task(1), held_task(2))
    log.publish(first.task)
    assert waiting(log, first, second, holder="me").check() == ([first], [second])


def test_a_check_that_fails_loses_nothing() -> None:
    """Results found before the log became unavailable are returned by the next check."""
    log, one = Group(), held_task(1)
    handover = waiting(log, one, held_task(2))
    log.publish(one.task)
    log.unavailable = True
    with pytest.raises(LogUnavailable):
        handover.check()
    log.unavailable = False
    assert handover.check() == ([one], [])


def test_dropped_tasks_are_not_returned() -> None:
    """Tasks of a released partition are not returned any more."""
    log, one = Group(), held_task(1)
    handover = waiting(log, one)
    handover.drop(one.partition)
    log.publish(one.task)
    assert handover.check() == ([], [])


def test_trimmed_results_do_not_stop_a_check() -> None:
    """If the results begin behind the claim's offset, the remaining ones are read."""
    log, (first, second) = Group(), (held_task(1), held_task(2))
    log.publish(first.task)
    log.trim({(RESULTS, 1): 1})
    handover = waiting(log, second)
    assert handover.check() == ([], [])
    log.publish(second.task)
    assert handover.check() == ([second], [])
