"""Tests of commands that come before the start of their run."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.engine.core import limits
from penstock.engine.core.keys import DUE, JOINED, KEPT, MESSAGE, after
from penstock.engine.core.machines import kept
from penstock.schemas.encoding.codec import encode
from penstock.schemas.records.run import CancelWorkflow, StartWorkflow
from penstock.schemas.records.signal import SignalWorkflow
from penstock.schemas.values.levels import LEVEL
from penstock.topics.partitioner import partition_of
from tests.engine.core import flows
from tests.engine.stage import Stage

SHARDS = 4


def _start(id: str, **fields: Any) -> StartWorkflow:
    return StartWorkflow(workflow_id=id, workflow_type="approved", message_id=f"start-{id}", **fields)


def _signal(id: str, value: Any = 7, message_id: str = "s", **fields: Any) -> SignalWorkflow:
    data = msgspec.json.encode(value)
    return SignalWorkflow(workflow_id=id, signal="price", input=data, message_id=message_id, **fields)


def _write(stage: Stage, *commands: Any, beside: int = 0) -> None:
    """Append commands, each that many partitions beside its own if it is a start."""
    for command in commands:
        partition = partition_of(command.workflow_id, stage.shards)
        if isinstance(command, StartWorkflow):
            partition = (partition + beside) % stage.shards
        stage.put("commands", partition, encode(command))
    stage.settle()


def _rows(stage: Stage, *kinds: bytes) -> list[bytes]:
    return [key for store in stage.stores for kind in kinds for key, _ in store.scan(kind, after(kind))]


def test_signals_of_200_starts_on_wrong_shards_arrive() -> None:
    """Each of 200 signals reaches its run, whose start was written to a wrong shard just before."""
    stage = Stage(flows.approved, shards=SHARDS)
    for number in range(200):
        _write(stage, _start(f"r{number}"), _signal(f"r{number}", number), beside=1 + number % 3)
    assert [stage.described(f"r{number}")["result"] for number in range(200)] == [f"paid {n}" for n in range(200)]
    assert stage.take("dead-letters") == []
    assert sum(stage.events(f"r{number}").count("CommandTaken") for number in range(200)) == 200
    assert _rows(stage, KEPT, DUE) == []


def test_a_command_is_kept_for_ten_seconds() -> None:
    """Without a start a signal is a dead letter after ten seconds, with its own bytes and place; no row stays."""
    stage = Stage(flows.approved, shards=SHARDS)
    signal = _signal("late")
    _write(stage, signal)
    stage.advance(9.9)
    assert stage.take("dead-letters") == []
    stage.advance(0.2)
    (letter,) = stage.take("dead-letters")
    assert (letter.reason, letter.value) == ("not_found", encode(signal))
    assert "the id late " in letter.message
    assert (letter.partition, letter.offset) == (partition_of("late", SHARDS), 0)
    assert _rows(stage, KEPT, DUE, MESSAGE) == []
    _write(stage, _start("late"))
    assert stage.described("late")["status"] == "running"


def test_a_kept_command_survives_a_restart() -> None:
    """A command that is kept is a row: another owner of the shard hands it to the run, and gives it up in time."""
    stage = Stage(flows.approved, shards=SHARDS)
    _write(stage, _signal("a"), _signal("b"))
    stage.restart()
    _write(stage, _start("a"), beside=1)
    assert stage.described("a")["result"] == "paid 7"
    stage.advance(10)
    (letter,) = stage.take("dead-letters")
    assert letter.reason == "not_found"


def test_a_kept_command_takes_effect_once() -> None:
    """A signal that was kept, is repeated while it is kept and again afterwards, takes effect once."""
    stage = Stage(flows.conditional, shards=SHARDS)
    start = StartWorkflow(workflow_id="c", workflow_type="conditional", message_id="start")
    _write(stage, _signal("c", 4), _signal("c", 4), start, beside=1)
    _write(stage, _signal("c", 4))
    stage.restart()
    _write(stage, _signal("c", 4))
    assert stage.events("c").count("SignalReceived") == 1
    _write(stage, _signal("c", 6, "other"))
    assert stage.described("c")["result"] == 10


def test_kept_signals_keep_their_order() -> None:
    """Signals reach the run in the order in which they came, before the one that its start hands over."""
    stage = Stage(flows.conditional, shards=SHARDS)
    start = StartWorkflow(workflow_id="c", workflow_type="conditional", message_id="start", signal="price", handed=b"4")
    _write(stage, _signal("c", 1, "x"), _signal("c", 2, "y"), _signal("c", 3, "z"), start, beside=2)
    received = [event["input"] for event in stage.history("c") if event["event"] == "SignalReceived"]
    assert received == [1, 2, 3, 4]
    assert stage.described("c")["result"] == 10
    stage.restart()
    assert stage.described("c")["result"] == 10


def test_a_request_to_stop_overtakes_its_start() -> None:
    """A request to stop that comes before the start cancels the run before its code begins."""
    stage = Stage(flows.approved, shards=SHARDS)
    cancel = CancelWorkflow(workflow_id="c", reason="no", message_id="cancel")
    _write(stage, cancel, _start("c"), beside=1)
    described = stage.described("c")
    assert (described["status"], described["reason"]) == ("cancelled", "no")
    assert "TimerStarted" not in stage.events("c")


def test_a_request_to_stop_without_a_run_leaves_nothing() -> None:
    """A request to stop that no run takes is forgotten, without a dead letter."""
    stage = Stage(flows.approved)
    _write(stage, CancelWorkflow(workflow_id="c", message_id="cancel"))
    stage.advance(10)
    assert (stage.take("dead-letters"), _rows(stage, KEPT, DUE)) == ([], [])


def test_a_sender_that_asks_for_an_answer_has_it_at_once() -> None:
    """A signal whose sender waits for an answer is refused at once."""
    stage = Stage(flows.approved)
    reply = stage.replied(_signal("c"))
    assert reply.reason == "not_found"
    assert _rows(stage, KEPT) == []


def test_an_unfit_value_is_refused_at_once() -> None:
    """A signal whose declared type does not take the value is not kept."""
    stage = Stage(flows.approved)
    _write(stage, _signal("c", "much"))
    (letter,) = stage.take("dead-letters")
    assert letter.reason == "bad_input"


@pytest.mark.parametrize("bound", ["KEPT_MAX", "KEPT_BYTES_MAX", "KEPT_COMMAND_BYTES_MAX"])
def test_kept_commands_are_bounded(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard keeps a bounded number of commands, and of bytes; others are refused at once."""
    assert getattr(limits, bound) >= 1_000
    size = len(encode(_signal("r0")))
    monkeypatch.setattr(kept, bound, {"KEPT_MAX": 3, "KEPT_BYTES_MAX": 10 * size, "KEPT_COMMAND_BYTES_MAX": 1}[bound])
    stage = Stage(flows.approved)
    for number in range(100):
        _write(stage, _signal(f"r{number}"))
    letters = stage.take("dead-letters")
    assert len(letters) + len(_rows(stage, KEPT)) == 100
    assert len(letters) >= 90
    stage.advance(10)
    _write(stage, _signal("again"))
    assert len(_rows(stage, KEPT)) == (bound != "KEPT_COMMAND_BYTES_MAX")


def test_ids_of_kept_messages_expire_with_their_run() -> None:
    """What remembers the message of a command that was kept is deleted with its run."""
    stage = Stage(flows.approved)
    for day in range(12):
        stage.advance(86_400)
        stage.signal("knock", id="elsewhere")
        if day == 1:
            _write(stage, _signal("c"), _start("c"))
            assert stage.described("c")["status"] == "completed"
            assert [key for key in _rows(stage, MESSAGE, JOINED) if b"c\x00s" in key]
    assert [key for key in _rows(stage, MESSAGE, JOINED) if key[1:2] == b"c"] == []


def test_a_start_that_waits_for_its_type_takes_commands_too() -> None:
    """A run whose type only other processors host receives the commands when its code begins."""
    stage = Stage(flows.five, shards=SHARDS)
    for node in stage.nodes:
        node.runs.hosted.note_others({"approved": 1}, LEVEL)
    _write(stage, _signal("c"), _start("c"), beside=1)
    assert stage.described("c")["status"] == "waiting"
    stage.restart(flows.approved)
    assert stage.described("c")["result"] == "paid 7"
