"""Tests of answers to the senders of inputs."""

from __future__ import annotations

from penstock.schemas.records.run import StartWorkflow
from tests.engine.core import flows
from tests.engine.stage import Stage


def test_a_refusal_is_a_reply_or_a_dead_letter() -> None:
    """A refused start is answered if it asked for a reply, else it is a dead letter; nothing starts."""
    stage = Stage(flows.five)
    stage.tell(StartWorkflow(workflow_id="x", workflow_type="sixth", message_id="m1"))
    stage.tell(StartWorkflow(workflow_id="x", workflow_type="five", input=b'"no"', message_id="m2", reply_to=0))
    assert [letter.reason for letter in stage.take("dead-letters")] == ["unknown_type"]
    assert [reply.reason for reply in stage.take("replies")] == ["bad_input"]
