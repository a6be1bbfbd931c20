"""Tests of updates: accepted, rejected, held, ended; each takes effect once by its id."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from penstock.engine.authoring.definition import registered_workflows
from penstock.engine.core.keys import UPDATE, after
from penstock.engine.core.limits import UPDATES_MAX
from penstock.schemas.encoding.codec import encode
from penstock.schemas.records.replies import Accepted, UpdateClosed
from penstock.schemas.records.run import CancelWorkflow, TerminateWorkflow, UnblockWorkflow
from penstock.schemas.records.update import UpdateWorkflow
from tests.engine.core.counters import Counter, Impatient, opened, slow_words, words
from tests.engine.stage import Stage


def _begun(number: int = 1, **fields: int) -> Stage:
    stage = Stage(Counter)
    stage.start(Counter, number, **fields)
    return stage


def _words() -> Stage:
    stage = Stage(words)
    stage.start(words)
    return stage


def _rows(stage: Stage) -> int:
    return len(list(stage.stores[0].scan(UPDATE, after(UPDATE))))


def test_an_update_that_ends_at_once() -> None:
    """A handler that awaits nothing is answered in the decision that accepts it."""
    stage = _begun(4)
    closed = stage.update("set_to", 7)
    assert isinstance(closed, UpdateClosed)
    assert closed.result == b"4"
    assert stage.events()[1:] == ["UpdateAccepted", "UpdateCompleted"]
    assert stage.query("get").result == b"7"


def test_an_update_may_await_activities() -> None:
    """The caller that waits for the end is answered when the handler's activity has ended."""
    stage = _begun(4)
    assert stage.update("pay", 5) is None
    stage.run(**{"counters-priced": lambda amount: amount * 10})
    (closed,) = stage.take("replies")
    assert closed.result == b"54"


def test_the_caller_may_wait_for_acceptance_alone() -> None:
    """`wait_for=accepted` is answered at once; a repetition that waits for the end is answered with the result."""
    stage = _begun(4)
    assert isinstance(stage.update("pay", 5, message_id="u", wait_for="accepted"), Accepted)
    assert stage.update("pay", 5, message_id="u") is None
    stage.run(**{"counters-priced": lambda amount: amount})
    (closed,) = stage.take("replies")
    assert (closed.message_id, closed.result) == ("u", b"9")
    assert stage.events().count("UpdateAccepted") == 1


def test_a_rejected_update_leaves_no_history() -> None:
    """What the validator raises rejects: no event, no row, the state as before; its id is judged anew."""
    stage = _begun(4)
    events = stage.events()
    refused = stage.update("set_to", 13, message_id="u")
    assert (refused.reason, refused.message) == ("update_rejected", "not 13")
    assert (stage.events(), _rows(stage)) == (events, 0)
    assert stage.query("get").result == b"4"
    assert stage.update("set_to", 12, message_id="u").result == b"4"


def test_a_validator_only_reads() -> None:
    """A request of a validator rejects the update with what it must not do, and leaves the run as it was."""
    stage = _begun(4)
    refused = stage.update("set_to", 14)
    assert refused.reason == "update_rejected"
    assert "the validator of set_to may only read" in refused.message
    stage.advance(10)
    assert stage.events() == ["WorkflowStarted"]


def test_a_failed_update_is_answered_with_its_error() -> None:
    """An exception of the handler is the update's failure; the run goes on."""
    stage = _begun()
    closed = stage.update("raises")
    assert closed.failure.message == "failed on purpose"
    assert stage.events()[-1] == "UpdateFailed"
    assert stage.described()["status"] == "running"


