"""Tests of decisions about inputs of any kind."""

from __future__ import annotations

import pytest

from penstock.schemas.records.run import StartWorkflow
from tests.engine.core import flows
from tests.engine.stage import Stage


@pytest.mark.parametrize("reply_to", [-1, 0])
def test_a_refusal_quotes_a_bounded_part_of_its_input(reply_to: int) -> None:
    """A refusal that quotes its input quotes a part of it: every record about it stays small."""
    stage = Stage(flows.travel)
    name = "x" * 900_000
    stage.tell(StartWorkflow(workflow_id="a", workflow_type=name, message_id="m", reply_to=reply_to))
    [refusal] = stage.take("replies" if reply_to == 0 else "dead-letters")
    assert len(refusal.message) < 10_000
    [record] = stage.take("events")
    assert sum(map(len, record.events)) < 10_000
