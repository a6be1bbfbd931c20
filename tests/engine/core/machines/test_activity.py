"""Tests of activities: results in any order, retries, and results that come too late."""

from __future__ import annotations

from penstock.schemas.failure import Failure
from penstock.schemas.values.failure import failure_of
from tests.engine.core import flows
from tests.engine.stage import Stage


def test_activities_in_sequence() -> None:
    """Five activities one after the other give the sum, each scheduled once."""
    stage = Stage(flows.five)
    stage.start(flows.five, 1)
    stage.run(add=lambda a, b: a + b)
    assert stage.described()["result"] == 11
    assert stage.events().count("ActivityScheduled") == 5


def test_parallel_activities_complete_in_any_order() -> None:
    """`gather` keeps the order of its calls, for any order of their results."""
    stage = Stage(flows.fan)
    stage.start(flows.fan, 20)
    tasks = stage.take("tasks")
    for task in reversed(tasks):
        stage.complete(task, task.sequence * 10)
    assert stage.described()["result"] == [10 * (i + 1) for i in range(20)]


def test_retries_with_backoff_then_success() -> None:
    """A failed attempt is tried again after its delay, with the next attempt number."""
    stage = Stage(flows.retried)
    stage.start(flows.retried, 1)
    (task,) = stage.take("tasks")
    stage.fail(task, failure_of(flows.Refused("no")))
    stage.advance(0.999)
    assert stage.take("tasks") == []
    stage.advance(0.001)
    (again,) = stage.take("tasks")
    assert again.attempt == 2
    stage.complete(again, 7)
    assert stage.described()["result"] == "7"


def test_retries_end() -> None:
    """retries=2 means three attempts; the error then has its type and their number."""
    stage = Stage(flows.retried)
    stage.start(flows.retried, 1)
    for _ in range(3):
        (task,) = stage.take("tasks")
        stage.fail(task, failure_of(flows.Refused("no")))
        stage.advance(10)
    assert stage.described()["result"] == "Refused after 3"


def test_non_retryable_fails_at_once() -> None:
    """A failure that the worker marks as non-retryable is not tried again."""
    stage = Stage(flows.retried)
    stage.start(flows.retried, 1)
    (task,) = stage.take("tasks")
    stage.fail(task, Failure(type="app.Refused", message="no", non_retryable=True))
    assert stage.described()["result"] == "Refused after 1"


def test_the_attempt_after_one_that_ended_its_worker_is_a_suspect() -> None:
    """An attempt that ended its worker counts, and the next one is marked for the workers."""
    stage = Stage(flows.retried)
    stage.start(flows.retried, 1)
    suspect = []
    for kind in ("error", "worker_died", "worker_died"):
        (task,) = stage.take("tasks")
        suspect.append(task.suspect)
        stage.fail(task, Failure(type="app.Refused", message="no", kind=kind))
        stage.advance(10)
    assert suspect == [False, False, True]
    assert stage.described()["result"] == "Refused after 3"


def test_late_result_of_an_earlier_attempt_is_ignored() -> None:
    """A result counts for the present attempt only."""
    stage = Stage(flows.retried)
    stage.start(flows.retried, 1)
    (task,) = stage.take("tasks")
    stage.fail(task, failure_of(flows.Refused("no")))
    stage.advance(1)
    (again,) = stage.take("tasks")
    stage.complete(task, 1)
    assert stage.described()["status"] == "running"
    stage.complete(again, 2)
    stage.complete(again, 3)
    assert stage.described()["result"] == "2"
