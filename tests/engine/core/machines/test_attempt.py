"""Tests of the time of activities: bounds by the shard's clock, heartbeats and their details, delays of attempts."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.engine.authoring.workflow import workflow
from penstock.engine.core.keys import DUE
from penstock.schemas.errors import ActivityFailedError
from penstock.schemas.failure import Failure
from penstock.workers.activity.decorator import activity
from tests.engine.stage import Stage

SOFT = Failure(type="app.Refused", message="no")


@activity(retries=1, heartbeat="10s", timeout="60s")
def page(n: int) -> int:
    return n


@activity(retries=1)
def plain(n: int) -> int:
    return n


@workflow
async def scans(options: dict[str, Any]) -> str:
    call = (plain if options.pop("plain", False) else page)(1)
    try:
        return str(await (call.options(**options) if options else call))
    except ActivityFailedError as failed:
        return f"{failed.type} after {failed.attempts}: {failed.message}"


def staged(**options: Any) -> tuple[Stage, Any]:
    """A stage with one run whose activity was called with these options, and its first task."""
    stage = Stage(scans)
    stage.start(scans, options)
    (task,) = stage.take("tasks")
    return stage, task


def due(stage: Stage) -> list[bytes]:
    return [key for key, _ in stage.stores[0].scan(DUE, b"U")]


def test_an_attempt_without_heartbeats_fails_and_is_retried() -> None:
    """An attempt that is silent for longer than its heartbeat has failed; the next one begins after the delay."""
    stage, task = staged()
    stage.report(task, task.started("w"))
    stage.advance(9.999)
    assert stage.events()[-1] == "ActivityScheduled"
    stage.advance(0.001)
    assert stage.history()[-1]["failure"]["message"] == "Activity page sent no heartbeat within its heartbeat of 10 s."
    stage.advance(1)
    (again,) = stage.take("tasks")
    assert again.attempt == 2
    stage.complete(task, 1)
    assert stage.described()["status"] == "running"
    stage.complete(again, 2)
    assert stage.described()["result"] == "2"
    assert due(stage) == []


def test_heartbeats_keep_an_attempt_alive() -> None:
    """Each heartbeat gives the attempt its whole time again."""
    stage, task = staged()
    stage.report(task, task.started("w"))
    for _ in range(5):
        stage.advance(9)
        stage.report(task, task.heartbeat(b"1"))
    assert stage.events()[-1] == "ActivityScheduled"
    assert len(due(stage)) == 1
    stage.advance(10)
    assert stage.events()[-1] == "ActivityAttemptFailed"


def test_time_in_the_queue_is_no_silence() -> None:
    """An attempt that no worker has begun is not silent."""
    stage, task = staged()
    stage.advance(3600)
    assert stage.events()[-1] == "ActivityScheduled"
    stage.complete(task, 1)
    assert stage.described()["result"] == "1"


def test_heartbeats_and_starts_are_not_in_the_history() -> None:
    """What a running attempt reports is written into the activity's row, and survives a restart."""
    stage, task = staged()
    stage.report(task, task.started("w"))
    stage.report(task, task.heartbeat(b'{"page":3}'))
    assert stage.events() == ["WorkflowStarted", "ActivityScheduled"]
    stage.restart()
    (pending,) = stage.described()["pending_activities"]
    assert pending["heartbeat"] == {"page": 3}
    assert pending["worker"] == "w"


def test_details_reach_the_next_attempt() -> None:
    """The task of the next attempt has the details of the last heartbeat: of a failure, else of the one before."""
    stage, task = staged(retries=3)
    stage.report(task, task.heartbeat(b"1"))
    stage.fail(task, SOFT)
    stage.advance(1)
    (task,) = stage.take("tasks")
    assert task.details == b"1"
    stage._result(task, task.failed(SOFT, details=b"2"))
    stage.advance(2)
    (task,) = stage.take("tasks")
    assert task.details == b"2"


def test_details_are_kept_over_attempts_that_report_none() -> None:
    """Attempts that fail, or are silent, before their first heartbeat leave the details of an earlier one."""
    stage, task = staged(retries=4)
    stage.report(task, task.heartbeat(b"41"))
    for _ in range(2):
        stage.fail(task, SOFT)
        stage.advance(2)
        (task,) = stage.take("tasks")
        assert task.details == b"41"
    stage.restart()
    stage.report(task, task.started("w"))
    stage.advance(20)
    (task,) = stage.take("tasks")
    assert (task.attempt, task.details) == (4, b"41")


def test_details_of_an_activity_without_bounds() -> None:
    """An activity without a heartbeat's time may report details as well."""
    stage, task = staged(plain=True)
    stage._result(task, task.failed(SOFT, details=b"7"))
    stage.advance(1)
    (task,) = stage.take("tasks")
    assert task.details == b"7"


def test_too_large_details_are_ignored() -> None:
    """Details that a row should not hold change nothing, whichever program sent them."""
    stage, task = staged()
    stage.report(task, task.heartbeat(b'"%b"' % (b"x" * 70_000)))
    assert stage.described()["pending_activities"][0]["heartbeat"] is None


