"""Tests of activities that are completed from outside: by commands, and by JSON on `results`."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from penstock.engine.authoring.workflow import workflow
from penstock.schemas.errors import ActivityFailedError
from penstock.schemas.records.activity import ChangeActivity, CompleteActivity, FailActivity, HeartbeatActivity
from penstock.schemas.records.replies import Accepted, Rejected
from penstock.schemas.records.run import CancelWorkflow
from penstock.schemas.records.tasks import ActivityTask
from penstock.schemas.values.tokens import AttemptToken, token_keys, write_token
from penstock.topics.partitioner import partition_of
from penstock.workers.activity.decorator import activity
from tests.engine.core import flows
from tests.engine.stage import Stage

KEY = token_keys("", "penstock", "default")[0]


@activity(retries=1, heartbeat="10s", timeout="60s")
def outside() -> int:
    return 0


@workflow
async def waits_outside() -> str:
    try:
        return f"got {await outside()}"
    except ActivityFailedError as failed:
        return f"{failed.type}: {failed.message}"


def handed_over(**options: Any) -> tuple[Stage, ActivityTask, dict[str, Any]]:
    """A stage with a run whose attempt is completed from outside, and what names it."""
    stage = Stage(waits_outside, **options)
    run_id = stage.start(waits_outside)
    (task,) = stage.take("tasks")
    stage.report(task, task.started("w"))
    stage.report(task, task.started("w", outside=True))
    return stage, task, {"workflow_id": "run-1", "run_id": run_id, "sequence": 1, "attempt": 1}


def token_of(task: ActivityTask) -> str:
    return write_token(AttemptToken(task.workflow_id, task.run_id, task.sequence, task.attempt, task.shard), KEY)


def test_a_result_from_outside() -> None:
    """A command completes the attempt, and its sender gets an answer."""
    stage, _, place = handed_over()
    assert isinstance(stage.replied(CompleteActivity(result=b"7", message_id="m", **place)), Accepted)
    assert stage.described()["result"] == "got 7"


def test_a_failure_from_outside_is_retried() -> None:
    """A failure follows the activity's options, or says when the next attempt begins, or that none does."""
    stage, _, place = handed_over()
    stage.replied(FailActivity(message="busy", retry_after_ms=30_000, message_id="m", **place))
    stage.advance(30)
    (task,) = stage.take("tasks")
    assert task.attempt == 2
    stage.replied(
        FailActivity(message="gone", type="Gone", non_retryable=True, message_id="n", **{**place, "attempt": 2})
    )
    assert stage.described()["result"] == "Gone: gone"


def test_heartbeats_from_outside() -> None:
    """Heartbeats keep the attempt alive and bring details; the attempt's timeout counts from its start."""
    stage, _, place = handed_over()
    for second in range(6):
        stage.advance(9)
        reply = stage.replied(HeartbeatActivity(details=b"%d" % second, message_id=f"m{second}", **place))
        assert isinstance(reply, Accepted)
    assert stage.described()["pending_activities"][0]["heartbeat"] == 5
    stage.advance(6)
    assert "did not end within its timeout of 60 s" in stage.history()[-1]["failure"]["message"]


def test_a_silent_outside_fails() -> None:
    """An attempt whose heartbeats from outside stop has failed, and no worker is asked to end it."""
    stage, _, _ = handed_over()
    stage.advance(10)
    assert stage.events()[-1] == "ActivityAttemptFailed"
    assert stage.take("cancellations") == []


@pytest.mark.parametrize("kind", [CompleteActivity, FailActivity, HeartbeatActivity])
def test_a_stale_attempt_is_refused(kind: Any) -> None:
    """The token of an attempt that is over is refused, with the reason, while the next one waits and while it runs."""
    stage, _, place = handed_over()
    stage.advance(10)
    for _ in range(2):
        reply = stage.replied(kind(message_id=stage.message_id(), **place))
        assert isinstance(reply, Rejected)
        assert reply.reason == "not_pending"
        assert "Attempt 1 of activity outside of run-1 is over" in reply.message
        stage.advance(1)
    stage.replied(CompleteActivity(result=b"2", message_id="n", **{**place, "attempt": 2}))
    assert stage.described()["result"] == "got 2"
    reply = stage.replied(kind(message_id=stage.message_id(), **place))
    assert reply.reason == "already_closed"