@pytest.mark.parametrize("interrupt", ["nothing", "evicted", "discarded"])
def test_an_update_takes_effect_once(interrupt: str) -> None:
    """A repeated command is answered with the stored outcome, also when the processor dies before it had answered."""
    stage = _begun(0)
    command = UpdateWorkflow(workflow_id="run-1", update="pay", input=b"5", message_id="u", reply_to=0)
    if interrupt == "discarded":  # the layer is decided, and never commits
        record = stage.put("commands", 0, encode(command))
        stage._inbox.clear()
        stage.nodes[0].decide([record], stage.now_ms)
        stage.nodes[0].discard()
        stage._decide(stage.nodes[0], [record])
    else:
        stage.tell(command)
    if interrupt == "evicted":
        stage.restart()
    stage.tell(command)
    assert [task.activity for task in stage.take("tasks")] == ["counters-priced"]
    (task,) = stage.described()["pending_activities"]
    assert task["attempt"] == 1
    assert stage.events().count("UpdateAccepted") == 1


def test_an_update_survives_the_death_between_acceptance_and_answer() -> None:
    """Accepted, and then the processor ends: another one completes it once, without its validator."""
    stage = _begun(0)
    stage.update("pay", 5, message_id="u")
    (task,) = stage.take("tasks")
    stage.restart()
    stage.complete(task, 50)
    assert [reply.result for reply in stage.take("replies")] == [b"50"]
    stage.restart()
    assert stage.update("pay", 5, message_id="u").result == b"50"
    assert stage.query("get").result == b"50"


def test_replay_does_not_validate_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A validator that has become stricter does not concern an update that was accepted before."""
    stage = _begun(0)
    stage.update("set_to", 7, message_id="u")
    methods = {method.name: method for method in registered_workflows()["counters-counter"].methods}  # type: ignore[attr-defined]

    def refuse(counter: Any, number: int) -> None:
        raise ValueError("never again")

    monkeypatch.setattr(methods["set_to"], "check", refuse)
    stage.restart()
    assert stage.query("get").result == b"7"
    assert stage.update("set_to", 7, message_id="u").result == b"0"
    assert stage.update("set_to", 8).message == "never again"


def test_one_id_names_one_update() -> None:
    """The id of an update is refused for another one: its outcome would be another's."""
    stage = _begun(0)
    stage.update("set_to", 7, message_id="u")
    refused = stage.update("finish", message_id="u")
    assert (refused.reason, stage.described()["status"]) == ("bad_input", "running")
    assert refused.message == "The id u is that of the update set_to; give this one an id of its own."


def test_an_unknown_update_lists_the_known_ones() -> None:
    """A class has all its updates from the beginning: another name is refused with theirs."""
    refused = _begun().update("set")
    assert refused.reason == "unknown_update"
    assert refused.message.startswith("The run has no update called 'set'; it has: set_to, ")


def test_arguments_that_do_not_fit_are_refused() -> None:
    """Arguments that the handler does not take are refused before anything is recorded."""
    stage = _begun()
    assert stage.update("set_to", "much").reason == "bad_input"
    assert stage.events() == ["WorkflowStarted"]


def test_an_update_is_held_until_its_handler_is_registered() -> None:
    """Updates before `answer` are held in their order; the validator judges them then, and callers are answered."""
    stage = _words()
    for message_id, value in (("a", "one"), ("b", ""), ("c", "two")):
        assert stage.update("counters-add", value, message_id=message_id) is None
    stage.restart()
    stage.signal(opened.name)
    replies = {reply.message_id: reply for reply in stage.take("replies")}
    assert (replies["a"].result, replies["c"].result) == (b"1", b"2")
    assert (replies["b"].reason, replies["b"].message) == ("update_rejected", "say something")


def test_a_held_update_that_is_too_old_is_rejected() -> None:
    """A held update whose caller gave up before the handler came is rejected, and not executed."""
    stage = _words()
    stage.update("counters-add", "late", timeout_ms=5_000, message_id="a")
    stage.update("counters-add", "in time", timeout_ms=600_000, message_id="b")
    stage.advance(60)
    stage.signal(opened.name)
    late, in_time = stage.take("replies")
    assert late.message == "its caller had given up before the run had a handler for it"
    assert in_time.result == b"1"
    assert stage.query("counters-shown").result == b'["in time"]'


