"""Tests of message ids: one id is one message of one kind, with one name and one value, within its workflow id."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.schemas.records.kinds import Command
from penstock.schemas.records.replies import Accepted, Rejected, RunClosed, UpdateClosed
from penstock.schemas.records.run import CancelWorkflow, StartWorkflow, TerminateWorkflow, UnblockWorkflow
from penstock.schemas.records.signal import SignalWorkflow
from penstock.schemas.records.update import UpdateWorkflow
from tests.engine.core.counters import Counter, opened, word, words
from tests.engine.stage import Stage


def _signal(name: str = "increase", value: bytes = b"5") -> SignalWorkflow:
    return SignalWorkflow(workflow_id="run-1", signal=name, input=value, message_id="x")


def _update(name: str = "set_to", value: bytes = b"5") -> UpdateWorkflow:
    return UpdateWorkflow(workflow_id="run-1", update=name, input=value, message_id="x")


def _begun() -> Stage:
    stage = Stage(Counter)
    stage.start(Counter, 1)
    return stage


OTHERS = {
    "a signal of another name": (_signal(), _signal("close", b"null")),
    "a signal with another value": (_signal(), _signal(value=b"6")),
    "an update under a signal's id": (_signal(), _update()),
    "a signal under an update's id": (_update(), _signal()),
    "an update of another name": (_update(), _update("pay")),
    "an update with other arguments": (_update(), _update(value=b"6")),
    "a cancellation under a signal's id": (_signal(), CancelWorkflow(workflow_id="run-1", message_id="x")),
    "a termination under an update's id": (_update(), TerminateWorkflow(workflow_id="run-1", message_id="x")),
    "an unblocking under a signal's id": (_signal(), UnblockWorkflow(workflow_id="run-1", message_id="x")),
    "a start under a signal's id": (
        _signal(),
        StartWorkflow(workflow_id="run-1", workflow_type="counters-counter", input=b"1", message_id="x"),
    ),
}


@pytest.mark.parametrize("closes", [False, True])
@pytest.mark.parametrize("case", OTHERS)
def test_another_message_under_a_known_id_is_refused(case: str, closes: bool) -> None:
    """Another message under the id of one that took effect is refused with its kind, has no effect and no answer of
    the first one; so too after the run has closed."""
    first, other = OTHERS[case]
    stage = _begun()
    stage.replied(first)
    if closes:
        stage.signal("close")
    before = stage.events()
    refused = stage.replied(other)
    assert (type(refused), refused.reason) == (Rejected, "bad_input")
    assert "give this one an id of its own" in refused.message
    assert stage.events() == before
    assert not isinstance(stage.replied(first), Rejected)
    stage.nodes[0].close()


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (_signal("close", b"null"), _signal("close", b"")),
        (_update(value=b"5"), _update(value=b" 5 ")),
    ],
)
def test_the_same_value_written_otherwise_is_the_same_message(first: Command, again: Command) -> None:
    """Spaces, the order of keys and an empty value for null make no other message."""
    stage = _begun()
    replies = [stage.replied(first), stage.replied(again)]
    assert isinstance(replies[1], type(replies[0]))
    assert not isinstance(replies[1], Rejected)


def _words() -> Stage:
    stage = Stage(words)
    stage.start(words)
    stage.signal(opened.name)
    return stage


def test_an_id_is_known_in_the_whole_chain() -> None:
    """A signal and an update of an earlier run of the chain keep their ids: others under them are refused."""
    stage = _words()
    update = UpdateWorkflow(workflow_id="run-1", update="counters-add", input=b'"a"', message_id="u")
    signal = SignalWorkflow(workflow_id="run-1", signal=word.name, input=b'"b"', message_id="s")
    stage.replied(update), stage.replied(signal)
    stage.signal(word.name, "stop")
    stage.advance(1)
    assert stage.history()[0]["chain_length"] == 1
    assert (stage.replied(update).result, type(stage.replied(signal))) == (b"1", Accepted)
    for other in (
        UpdateWorkflow(workflow_id="run-1", update="counters-add", input=b'"c"', message_id="u"),
        SignalWorkflow(workflow_id="run-1", signal=word.name, input=b'"c"', message_id="s"),
    ):
        assert stage.replied(other).reason == "bad_input"
    assert stage.query("counters-shown").result == b'["a","b"]'
    stage.nodes[0].close()


def test_what_continues_a_run_keeps_its_id_beside_unread_signals() -> None:
    """The message that let a run continue is still the one that it was, when signals that were not read go along."""
    stage = _words()
    batch = [
        b'{"command":"SignalWorkflow","id":"run-1","signal":"counters-word","input":"stop","message_id":"x"}',
        b'{"command":"SignalWorkflow","id":"run-1","signal":"counters-word","input":"unread","message_id":"y"}',
    ]
    stage.restart()
    for data in batch:
        stage.put("commands", 0, data)
    stage.settle()
    stage.advance(1)
    for message_id, said in (("x", b'"stop"'), ("y", b'"unread"')):
        command = SignalWorkflow(workflow_id="run-1", signal=word.name, input=said, message_id=message_id)
        assert isinstance(stage.replied(command), Accepted)
    assert stage.history()[0]["chain_length"] == 1
    stage.signal(opened.name)
    assert stage.query("counters-shown").result == b'["unread"]'
    stage.nodes[0].close()


def _update_with_start(value: bytes = b"7", **fields: Any) -> StartWorkflow:
    return StartWorkflow(
        workflow_id="run-1", workflow_type="counters-counter", input=b"[1,false]", message_id="x",
        on_existing="restart_closed", await_result=True, update="set_to", handed=value, **fields,
    )  # fmt: skip


@pytest.mark.parametrize("exists", [False, True])
def test_a_repeated_update_with_start_starts_nothing_once_its_run_has_closed(exists: bool) -> None:
    """Sent again after the run has closed it gets the stored outcome, whether it started the run or joined it."""
    stage = Stage(Counter)
    if exists:
        stage.start(Counter, 1)
    first = stage.replied(_update_with_start())
    stage.signal("close")
    run_id = stage.described()["run_id"]
    again = stage.replied(_update_with_start())
    assert (type(first), first.result) == (UpdateClosed, b"1") == (type(again), again.result)
    assert (stage.described()["run_id"], stage.described()["status"]) == (run_id, "completed")


@pytest.mark.parametrize("exists", [False, True])
def test_a_repeated_update_with_start_hands_over_the_same_update(exists: bool) -> None:
    """With other arguments under the same message id it is refused, not answered with the outcome of the first."""
    stage = Stage(Counter)
    if exists:
        stage.start(Counter, 1)
    stage.replied(_update_with_start())
    refused = stage.replied(_update_with_start(b"8"))
    assert (type(refused), refused.reason) == (Rejected, "bad_input")
    assert stage.query("get").result == b"7"
    stage.nodes[0].close()


def test_a_repeated_execute_that_joined_starts_nothing_once_the_run_has_closed() -> None:
    """A start that awaits the run it joined is answered with that run's end when it is sent again after the end."""
    stage = _begun()
    execute = StartWorkflow(
        workflow_id="run-1", workflow_type="counters-counter", input=b"[1,false]", message_id="x",
        on_existing="restart_closed", await_result=True,
    )  # fmt: skip
    assert stage.replied(execute) is None
    stage.signal("close")
    run_id = stage.described()["run_id"]
    closed = stage.replied(execute)
    assert (type(closed), closed.result, closed.run_id) == (RunClosed, b"1", run_id)
    assert stage.described()["run_id"] == run_id