def test_a_changed_option_keeps_the_token() -> None:
    """The token of the present attempt counts after its activity's options have changed; with `now`, it is over."""
    stage, _, place = handed_over()
    change = ChangeActivity(workflow_id="run-1", sequence=1, timeout_ms=90_000, heartbeat_ms=20_000, retries_max=5)
    assert isinstance(stage.replied(msgspec.structs.replace(change, message_id="c")), Accepted)
    assert isinstance(stage.replied(HeartbeatActivity(details=b"1", message_id="h", **place)), Accepted)
    assert isinstance(stage.replied(CompleteActivity(result=b"7", message_id="m", **place)), Accepted)
    assert stage.described()["result"] == "got 7"
    stage, _, place = handed_over()
    stage.replied(msgspec.structs.replace(change, now=True, message_id="c"))
    stage.advance(1)
    assert stage.replied(CompleteActivity(result=b"7", message_id="m", **place)).reason == "not_pending"


def test_an_attempt_by_its_activity_alone() -> None:
    """Without an attempt, whichever is the present one is meant, after retries too."""
    stage, _, _ = handed_over()
    stage.advance(11)
    assert stage.take("tasks")[0].attempt == 2
    stage.replied(CompleteActivity(workflow_id="run-1", sequence=1, result=b"3", message_id="m"))
    assert stage.described()["result"] == "got 3"


def test_a_token_of_another_run() -> None:
    """An attempt of an earlier run of the id is none of the present run, whatever the numbers."""
    stage, _, place = handed_over()
    stage.start(waits_outside, on_existing="terminate_existing")
    reply = stage.replied(CompleteActivity(result=b"7", message_id="m", **place))
    assert reply.reason == "not_pending"
    assert stage.described()["status"] == "running"


def test_heartbeats_of_what_is_given_up_are_refused() -> None:
    """Code that waits for the end of an attempt outside lets its heartbeats be refused, and takes its end."""
    stage = Stage(flows.scanned)
    run_id = stage.start(flows.scanned)
    (task,) = stage.take("tasks")
    stage.report(task, task.started("w", outside=True))
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="c"))
    place: dict[str, Any] = {"workflow_id": "run-1", "run_id": run_id, "sequence": 1, "attempt": 1}
    reply = stage.replied(HeartbeatActivity(message_id="m", **place))
    assert reply.reason == "not_pending"
    assert "gave up activity scan" in reply.message
    stage.replied(FailActivity(message="ended", message_id="n", **place))
    assert stage.described()["status"] == "cancelled"


@pytest.mark.parametrize(
    "said", [{"result": 7}, {"failure": "gone", "non_retryable": True}, {"heartbeat": {"page": 3}}]
)
@pytest.mark.parametrize("own", [True, False])
def test_json_on_results(said: dict[str, Any], own: bool) -> None:
    """Plain JSON with the token does the same, on whichever partition it is written."""
    stage, task, _ = handed_over(shards=2)
    shard = partition_of("run-1", 2) if own else 1 - partition_of("run-1", 2)
    stage.put("results", shard, json.dumps({"token": token_of(task), **said}).encode())
    stage.settle()
    if "heartbeat" in said:
        assert stage.described()["pending_activities"][0]["heartbeat"] == {"page": 3}
    else:
        assert stage.described()["result"] == (
            "got 7" if "result" in said else "penstock.schemas.errors.ActivityError: gone"
        )
    assert stage.take("dead-letters") == []


def test_bad_json_on_results_is_a_dead_letter() -> None:
    """A forged token, and a stale one, become dead letters that say why; the run goes on."""
    stage, task, _ = handed_over()
    forged = write_token(AttemptToken("run-1", task.run_id, 1, 1, 0), b"another")
    stage.put("results", 0, json.dumps({"token": forged, "result": 7}).encode())
    stage.advance(11)
    stage.put("results", 0, json.dumps({"token": token_of(task), "result": 7}).encode())
    stage.settle()
    messages = [letter.message for letter in stage.take("dead-letters")]
    assert "not signed with a key of this namespace" in messages[0]
    assert "Attempt 1 of activity outside of run-1 is over" in messages[1]
    assert stage.described()["status"] == "running"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (
            CompleteActivity(workflow_id="run-1", sequence=1, result=b"{", message_id="m"),
            "The result is not valid JSON",
        ),
        (CompleteActivity(workflow_id="run-1", sequence=9, message_id="m"), "no longer waits for activity 9"),
        (
            HeartbeatActivity(workflow_id="run-1", sequence=1, details=b'"%b"' % (b"x" * 70_000), message_id="m"),
            "The details take 70,002 bytes; at most 65,536 are allowed.",
        ),
    ],
)
def test_mistakes(command: Any, says: str) -> None:
    """What cannot be taken is refused with one sentence, and the activity goes on."""
    stage, _, _ = handed_over()
    assert says in stage.replied(command).message
    assert stage.described()["status"] == "running"