def test_a_held_update_is_answered_at_each_moment_that_was_asked_for() -> None:
    """One caller waits for the acceptance of a held update, and afterwards for its end: both are answered."""
    stage = _words()
    assert stage.update("counters-add", "one", message_id="a", wait_for="accepted") is None
    stage.signal(opened.name)
    assert isinstance(stage.take("replies")[0], Accepted)
    assert stage.update("counters-add", "one", message_id="a").result == b"1"


@pytest.mark.parametrize("asks_while", ["held", "accepted"])
def test_a_caller_of_acceptance_may_wait_for_the_end(asks_while: str) -> None:
    """A second command under the id that waits for the end is answered with it, from the same client too."""
    stage = Stage(slow_words)
    stage.start(slow_words)
    stage.update("counters-slow", message_id="a", wait_for="accepted")
    if asks_while == "accepted":
        stage.signal(opened.name)
        stage.take("replies")
    assert stage.update("counters-slow", message_id="a") is None
    if asks_while == "held":
        stage.signal(opened.name)
    stage.advance(10)
    closed = stage.take("replies")[-1]
    assert (closed.message_id, closed.result) == ("a", b'"slow"')


@pytest.mark.parametrize("held", [True, False])
def test_an_open_update_of_a_run_that_closes(held: bool) -> None:
    """The caller of an update that is open when its run closes gets an error, and a repetition the same one."""
    stage = _words() if held else _begun()
    name = "counters-add" if held else "pay"
    assert stage.update(name, "x" if held else 1, message_id="u") is None
    stage.tell(TerminateWorkflow(workflow_id="run-1", message_id="t"))
    (closed,) = stage.take("replies")
    assert closed.failure.message == "the run terminated before the update had completed"
    assert stage.update(name, "x" if held else 1, message_id="u").failure == closed.failure


def test_an_update_that_was_held_to_the_end_is_not_called_accepted() -> None:
    """A repetition that waits for acceptance is answered with the end of an update that its closing run still held."""
    stage = _words()
    assert stage.update("counters-add", "x", message_id="u", wait_for="accepted") is None
    stage.tell(TerminateWorkflow(workflow_id="run-1", message_id="t"))
    (closed,) = stage.take("replies")
    assert stage.update("counters-add", "x", message_id="u", wait_for="accepted") == closed


def test_the_same_id_after_the_close_gives_the_outcome() -> None:
    """A closed run answers the id of an update with its stored outcome, and refuses a new one."""
    stage = _begun(3)
    stage.update("set_to", 5, message_id="u")
    stage.update("finish")
    assert stage.update("set_to", 5, message_id="u").result == b"3"
    assert stage.update("set_to", 6, message_id="other").reason == "already_closed"


def test_a_blocked_run_rejects_updates() -> None:
    """A BLOCKED run takes no update: the refusal says why."""
    stage = _begun()
    stage.update("has_a_bug", message_id="bug")
    refused = stage.update("set_to", 1)
    assert refused.reason == "blocked"
    assert "no_such_attribute" in refused.message


