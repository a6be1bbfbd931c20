"""Tests of messages that arrive more than once."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.engine.core.keys import DAY_MS
from penstock.schemas.records.run import AwaitResult, CancelWorkflow, TerminateWorkflow
from penstock.schemas.records.signal import SignalWorkflow
from tests.engine.core import flows
from tests.engine.stage import Stage


def test_same_message_twice_acts_once() -> None:
    """A signal with the same message id is applied once."""
    stage = Stage(flows.conditional)
    stage.start(flows.conditional)
    signal = SignalWorkflow(workflow_id="run-1", signal="price", input=b"4", message_id="once")
    stage.tell(signal)
    stage.tell(signal)
    assert stage.events().count("SignalReceived") == 1


def test_one_message_id_for_two_workflows_is_two_messages() -> None:
    """A message id identifies a message to one workflow id; under another workflow id it is another message."""
    stage = Stage(flows.travel)
    for id in ("a", "b"):
        stage.start(flows.travel, [], id=id)
    for id in ("a", "a", "b"):
        stage.tell(SignalWorkflow(workflow_id=id, signal="go", input=b"null", message_id="paid"))
    assert [stage.described(id)["status"] for id in ("a", "b")] == ["completed", "completed"]


@pytest.mark.parametrize(
    "command",
    [
        SignalWorkflow(workflow_id="run-1", signal="go", input=b"null"),
        CancelWorkflow(workflow_id="run-1"),
        TerminateWorkflow(workflow_id="run-1"),
        AwaitResult(workflow_id="run-1"),
    ],
)
def test_every_command_twice_acts_once(command: Any) -> None:
    """A command that comes again, at once or a day later, changes nothing, and is answered again."""
    stage = Stage(flows.cleaner)
    stage.start(flows.cleaner)
    command = msgspec.structs.replace(command, message_id="twice", reply_to=0)
    stage.tell(command)
    before = stage.history()
    stage.advance(DAY_MS / 1000 - 1)
    stage.tell(command)
    assert stage.history() == before
    stage.run(unbook_place=lambda name: None)
    stage.nodes[0].close()  # a coroutine that is still open would clean up when it is collected
