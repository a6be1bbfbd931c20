"""Tests of signals to a run, as their sender sees them."""

from __future__ import annotations

from penstock.schemas.records.signal import SignalWorkflow
from tests.engine.core import flows
from tests.engine.stage import Stage


def test_an_undeclared_signal_is_noted() -> None:
    """A signal under a name that no module declares, perhaps a misspelt one, is kept, and the reply notes it."""
    stage = Stage(flows.travel)
    stage.start(flows.travel, ["a"])
    for name in ("prcie", "price"):
        stage.tell(SignalWorkflow(workflow_id="run-1", signal=name, input=b"4", message_id=name, reply_to=0))
    misspelt, right = stage.take("replies")
    assert "'prcie'" in misspelt.note
    assert "price" in misspelt.note.partition("declared: ")[2]
    assert right.note == ""


def test_signal_of_the_wrong_shape_is_a_dead_letter() -> None:
    """A value that does not fit the declared type is a dead letter, and its run continues."""
    stage = Stage(flows.approved)
    stage.start(flows.approved)
    stage.signal("price", "not a number")
    assert [letter.reason for letter in stage.take("dead-letters")] == ["bad_input"]
    assert stage.described()["status"] == "running"
