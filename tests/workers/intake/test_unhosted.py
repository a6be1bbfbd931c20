"""Tasks of activities that a worker does not have (workers/intake/unhosted.py)."""

from __future__ import annotations

import time

import msgspec
import pytest
import structlog
from structlog.testing import capture_logs

from penstock.schemas.encoding.codec import decode
from penstock.topics.log import Record
from penstock.workers.activity.decorator import activity
from penstock.workers.intake import unhosted as module
from penstock.workers.intake.partition import HeldTask
from penstock.workers.intake.unhosted import DELAY_S_FIRST, DELAY_S_MAX, Unhosted
from tests.workers.bench import Bench, until
from tests.workers.intake.held import held_task, partition_of


class Returned:
    """Unhosted tasks of a queue with 8 partitions, 2 shards and a clock of the test's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1_000.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now_s)
        self.sent: list[tuple[HeldTask, Record]] = []
        self.unhosted = Unhosted(
            {"known"}, lambda *sent: self.sent.append(sent), structlog.get_logger(), shards=2, partitions=8
        )

    def after(self, seconds: float) -> list[HeldTask]:
        """The tasks given back after that long."""
        self.now_s += seconds
        self.sent.clear()
        self.unhosted.return_due()
        return [held for held, _ in self.sent]


def test_a_task_goes_back_to_another_partition_of_its_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the delay the task is appended unchanged, as the same attempt, where another worker may find it."""
    returned, held = Returned(monkeypatch), held_task(5, partition_of(7))
    assert returned.unhosted.park(held)
    assert returned.after(DELAY_S_FIRST - 0.1) == []
    assert returned.after(0.2) == [held]
    ((_, record),) = returned.sent
    assert (record.topic, record.partition) == ("tasks", 1)
    assert decode(record.value or b"") == msgspec.structs.replace(held.task, returned=1)


def test_the_delay_grows_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each return doubles the delay of the next, up to a minute, however often it happened."""
    returned, held = Returned(monkeypatch), held_task(5)
    for times, delay_s in ((1, 2 * DELAY_S_FIRST), (2, 4 * DELAY_S_FIRST), (50, DELAY_S_MAX), (10**9, DELAY_S_MAX)):
        held.task = msgspec.structs.replace(held.task, returned=times)
        returned.unhosted.park(held)
        assert returned.after(delay_s - 0.1) == []
        assert returned.after(0.2) == [held]


def test_a_known_activity_is_not_parked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task of an activity that this worker has is left to it."""
    held = held_task(5)
    held.task = msgspec.structs.replace(held.task, activity="known")
    assert not Returned(monkeypatch).unhosted.park(held)


def test_parked_tasks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """If there is no room for more, those that waited for the first delay go back before their time."""
    monkeypatch.setattr(module, "PARKED_MAX", 3)
    returned = Returned(monkeypatch)
    tasks = [held_task(offset) for offset in range(3)]
    for held in tasks:
        held.task = msgspec.structs.replace(held.task, returned=9)
        returned.unhosted.park(held)
    assert returned.unhosted.full
    assert returned.after(DELAY_S_FIRST - 0.1) == []
    assert returned.after(0.2) == tasks[:1]
    assert not returned.unhosted.full


def test_the_missing_activity_is_logged_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log names the activity at its first task, and then at intervals while tasks come."""
    returned = Returned(monkeypatch)
    with capture_logs() as lines:
        for _ in range(5):
            returned.unhosted.park(held_task(1))
        returned.now_s += module.REMIND_S
        returned.unhosted.park(held_task(1))
    assert [line["activity"] for line in lines] == ["a", "a"]


def test_a_task_waits_for_a_worker_that_has_its_activity(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker without the activity uses up no attempt: the task circulates until a worker has it."""
    monkeypatch.setattr(module, "DELAY_S_FIRST", 0.05)
    monkeypatch.setattr(module, "DELAY_S_MAX", 0.2)

    @activity
    async def old() -> str:
        return "old"

    @activity
    async def new() -> str:
        return "new"

    bench.worker(old, name="a")
    bench.put(bench.task(new), bench.task(old))
    bench.await_results(1)
    topic = bench.topics.tasks("default")
    until(lambda: len(bench.read(topic, 2)) >= 4, "the task to go back twice")
    assert [result.worker for result in bench.results()] == ["a"]
    bench.worker(old, new, name="b")
    until(lambda: len(bench.results()) == 2, "the task's result")
    assert [(result.worker, result.attempt) for result in bench.results() if result.worker == "b"] == [("b", 1)]
    time.sleep(0.3)
    assert len(bench.results()) == 2
