"""Tests of options of pending activities that an operator changes."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.engine.authoring.workflow import workflow
from penstock.schemas.failure import Failure
from penstock.schemas.records.activity import ChangeActivity
from penstock.schemas.records.pause import PauseWorkflow, ResumeWorkflow
from penstock.schemas.records.replies import Rejected
from penstock.schemas.values.retry import RetryPolicy
from penstock.workers.activity.decorator import activity
from tests.engine.stage import Stage

SOFT = Failure(type="app.Refused", message="no")


@activity(name="options-slow", backoff=["1h"], timeout="1m")
def slow(number: int) -> int:
    return number


@workflow(name="options-waits")
async def waits(number: int) -> int:
    return await slow(number)


def begun(**options: Any) -> Stage:
    """A run that waits for an activity."""
    stage = Stage(waits, queues=("default", "other"), **options)
    stage.start(waits, 3)
    return stage


def change(stage: Stage, **fields: Any) -> Any:
    """The answer to a change of the activity."""
    fields.setdefault("sequence", 1)
    return stage.replied(ChangeActivity(workflow_id="run-1", message_id=stage.message_id(), **fields))


def test_an_attempt_that_waits_begins_at_once_elsewhere() -> None:
    """`now` and `queue` let the next attempt begin in another queue, with other times; the history says who and why."""
    stage = begun()
    stage.fail(stage.take("tasks")[0], SOFT)
    change(stage, queue="other", timeout_ms=5_000, heartbeat_ms=2_000, now=True, by="ann", reason="moved")
    stage.restart()
    stage.advance(1)
    (task,) = stage.take("tasks")
    assert (task.queue, task.attempt, task.timeout_ms, task.bounds.heartbeat_ms) == ("other", 2, 5_000, 2_000)
    changed = next(event for event in stage.history() if event["event"] == "ActivityChanged")
    assert (changed["by"], changed["reason"]) == ("ann", "moved")
    stage.complete(task, 7)
    assert stage.described()["result"] == 7


def test_another_attempt_takes_the_place_of_one_that_runs() -> None:
    """With `now`, an attempt that runs is cancelled, and its result counts for nothing."""
    stage = begun()
    (lost,) = stage.take("tasks")
    change(stage, queue="other", now=True)
    (cancelled,) = stage.take("cancellations")
    assert (cancelled.sequence, cancelled.attempt) == (1, 1)
    stage.complete(lost, 1)
    stage.advance(1)
    (task,) = stage.take("tasks")
    assert (task.queue, task.attempt) == ("other", 2)
    stage.complete(task, 2)
    assert stage.described()["result"] == 2


@pytest.mark.parametrize("fails", [False, True])
def test_an_attempt_that_begins_by_hand_has_the_details(fails: bool) -> None:
    """The attempt that `now` begins goes on where the heartbeats had come to, of one that ran or had failed."""
    stage = begun()
    (task,) = stage.take("tasks")
    stage.report(task, task.heartbeat(b"41"))
    if fails:
        stage.fail(task, SOFT)
    change(stage, now=True)
    stage.advance(1)
    (task,) = stage.take("tasks")
    assert (task.attempt, task.details) == (2, b"41")


def test_other_retries_count_from_the_next_failure() -> None:
    """The number of retries and the delays are those of the next failure; what is not given stays."""
    stage = begun()
    (task,) = stage.take("tasks")
    change(stage, retries_max=1)
    change(stage, delays=RetryPolicy(delays_ms=(2_000,), factor=1.0))
    stage.fail(task, SOFT)
    stage.advance(2.1)
    (task,) = stage.take("tasks")
    stage.fail(task, SOFT)
    assert stage.described()["status"] == "failed"


def test_a_time_that_the_shard_watches_changes_at_once() -> None:
    """schedule_to_close, set while an attempt runs, ends the activity at its time; 0 takes it away again."""
    for given, status in ((30_000, "failed"), (0, "running")):
        stage = begun()
        change(stage, schedule_to_close_ms=30_000)
        change(stage, schedule_to_close_ms=given)
        stage.advance(31)
        assert stage.described()["status"] == status


def test_an_attempt_of_a_paused_run_begins_when_it_is_resumed() -> None:
    """A change in a paused run begins no attempt before the run is resumed."""
    stage = begun()
    stage.fail(stage.take("tasks")[0], SOFT)
    stage.tell(PauseWorkflow(workflow_id="run-1", message_id="p"))
    change(stage, now=True)
    stage.advance(5)
    assert stage.take("tasks") == []
    stage.tell(ResumeWorkflow(workflow_id="run-1", message_id="r"))
    stage.advance(1)
    assert [task.attempt for task in stage.take("tasks")] == [2]


def test_a_repeated_change_takes_effect_once() -> None:
    """The same command again begins no further attempt."""
    stage = begun()
    command = ChangeActivity(workflow_id="run-1", sequence=1, now=True, message_id="same")
    for _ in range(2):
        stage.tell(command)
        stage.advance(1)
    assert [task.attempt for task in stage.take("tasks")] == [1, 2]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "changes no option"),
        ({"sequence": 9, "now": True}, "no activity with the number 9"),
        ({"queue": "no queue"}, "cannot name a task queue"),
        ({"queue": "x" * 101}, "cannot name a task queue"),
        ({"timeout_ms": -1}, "milliseconds from 0"),
        ({"retries_max": -2}, "0 or more, or -1"),
        ({"delays": RetryPolicy(delays_ms=(-1,))}, "0 or more"),
        ({"delays": RetryPolicy(factor=float("inf"))}, "0 or more"),
        ({"heartbeat_ms": 1_000}, "reports neither its start nor heartbeats"),
    ],
)
def test_a_wrong_change_is_refused(fields: dict[str, Any], says: str) -> None:
    """A change that cannot be made is refused with the reason, and the activity stays as it is."""
    stage = begun()
    before = stage.history()
    answer = change(stage, **fields)
    assert isinstance(answer, Rejected)
    assert says in answer.message
    assert stage.history() == before
