"""Tests of a shard and its layers."""

from __future__ import annotations

import msgspec
import pytest

from penstock.schemas.encoding.codec import encode
from penstock.schemas.records.run import AwaitResult, CancelWorkflow, StartWorkflow
from penstock.topics.partitioner import partition_of
from tests.engine.core import flows
from tests.engine.core.talking import definition
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


@pytest.mark.parametrize("value", [b'"run_timeout_ms":%d' % 2**64, b'"retry":{"delays_ms":[%d]}' % 2**64])
def test_number_beyond_64_bits_on_the_wrong_shard(value: bytes) -> None:
    """A number that Avro cannot express is a dead letter, also on the wrong shard, where the command is sent on."""
    stage = Stage(flows.five, shards=2)
    stage.put("commands", 1 - partition_of("a", 2), b'{"type":"five","id":"a","input":1,%s}' % value)
    stage.settle()
    assert [letter.reason for letter in stage.take("dead-letters")] == ["undecodable"]


@pytest.mark.parametrize("field", ["sequence", "attempt"])
@pytest.mark.parametrize("goes_astray", [False, True])
def test_number_beyond_64_bits_in_a_report(field: str, goes_astray: bool) -> None:
    """Such a number in a JSON line on `results` is a dead letter, on each shard; the run and its shard go on."""
    stage = Stage(flows.five, shards=2)
    run_id = stage.start(flows.five, 1, id="a")
    said = {"id": "a", "run_id": run_id, "sequence": 1, "attempt": 1, "result": 7} | {field: 2**63}
    own = partition_of("a", 2)
    stage.put("results", 1 - own if goes_astray else own, msgspec.json.encode(said))
    stage.settle()
    assert [letter.reason for letter in stage.take("dead-letters")] == ["undecodable"]
    stage.run(add=lambda a, b: a + b)
    assert stage.described("a")["result"] == 11


def test_a_record_that_cannot_be_forwarded_is_a_dead_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails before a record reaches a run, its shard goes on with the next one."""
    stage = Stage(flows.five, shards=2)
    own = partition_of("a", 2)

    def broken(command: object) -> None:
        raise OverflowError

    monkeypatch.setattr(stage.nodes[1 - own]._encoder, "command", broken)
    stage.put("commands", 1 - own, b'{"type":"five","id":"a","input":1}')
    stage.settle()
    assert [letter.reason for letter in stage.take("dead-letters")] == ["engine_error"]


def test_a_result_on_the_wrong_shard_is_reported() -> None:
    """A result that reaches another shard than its run's is a dead letter that names the right one, and no loss."""
    stage = Stage(flows.five, shards=2)
    stage.start(flows.five, 1, id="run-1")
    (task,) = stage.take("tasks")
    own = partition_of("run-1", 2)
    assert task.shard == own
    result = encode(task.completed(b"2"))
    stage.put("results", 1 - own, result)
    stage.settle()
    (letter,) = stage.take("dead-letters")
    assert (letter.reason, letter.value) == ("wrong_shard", result)
    assert f"The result of run-1 belongs to shard {own}" in letter.message


def test_a_late_result_is_no_dead_letter() -> None:
    """A result of an attempt that is over, on its own shard, has no effect and leaves no letter."""
    stage = Stage(flows.five, shards=2)
    stage.start(flows.five, 1, id="run-1")
    (task,) = stage.take("tasks")
    for _ in range(2):
        stage.put("results", task.shard, encode(task.completed(b"2")))
        stage.settle()
    assert stage.take("dead-letters") == []


def test_a_deadly_start_with_an_update_reaches_no_code() -> None:
    """An input that ended processors is withheld from the code with all that it carries: the update of a start, too."""
    stage = Stage(definition("talk_account"))
    stage.start(definition("talk_account"), 5)
    start = StartWorkflow(
        workflow_id="run-1", workflow_type="talk_account", input=b"5", message_id="m", update="withdraw", handed=b"2"
    )
    stage.nodes[0].block_deadly(stage.put("commands", 0, encode(start)))
    stage.settle()
    assert (stage.described()["blocked_reason"], stage.events().count("UpdateAccepted")) == ("kills_processor", 0)
