"""Tests of a shard and its layers."""

from __future__ import annotations

from penstock.schemas.encoding.codec import encode
from penstock.schemas.records.run import AwaitResult, CancelWorkflow, StartWorkflow
from tests.engine.core import flows
from tests.engine.stage import Stage


def test_two_open_layers_that_are_discarded_leave_nothing() -> None:
    """With two layers open and neither committed, the shard decides the same inputs again as if for the first time."""
    stage = Stage(flows.five)
    node = stage.nodes[0]
    call = flows.five(1)
    call.claim()
    start = StartWorkflow(workflow_id="run-1", workflow_type="five", input=call.input, message_id="m")
    first = stage.put("commands", 0, encode(start))
    second = stage.put("commands", 0, encode(AwaitResult(workflow_id="run-1", message_id="w", reply_to=0)))
    third = stage.put("commands", 0, encode(CancelWorkflow(workflow_id="run-1", message_id="c")))
    before = [node.decide([first], stage.now_ms), node.decide([second, third], stage.now_ms)]
    node.discard()
    after = [node.decide([first], stage.now_ms), node.decide([second, third], stage.now_ms)]
    assert [layer and layer.writes for layer in before] == [layer and layer.writes for layer in after]
    assert all(layer is not None and layer.outputs for layer in before)
