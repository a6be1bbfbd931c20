"""Tests of long histories: a warning, a failure, and what a halted run takes."""

from __future__ import annotations

import msgspec
import pytest
from structlog.testing import capture_logs

from penstock.engine.core.machines import signal as signal_machine
from penstock.schemas.records.pause import PauseWorkflow
from penstock.schemas.records.reset import RetryWorkflow
from penstock.schemas.records.run import AwaitResult
from penstock.schemas.records.signal import SignalWorkflow
from tests.engine.core import flows
from tests.engine.stage import Stage


def limited(events: int, *, long: int = 10_000) -> Stage:
    stage = Stage(flows.five, flows.looks_again)
    hosted = stage.nodes[0].runs.hosted
    hosted.history_max, hosted.history_long = events, long
    return stage


def test_a_history_that_has_no_more_room_fails_its_run() -> None:
    """The run fails with a sentence that says what to do; its caller is answered, and it is not tried again."""
    stage = limited(6)
    stage.start(flows.five, 1, retry=None)
    stage.tell(AwaitResult(workflow_id="run-1", message_id="w", reply_to=0))
    stage.run(add=lambda a, b: a + b)
    run = stage.described()
    assert (run["status"], run["failure"]["type"], run["events"]) == ("failed", "HistoryTooLong", 8)
    assert run["failure"]["message"].startswith("the history of run-1 would exceed 6 events; let the workflow continue")
    (closed,) = [reply for reply in stage.take("replies") if reply.message_id == "w"]
    assert closed.status == "failed"
    refused = stage.replied(RetryWorkflow(workflow_id="run-1", message_id="r"))
    assert refused.reason == "history_too_long"


def test_a_run_that_failed_for_its_history_replays() -> None:
    """What the code requested at last is not in the history, and a replay does not expect it there."""
    stage = limited(6)
    stage.start(flows.five, 1)
    stage.run(add=lambda a, b: a + b)
    run = stage.nodes[0].runs.get("run-1")
    rebuilt = flows.five.rebuild("run-1", run.run_id, run.history(), strict_inputs=True)
    assert [type(event).__name__ for event in rebuilt.unread] == ["ActivityCompleted"]
    rebuilt.execution.close()


def test_a_run_that_ends_in_time_is_not_failed() -> None:
    """The decision that ends a run counts for nothing: its history may exceed the limit by it."""
    stage = limited(11)
    stage.start(flows.five, 1)
    stage.run(add=lambda a, b: a + b)
    assert (stage.described()["status"], stage.described()["events"]) == ("completed", 12)


def test_a_paused_run_refuses_signals_that_its_history_has_no_room_for() -> None:
    """A halted run cannot read, so that what would exceed its history is refused, and the run stays."""
    stage = limited(6)
    stage.start(flows.looks_again)
    stage.tell(PauseWorkflow(workflow_id="run-1", message_id="p"))
    for number in range(8):
        stage.tell(SignalWorkflow(workflow_id="run-1", signal="word", message_id=f"s{number}"))
    reply = stage.replied(SignalWorkflow(workflow_id="run-1", signal="word", message_id="last"))
    assert reply.message.startswith("run-1 is paused, and its history has 6 events of at most 6")
    assert stage.described()["status"] == "paused"


def test_a_long_history_is_logged_once() -> None:
    """The decision that makes a history long is logged with its length and the limit, and no other is."""
    stage = limited(50, long=4)
    with capture_logs() as logs:
        stage.start(flows.five, 1)
        stage.run(add=lambda a, b: a + b)
    assert sum(line["event"].startswith("a run's history is long") for line in logs) == 1


def test_too_many_unread_signals_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run keeps a bounded number of signals that its code has not read."""
    monkeypatch.setattr(signal_machine, "SIGNALS_UNREAD_MAX", 3)
    stage = limited(1_000)
    stage.start(flows.looks_again)
    for number in range(3):
        stage.signal("word", number)
    reply = stage.replied(SignalWorkflow(workflow_id="run-1", signal="word", message_id="more"))
    assert reply.message == (
        "run-1 has 3 signals that its code has not read; at most 3 are kept, so send this one again later."
    )
    assert msgspec.json.encode(stage.described()["signals_unread"]) == b'{"word":3}'
