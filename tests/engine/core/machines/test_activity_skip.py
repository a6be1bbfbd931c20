"""Tests of activities that an operator gives a result."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.schemas.failure import Failure
from penstock.schemas.records.activity import SkipActivity
from penstock.schemas.records.pause import PauseWorkflow, ResumeWorkflow
from penstock.schemas.records.run import CancelWorkflow
from tests.engine.core import flows
from tests.engine.stage import Stage

SOFT = Failure(type="app.Refused", message="no")


def skip(stage: Stage, sequence: int, result: bytes, **fields: Any) -> Any:
    command = SkipActivity(workflow_id="run-1", sequence=sequence, result=result, message_id=stage.message_id())
    return stage.replied(command, **fields)


def test_the_code_goes_on_with_the_result_that_was_given() -> None:
    """The next activity gets the result given by hand; the history keeps it with who gave it and why."""
    stage = Stage(flows.five, strict_inputs=True)
    stage.start(flows.five, 1)
    command = SkipActivity(workflow_id="run-1", sequence=1, result=b"40", message_id="s", by="ann", reason="cash")
    for _ in range(2):
        stage.tell(command)
    stage.restart()
    event = stage.history()[2]
    assert (event["event"], event["result"], event["by"], event["reason"]) == ("ActivitySkipped", 40, "ann", "cash")
    stage.take("tasks")
    assert stage.history()[3]["input"] == {"a": 40, "b": 1}


def test_a_late_result_of_a_skipped_activity_is_ignored() -> None:
    """The attempt that ran when its activity was skipped counts for nothing."""
    stage = Stage(flows.five)
    stage.start(flows.five, 1)
    (task,) = stage.take("tasks")
    skip(stage, 1, b"40")
    stage.complete(task, 7)
    assert [event["event"] for event in stage.history()].count("ActivityCompleted") == 0


def test_an_activity_that_waits_for_its_next_attempt_can_be_skipped() -> None:
    """Its next attempt does not begin, also in a paused run."""
    for pauses in (False, True):
        stage = Stage(flows.retried)
        stage.start(flows.retried, 1)
        (task,) = stage.take("tasks")
        stage.fail(task, SOFT)
        if pauses:
            stage.tell(PauseWorkflow(workflow_id="run-1", message_id="p"))
        skip(stage, 1, b"3")
        if pauses:
            stage.tell(ResumeWorkflow(workflow_id="run-1", message_id="r"))
        assert stage.described()["result"] == "3"
        stage.advance(600)
        assert stage.take("tasks") == []
        assert list(stage.stores[0].scan(b"T", b"U")) == []


def test_an_activity_that_was_given_up_can_be_skipped() -> None:
    """A saga that waits for the end of a step goes on to undo it."""
    stage = Stage(flows.travel)
    stage.start(flows.travel, ["hotel"])
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="c"))
    skip(stage, 1, b'"hotel"')
    assert [event["activity"] for event in stage.history() if event["event"] == "ActivityScheduled"] == [
        "book_place",
        "unbook_place",
    ]


@pytest.mark.parametrize(
    ("sequence", "result", "sentence"),
    [
        (7, b"1", "run-1 waits for no activity with the number 7; its description lists those that it waits for."),
        (1, b"{", "The result is not valid JSON: "),
        (1, b'"' + b"x" * 1_000_001 + b'"', "The result takes 1,000,003 bytes; at most 900,000 are allowed."),
    ],
)
def test_a_skip_of_a_wrong_number_or_value_is_refused(sequence: int, result: bytes, sentence: str) -> None:
    """A skip that names no pending activity, or no JSON, is refused with a sentence."""
    stage = Stage(flows.five)
    stage.start(flows.five, 1)
    assert skip(stage, sequence, result).message.startswith(sentence)
