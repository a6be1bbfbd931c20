"""Tests of runs that continue as new."""

from __future__ import annotations

import pytest

from penstock.schemas.records.replies import RunClosed
from penstock.schemas.records.run import AwaitResult, CancelWorkflow, StartWorkflow
from penstock.schemas.records.signal import SignalWorkflow
from penstock.schemas.records.update import UpdateWorkflow
from tests.engine.core.talking import definition
from tests.engine.core.test_expiry import pass_time
from tests.engine.stage import Stage


def begun(name: str, *args, **fields) -> Stage:
    """A stage with one run."""
    stage = Stage(definition(name))
    stage.start(definition(name), *args, **fields)
    return stage


def test_signals_go_along() -> None:
    """Signals that a run has not read reach the next ones in their order; those that it has read do not."""
    stage = begun("talk_summing", 2, 0)
    for n in (1, 10, 100):
        stage.signal("talk-add", n)
    stage.advance(1)
    assert (stage.described()["status"], stage.described()["result"]) == ("completed", 111)


def test_unread_signals_go_along() -> None:
    """Several signals in one turn: one is read by the run, and the next runs find the others, after an eviction too."""
    stage = begun("talk_summing", 2, 0)
    for n in (1, 10, 100):
        stage.put("commands", 0, b'{"command":"SignalWorkflow","id":"run-1","signal":"talk-add","input":%d}' % n)
    stage.settle()
    stage.restart()
    stage.advance(1)
    assert stage.described()["result"] == 111


def test_a_chain_without_a_wait_takes_one_decision_a_run() -> None:
    """Runs that continue at once each begin in a turn of their own."""
    stage = begun("talk_spinning", 3)
    assert stage.described()["status"] == "running"
    stage.advance(1)
    assert (stage.described()["status"], stage.described()["result"]) == ("completed", "done")


def test_the_history_leaves_the_store() -> None:
    """A continued run keeps no history row; the topic `events` has all of them."""
    stage = begun("talk_spinning", 3)
    first = stage.described()["run_id"]
    stage.advance(1)
    histories = {key.split(b"\x00")[1] for key, _ in stage.stores[0].scan(b"H", b"I")}
    assert histories == {stage.described()["run_id"].encode()}
    assert first != stage.described()["run_id"]
    assert len({decision.run_id for decision in stage.take("events")}) == 4


def test_the_result_follows_the_chain() -> None:
    """A caller that awaits the first run is answered once, with the end of the last one."""
    stage = Stage(definition("talk_summing"))
    first = stage.start(definition("talk_summing"), 1, 0)
    stage.tell(AwaitResult(workflow_id="run-1", run_id=first, message_id="a", reply_to=0))
    for n in (1, 2):
        stage.signal("talk-add", n)
        stage.advance(1)
    closed = [reply for reply in stage.take("replies") if isinstance(reply, RunClosed)]
    assert [(reply.message_id, reply.status, reply.result) for reply in closed] == [("a", "completed", b"3")]
    stage.tell(AwaitResult(workflow_id="run-1", run_id=first, message_id="b", reply_to=0))
    assert [reply.result for reply in stage.take("replies")] == [b"3"]


def test_an_execute_is_answered_by_the_last_run() -> None:
    """A start that awaits its result waits for the end of the chain."""
    stage = begun("talk_spinning", 2, message_id="s", reply_to=0, await_result=True)
    stage.advance(1)
    assert [(type(reply), reply.result) for reply in stage.take("replies")] == [(RunClosed, b'"done"')]


def test_commands_to_the_first_run_reach_the_current_one() -> None:
    """A command that names the chain's first run is for the chain."""
    stage = Stage(definition("talk_summing"))
    first = stage.start(definition("talk_summing"), 5, 0)
    stage.signal("talk-add", 1)
    stage.advance(1)
    stage.tell(CancelWorkflow(workflow_id="run-1", run_id=first, message_id="c"))
    assert stage.described()["status"] == "cancelled"


def test_a_message_of_an_earlier_run_is_recognised() -> None:
    """A signal that took effect in an earlier run of the chain has no effect again; a repeated start joins."""
    stage = begun("talk_summing", 1, 0, message_id="s")
    signal = SignalWorkflow(workflow_id="run-1", signal="talk-add", input=b"7", message_id="m", reply_to=0)
    for _ in range(3):
        stage.tell(signal)
        stage.advance(1)
    stage.tell(StartWorkflow(workflow_id="run-1", workflow_type="talk_summing", input=b"[1,0]", message_id="s"))
    assert stage.described()["status"] == "running"
    stage.signal("talk-add", 1)
    assert stage.described()["result"] == 8


def test_messages_of_earlier_runs_expire() -> None:
    """Nothing of a continued run is left after the time for which closed runs are kept."""
    stage = begun("talk_summing", 1, 0)
    stage.signal("talk-add", 1)
    stage.advance(1)
    first = {key for key, _ in stage.stores[0].scan(b"J", b"K")}
    pass_time(stage, 9)
    assert (len(first), list(stage.stores[0].scan(b"J", b"K"))) == (2, [])


def test_a_saga_counts_continuing_as_success() -> None:
    """Leaving a saga by continuing undoes nothing."""
    stage = begun("talk_saga", 1)
    for _ in range(2):
        stage.run(talk_double=lambda n: 2 * n)
        stage.advance(1)
    assert (stage.described()["status"], stage.described()["result"]) == ("completed", "done")


def test_a_handler_may_not_continue() -> None:
    """`continue_as_new` in a handler is an error of that handler; the run fails with a sentence."""
    stage = begun("talk_entity", 1)
    stage.signal("leave")
    assert "handler" in stage.described()["failure"]["message"]


def test_continuing_waits_for_accepted_updates() -> None:
    """A run that wants to continue first ends the updates that it accepted."""
    stage = begun("talk_entity", 1)
    run_id = stage.described()["run_id"]
    stage.tell(UpdateWorkflow(workflow_id="run-1", update="hear", input=b"4", message_id="u", reply_to=0))
    stage.signal("go_on")
    assert stage.described()["run_id"] == run_id
    stage.run(talk_double=lambda n: 2 * n)
    stage.advance(1)
    assert stage.described()["run_id"] != run_id
    stage.tell(UpdateWorkflow(workflow_id="run-1", update="hear", input=b"4", message_id="u", reply_to=0))
    assert [reply.result for reply in stage.take("replies")] == [b"8", b"8"]


@pytest.mark.parametrize("evicts", [False, True])
def test_a_chain_is_a_chain_in_its_records(evicts: bool) -> None:
    """Each start names the first run and the one before; the third run's class is built from its own input."""
    stage = begun("talk_entity", 2)
    first = stage.described()["run_id"]
    previous = [first]
    for _ in range(2):
        stage.signal("go_on")
        stage.advance(1)
        if evicts:
            stage.restart()
        started = stage.history()[0]
        assert (started["first_run_id"], started["previous_run_id"]) == (first, previous[-1])
        previous.append(stage.described()["run_id"])
    assert (started["chain_length"], started["input"]) == (2, 0)