@pytest.mark.parametrize("delay_ms", [0, 60_000])
def test_a_bug_in_a_handler_blocks_the_run(delay_ms: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in a handler blocks the run, also before the run began; mended code completes the update."""
    stage = _begun(3, start_delay_ms=delay_ms)
    assert stage.update("has_a_bug", message_id="u") is None
    described = stage.described()
    assert (described["status"], described["blocked_reason"]) == ("blocked", "code_error")
    monkeypatch.setattr(Counter, "no_such_attribute", 8, raising=False)
    stage.tell(UnblockWorkflow(workflow_id="run-1", message_id="r"))
    assert [reply.result for reply in stage.take("replies") if isinstance(reply, UpdateClosed)] == [b"8"]
    stage.advance(120)
    stage.update("finish")
    assert stage.described()["status"] == "completed"


def test_changed_arguments_of_a_recorded_update_block_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that cannot take a recorded update any more is a change of code, which blocks the run with that reason."""
    stage = _begun(3)
    stage.update("set_to", 5)
    methods = {method.name: method for method in registered_workflows()["counters-counter"].methods}  # type: ignore[attr-defined]
    monkeypatch.setattr(methods["set_to"], "signature", methods["raises"].signature)
    stage.restart()
    stage.signal("increase", 1)
    described = stage.described()
    assert described["blocked_reason"] == "non_determinism"
    assert "cannot take the recorded input of the update set_to" in described["blocked_message"]


def test_handlers_begin_in_the_order_of_inputs_before_run_goes_on() -> None:
    """Inputs that reach the code at once begin their handlers first in, first out; `run` continues after them."""
    stage = _begun(1, start_delay_ms=1_000)
    for amount in (1, 2, 3):
        stage.update("pay", amount, wait_for="accepted")
    stage.advance(2)
    assert stage.query("log").result == b'["pay 1","pay 2","pay 3","run saw 1"]'


def test_inputs_of_a_blocked_run_reach_handlers_before_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """All handlers of what came while a run was BLOCKED have run before its main function returns."""
    stage = _begun(1)
    stage.update("has_a_bug")
    stage.signal("close")
    for by in (10, 100):
        stage.signal("increase", by)
    monkeypatch.setattr(Counter, "no_such_attribute", 8, raising=False)
    stage.tell(UnblockWorkflow(workflow_id="run-1", message_id="r"))
    assert stage.described()["result"] == 111


def test_closing_waits_for_handlers() -> None:
    """A run closes when the handlers that began have ended, and returns what it had by then."""
    stage = _begun(1)
    stage.update("pay", 5)
    stage.signal("close")
    assert stage.described()["status"] == "running"
    stage.run(**{"counters-priced": lambda amount: amount})
    assert stage.described()["status"] == "completed"
    assert stage.events()[-2:] == ["UpdateCompleted", "WorkflowCompleted"]


def test_unfinished_handlers_may_be_abandoned() -> None:
    """With `unfinished_handlers="abandon"` the run closes at once, and the update's caller gets an error."""
    stage = Stage(Impatient)
    stage.start(Impatient)
    stage.update("slow")
    stage.signal("close")
    assert stage.described()["status"] == "completed"
    (closed,) = stage.take("replies")
    assert closed.failure.message == "the run completed before the update had completed"


def test_cancelling_a_run_cancels_its_handlers() -> None:
    """A cancellation reaches handlers too: the update fails, and the run is cancelled."""
    stage = _begun(1)
    stage.update("pay", 5)
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="c"))
    (closed,) = stage.take("replies")
    assert closed.failure.type.endswith("CancelledError")
    assert stage.described()["status"] == "cancelled"


def test_a_handler_cannot_continue_as_new() -> None:
    """`continue_as_new` in a handler fails the update; the run goes on."""
    stage = _begun(1)
    closed = stage.update("continues")
    assert "works only in the workflow itself" in closed.failure.message
    assert stage.described()["status"] == "running"


def test_too_many_open_updates_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run takes a bounded number of updates that have not ended."""
    monkeypatch.setattr("penstock.engine.core.machines.update.UPDATES_MAX", 2)
    stage = _begun(1)
    assert UPDATES_MAX == 1_000
    assert [stage.update("pay", 1) for _ in range(2)] == [None, None]
    refused = stage.update("pay", 1)
    assert (refused.reason, refused.message) == (
        "too_many",
        "run-1 has 2 updates that have not ended; send it again later.",
    )


@pytest.mark.parametrize("act", [lambda stage: stage.update("set_to", 4, message_id="u"), lambda stage: None])
def test_rows_of_updates_expire_with_their_run(act: Callable[[Stage], object]) -> None:
    """When a closed run expires, no row of its updates is left."""
    stage = Stage(Counter, closed_kept_ms=86_400_000)
    stage.start(Counter, 1)
    act(stage)
    stage.signal("close")
    for _ in range(100):
        stage.advance(3_600)
        stage.tell(CancelWorkflow(workflow_id="other", message_id="m"))
    assert [key for key, _ in stage.stores[0].scan(b"\x01", b"\xff") if b"run-1" in key] == []