def test_schedule_to_start_ends_the_activity() -> None:
    """An attempt that no worker begins in time ends the activity: another would wait in the same queue."""
    stage, _ = staged(schedule_to_start="5m")
    stage.advance(300)
    assert stage.described()["result"] == (
        "TimeoutError after 1: No worker began activity page within its schedule_to_start of 300 s."
    )


def test_schedule_to_start_ends_with_the_start() -> None:
    """An attempt that has begun is bounded by its other options."""
    stage, task = staged(schedule_to_start="5m", heartbeat=None)
    stage.report(task, task.started("w"))
    stage.advance(69)
    assert stage.events()[-1] == "ActivityScheduled"
    stage.advance(1)
    assert "did not end within its timeout of 60 s" in stage.history()[-1]["failure"]["message"]


@pytest.mark.parametrize("begun", [True, False])
def test_schedule_to_close_ends_the_activity(begun: bool) -> None:
    """The time of all attempts ends the activity, whether the present one runs or waits for its turn."""
    stage, task = staged(schedule_to_close="90s", retries=None, backoff=["80s"])
    stage.fail(task, SOFT)
    stage.advance(80)
    (task,) = stage.take("tasks")
    if begun:
        stage.report(task, task.started("w"))
        stage.report(task, task.heartbeat(b""))
    stage.advance(10)
    assert stage.described()["result"] == (
        "TimeoutError after 2: Activity page, with all its attempts, did not end within its schedule_to_close of 90 s."
    )
    assert due(stage) == []


def test_no_attempt_begins_after_schedule_to_close() -> None:
    """A failure whose next attempt would be too late is the activity's failure, at once."""
    stage, task = staged(schedule_to_close="90s", retries=None, backoff=["90s"])
    stage.fail(task, SOFT)
    assert stage.described()["result"] == "app.Refused after 1: no"


def test_an_activity_gives_up_while_it_waits_for_an_attempt() -> None:
    """The end of an activity drops all of its entries of the due index."""
    stage, task = staged(schedule_to_close="90s", schedule_to_start="5s")
    stage.fail(task, SOFT)
    assert len(due(stage)) == 2
    stage.terminate()
    assert due(stage) == []


def test_retry_after() -> None:
    """A failure may say when the next attempt begins, instead of the policy."""
    stage, task = staged()
    stage._result(task, task.failed(SOFT, retry_after_ms=30_000))
    stage.advance(29.999)
    assert stage.take("tasks") == []
    stage.advance(0.001)
    assert len(stage.take("tasks")) == 1


def test_jitter_is_bounded_and_repeatable() -> None:
    """Delays differ between activities by at most the fraction, and are the same when decided again."""
    delays = set()
    for _ in range(2):
        for number in range(20):
            stage = Stage(scans)
            stage.start(scans, {"jitter": 0.2, "backoff": ["100s"]}, id=f"run-{number}")
            (task,) = stage.take("tasks")
            stage.fail(task, SOFT)
            failed = stage.history(f"run-{number}")[-1]
            delays.add((number, failed["retry_ms"] - failed["at_ms"]))
    assert len(delays) == 20
    values = [delay for _, delay in delays]
    assert min(values) >= 80_000
    assert max(values) <= 120_000
    assert len(set(values)) > 15


def test_a_timeout_that_is_not_retryable() -> None:
    """An activity that lists TimeoutError fails with the first attempt that is silent."""

    @activity(heartbeat="1s", non_retryable=TimeoutError)
    def once() -> None: ...

    assert once.request.bounds is not None
    assert once.request.bounds.timeouts_final


def test_a_plain_activity_has_no_watch_and_no_entry() -> None:
    """An activity without such options costs no row of its own and no entry of the due index."""
    stage, _ = staged(plain=True)
    assert due(stage) == []
    (pending,) = stage.described()["pending_activities"]
    assert pending["heartbeat"] is None


@workflow
async def on_one_machine() -> str:
    for number in (1, 2):
        try:
            return str(await page(number).options(queue=f"host-{number}", schedule_to_start="1m", retries=0))
        except ActivityFailedError as failed:
            if not failed.is_(TimeoutError):
                raise
    return "no machine"


@pytest.mark.parametrize("began", [True, False])
def test_code_goes_on_when_a_worker_with_a_queue_of_its_own_is_gone(began: bool) -> None:
    """An activity on the queue of one worker fails soon if that is gone, so that code begins anew on another one's."""
    stage = Stage(on_one_machine, queues=("host-1", "host-2"))
    stage.start(on_one_machine)
    (task,) = stage.take("tasks")
    if began:
        stage.report(task, task.started("worker of host-1"))
    stage.advance(10 if began else 60)
    (task,) = stage.take("tasks")
    assert task.queue == "host-2"
    stage.complete(task, 7)
    assert stage.described()["result"] == "7"
