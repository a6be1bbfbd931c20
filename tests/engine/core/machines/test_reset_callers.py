"""Tests of updates of a run that is reset, and of callers that wait for them."""

from __future__ import annotations

import msgspec

from penstock.schemas.records.reset import ResetWorkflow
from penstock.schemas.records.update import UpdateWorkflow
from tests.engine.core import counters
from tests.engine.core.talking import definition
from tests.engine.stage import Stage


def test_every_caller_of_an_update_is_answered_after_a_reset() -> None:
    """Callers that await the end of an update stay known, those that awaited its acceptance are not answered again."""
    stage = Stage(definition("talk_account"), shards=1)
    stage.start(definition("talk_account"), 5)
    update = UpdateWorkflow(workflow_id="run-1", update="doubled", input=b"3", message_id="u", reply_to=0)
    stage.tell(msgspec.structs.replace(update, wait_for="accepted"))
    stage.tell(update)
    stage.tell(msgspec.structs.replace(update, reply_to=1))
    assert [type(reply).__name__ for reply in stage.take("replies")] == ["Accepted"]
    stage.tell(ResetWorkflow(workflow_id="run-1", to_event=1, message_id="back"))
    assert stage.take("replies") == []
    stage.run(talk_double=lambda n: 2 * n)
    assert [reply.result for reply in stage.take("replies")] == [b"11", b"11"]


def test_callers_of_an_update_of_a_closed_run_are_not_answered_again() -> None:
    """Callers that were told that the run had closed get no second answer when it is reset."""
    stage = Stage(definition("talk_account"), shards=1)
    stage.start(definition("talk_account"), 5)
    for reply_to in (0, 1):
        stage.tell(UpdateWorkflow(workflow_id="run-1", update="doubled", input=b"3", message_id="u", reply_to=reply_to))
    stage.terminate()
    assert [reply.failure.kind for reply in stage.take("replies")] == ["terminated"] * 2
    stage.tell(ResetWorkflow(workflow_id="run-1", to_event=1, message_id="back"))
    stage.run(talk_double=lambda n: 2 * n)
    assert [reply for reply in stage.take("replies") if reply.message_id == "u"] == []


def test_callers_of_an_update_before_the_cut_are_answered_once() -> None:
    """All callers of an update that is open at the cut await its end, also through two resets."""
    stage = Stage(definition("talk_account"), shards=1)
    stage.start(definition("talk_account"), 5)
    update = UpdateWorkflow(workflow_id="run-1", update="doubled", input=b"3", message_id="u", reply_to=0)
    stage.tell(update)
    stage.tell(msgspec.structs.replace(update, reply_to=1))
    for number in range(2):
        cut = stage.described()["events"]
        stage.tell(ResetWorkflow(workflow_id="run-1", to_event=cut, message_id=f"back-{number}"))
    stage.run(talk_double=lambda n: 2 * n)
    assert [reply.result for reply in stage.take("replies")] == [b"11", b"11"]


def test_callers_that_were_answered_after_the_cut_are_not_answered_again() -> None:
    """An update that was open at the cut and ended after it ends again without an answer."""
    stage = Stage(definition("talk_account"), shards=1)
    stage.start(definition("talk_account"), 5)
    stage.tell(UpdateWorkflow(workflow_id="run-1", update="doubled", input=b"3", message_id="u", reply_to=0))
    cut = stage.described()["events"]
    stage.run(talk_double=lambda n: 2 * n)
    assert [reply.result for reply in stage.take("replies")] == [b"11"]
    stage.tell(ResetWorkflow(workflow_id="run-1", to_event=cut, message_id="back"))
    assert stage.events().count("UpdateCompleted") == 1
    assert stage.take("replies") == []


def test_what_a_later_run_of_the_id_took_is_not_applied() -> None:
    """A run that is reset receives the updates and signals of its own history, not those of a run that came later."""
    stage = Stage(counters.Counter)
    base = stage.start(counters.Counter, 1)
    cut = stage.described()["events"]
    stage.update("pay", 2, message_id="of-the-base")
    stage.signal("increase", 10)
    stage.terminate()
    stage.start(counters.Counter, 100, on_existing="restart_closed")
    stage.update("pay", 3, message_id="of-the-later-run")
    stage.signal("increase", 1_000)
    stage.terminate()
    stage.tell(ResetWorkflow(workflow_id="run-1", to_event=cut, base_run_id=base, message_id="back"))
    received = [event.get("message_id") for event in stage.history() if event["event"] == "UpdateHeld"]
    assert received == ["of-the-base"]
    assert stage.query("get").result == b"11"
