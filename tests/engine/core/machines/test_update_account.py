"""Tests of updates: admitted, accepted or rejected, and answered once."""

from __future__ import annotations

import msgspec
import pytest

from penstock.engine.authoring.handlers import Query, Update
from penstock.engine.authoring.waiting import sleep
from penstock.engine.authoring.workflow import workflow
from penstock.schemas.records.replies import Accepted, Rejected, UpdateClosed
from penstock.schemas.records.run import CancelWorkflow, StartWorkflow
from penstock.schemas.records.update import UpdateWorkflow
from tests.engine.core.talking import definition
from tests.engine.stage import Stage


def send(stage: Stage, update: str, value: object = None, *, id: str = "u1", **fields):
    """The replies to an update of run-1."""
    stage.take("replies")
    stage.tell(
        UpdateWorkflow(
            workflow_id="run-1",
            update=update,
            input=msgspec.json.encode(value),
            message_id=id,
            reply_to=fields.pop("reply_to", 0),
            **fields,
        )
    )
    return stage.take("replies")


def account(balance: int = 5) -> Stage:
    """A stage with an account."""
    stage = Stage(definition("talk_account"))
    stage.start(definition("talk_account"), balance)
    return stage


def test_an_update_returns_its_result() -> None:
    """A sync handler completes in the decision that accepts it; the caller gets the result alone."""
    stage = account()
    [reply] = send(stage, "withdraw", 2)
    assert (type(reply), reply.result, reply.failure) == (UpdateClosed, b"3", None)
    assert stage.events()[-2:] == ["UpdateAccepted", "UpdateCompleted"]


def test_an_update_may_await_activities() -> None:
    """The caller is answered when the handler has ended, decisions later."""
    stage = account()
    assert send(stage, "doubled", 3) == []
    stage.run(talk_double=lambda n: 2 * n)
    [reply] = stage.take("replies")
    assert reply.result == b"11"


def test_acceptance_is_answered_before_the_end() -> None:
    """A caller that waits for acceptance is answered at once, and not again."""
    stage = account()
    [reply] = send(stage, "doubled", 3, wait_for="accepted")
    stage.run(talk_double=lambda n: 2 * n)
    assert (type(reply), stage.take("replies")) == (Accepted, [])


def test_a_rejected_update_leaves_no_history() -> None:
    """A validator that raises rejects: nothing is recorded, and the same id is judged anew."""
    stage = account()
    before = stage.history()
    [refusal] = send(stage, "withdraw", 9)
    assert (type(refusal), refusal.reason, refusal.message) == (Rejected, "update_rejected", "not enough")
    assert stage.history() == before
    stage.signal("deposit", 9)
    assert send(stage, "withdraw", 9)[0].result == b"5"


def test_a_validator_may_only_read() -> None:
    """A validator that uses what would change the run rejects, and the run is as it was."""
    stage = account()
    [refusal] = send(stage, "touching")
    assert (refusal.reason, "may only read" in refusal.message) == ("update_rejected", True)
    assert send(stage, "withdraw", 1, id="u2")[0].result == b"4"


def test_a_repeated_update_happens_once() -> None:
    """The same id again gets the stored outcome, from another caller too, and after the run has closed."""
    stage = account()
    send(stage, "withdraw", 2)
    assert send(stage, "withdraw", 2, reply_to=0)[0].result == b"3"
    stage.signal("close")
    stage.restart()
    assert (send(stage, "withdraw", 2)[0].result, stage.described()["result"]) == (b"3", 3)


@pytest.mark.parametrize("waits_again", ["accepted", "completed"])
def test_every_caller_of_a_held_update_is_answered(waits_again: str) -> None:
    """Callers on several partitions of `replies` that ask under one id are all answered, each with what it awaits."""
    stage = named()
    assert send(stage, "talk-rename", "bob", reply_to=0) == []
    assert send(stage, "talk-rename", "bob", reply_to=1, wait_for=waits_again) == []
    assert send(stage, "talk-rename", "bob", reply_to=2) == []
    stage.advance(10)
    answered = [type(reply).__name__ for reply in stage.take("replies")]
    ended = ["UpdateClosed"] * (2 if waits_again == "accepted" else 3)
    assert sorted(answered) == sorted([*ended, *(["Accepted"] if waits_again == "accepted" else [])])


def test_every_caller_of_a_running_update_is_answered() -> None:
    """Callers that ask while an update runs are answered at its end beside the first one."""
    stage = Stage(definition("talk_account"), shards=1)
    stage.start(definition("talk_account"), 5)
    assert send(stage, "doubled", 3, reply_to=0) == []
    assert send(stage, "doubled", 3, reply_to=1) == []
    stage.restart()
    stage.run(talk_double=lambda n: 2 * n)
    assert [reply.result for reply in stage.take("replies")] == [b"11", b"11"]


def test_a_caller_that_asks_again_is_answered_at_the_end() -> None:
    """A repetition of an update that still runs waits for its end, where the first caller waited for acceptance."""
    stage = Stage(definition("talk_account"), shards=1)
    stage.start(definition("talk_account"), 5)
    send(stage, "doubled", 3, wait_for="accepted")
    assert send(stage, "doubled", 3) == []
    stage.run(talk_double=lambda n: 2 * n)
    assert [reply.result for reply in stage.take("replies")] == [b"11"]


def test_an_evicted_run_applies_an_update_once() -> None:
    """A run that is rebuilt between acceptance and completion neither validates nor accepts again."""
    stage = account()
    send(stage, "doubled", 3)
    stage.restart()
    stage.run(talk_double=lambda n: 2 * n)
    assert ([reply.result for reply in stage.take("replies")], stage.events().count("UpdateAccepted")) == ([b"11"], 1)


def test_an_error_of_the_handler_fails_the_update_alone() -> None:
    """An exception of the handler's own is the update's failure; the run goes on."""
    stage = account()
    [reply] = send(stage, "lose")
    assert (reply.failure.message, stage.described()["status"]) == ("lost", "running")


def test_a_bug_in_a_handler_blocks_the_run() -> None:
    """An error that stands for a bug blocks the run before the update counts; a BLOCKED run rejects updates."""
    stage = account()
    assert send(stage, "bug") == []
    assert stage.described()["blocked_reason"] == "code_error"
    [refusal] = send(stage, "withdraw", 1, id="u2")
    assert refusal.reason == "blocked"


def test_an_unknown_update_lists_the_known_ones() -> None:
    """A class takes the updates that it declares, and no others."""
    [refusal] = send(account(), "withdarw", 1)
    assert (refusal.reason, "it has: withdraw, " in refusal.message) == ("unknown_update", True)


def test_an_argument_that_does_not_fit_is_refused() -> None:
    """A value of the wrong type is refused before the validator."""
    [refusal] = send(account(), "withdraw", "many")
    assert refusal.reason == "bad_input"


def test_an_open_update_fails_with_its_run() -> None:
    """The caller of an update that has not completed when its run is terminated gets a failure that says so."""
    stage = account()
    send(stage, "doubled", 3)
    stage.terminate()
    failures = [reply.failure for reply in stage.take("replies") if isinstance(reply, UpdateClosed)]
    assert [failure.kind for failure in failures] == ["terminated"]


def test_a_run_closes_after_its_handlers() -> None:
    """A run whose main function has returned stays open until the handlers that began have ended."""
    stage = account()
    send(stage, "doubled", 3)
    stage.signal("close")
    before = stage.described()["status"]
    stage.run(talk_double=lambda n: 2 * n)
    assert (before, stage.described()["status"], stage.described()["result"]) == ("running", "completed", 5)


def test_a_run_may_abandon_its_handlers() -> None:
    """With `unfinished_handlers="abandon"` the run closes at once, and the update fails."""
    stage = Stage(definition("talk_hasty"))
    stage.start(definition("talk_hasty"))
    send(stage, "slow")
    stage.signal("close")
    [reply] = stage.take("replies")
    assert (stage.described()["status"], reply.failure.kind) == ("completed", "completed")


def test_a_cancelled_run_cancels_its_handlers() -> None:
    """Cancellation reaches handlers that wait; the update's caller is told, and the run closes."""
    stage = account()
    send(stage, "doubled", 3)
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="c"))
    replies = [reply for reply in stage.take("replies") if isinstance(reply, UpdateClosed)]
    assert (stage.described()["status"], len(replies), replies[0].failure is not None) == ("cancelled", 1, True)


def named() -> Stage:
    """A stage with a run that takes its update after ten seconds."""
    stage = Stage(definition("talk_named"))
    stage.start(definition("talk_named"), "ann")
    return stage


@pytest.mark.parametrize("restarts", [False, True])
def test_an_update_is_held_for_its_handler(restarts: bool) -> None:
    """An update that comes before the code answers it is held, and taken when it does, also by a rebuilt run."""
    stage = named()
    assert send(stage, "talk-rename", "bob") == []
    if restarts:
        stage.restart()
    stage.advance(10)
    assert [reply.result for reply in stage.take("replies")] == [b'"was ann"']


def test_a_held_update_is_rejected_by_its_validator() -> None:
    """The validator judges a held update when its handler is there."""
    stage = named()
    send(stage, "talk-rename", "")
    stage.advance(10)
    [refusal] = stage.take("replies")
    assert (refusal.reason, refusal.message) == ("update_rejected", "a name is not empty")
    assert send(stage, "talk-rename", "")[0].reason == "update_rejected"


def test_a_held_update_expires_with_its_caller() -> None:
    """An update is not taken after its caller has given up."""
    stage = named()
    send(stage, "talk-rename", "bob", timeout_ms=5_000)
    stage.advance(10)
    assert [reply.reason for reply in stage.take("replies")] == ["update_rejected"]
    assert stage.described()["status"] == "running"


def test_a_held_update_is_answered_when_it_is_taken() -> None:
    """A caller that waits for acceptance alone is answered when the handler takes the update, and not again."""
    stage = named()
    assert send(stage, "talk-rename", "bob", wait_for="accepted") == []
    stage.advance(10)
    assert [type(reply) for reply in stage.take("replies")] == [Accepted]


def test_a_registration_ends() -> None:
    """After the block of `answer` the update is held again, and its caller is told when the run closes."""
    stage = named()
    stage.advance(10)
    send(stage, "talk-rename", "bob")
    assert send(stage, "talk-rename", "eve", id="u2") == []
    stage.advance(10)
    closed = [reply for reply in stage.take("replies") if isinstance(reply, UpdateClosed)]
    assert [reply.failure.kind for reply in closed] == ["completed"]


@workflow(name="account-nested")
async def nested() -> None:
    """Answer otherwise for a while."""
    name = Update("account-name", returns=str)
    stage = Query("account-stage", str)
    async with name.answer(lambda: "outer"), stage.answer(lambda: "outside"):
        await sleep(10)
        async with name.answer(lambda: "inner"), stage.answer(lambda: "inside"):
            await sleep(10)
        await sleep(10)


def test_the_end_of_a_registration_gives_the_name_back() -> None:
    """After a block within the block of another handler of that name, the outer one answers again."""
    stage = Stage(nested)
    stage.start(nested)
    answers = []
    for at in range(3):
        answers += [send(stage, "account-name", id=f"u{at}")[0].result, stage.query("account-stage").result]
        stage.restart()
        stage.advance(10)
    assert answers == [b'"outer"', b'"outside"', b'"inner"', b'"inside"', b'"outer"', b'"outside"']


def test_handlers_run_first_in_first_out_before_the_code_goes_on() -> None:
    """Signals that come with the start reach their handlers after `__init__` and before `run`."""
    stage = Stage(definition("talk_account"))
    stage.tell(
        StartWorkflow(
            workflow_id="run-1",
            workflow_type="talk_account",
            input=b"1",
            message_id="s",
            signal="deposit",
            handed=b"2",
        )
    )
    stage.restart()
    program = stage.nodes[0].runs.get("run-1").execution()
    assert program.answer("told", b"null") == b'["init","deposit 2","run"]'


def test_an_update_with_a_start_happens_once() -> None:
    """A start that hands an update over starts the run and answers with the update's outcome, also when repeated."""
    stage = Stage(definition("talk_account"))
    command = StartWorkflow(
        workflow_id="run-1",
        workflow_type="talk_account",
        input=b"9",
        message_id="s",
        reply_to=0,
        update="withdraw",
        handed=b"4",
        await_result=True,
        on_existing="reject",
    )
    for _ in range(2):
        stage.tell(command)
    assert [reply.result for reply in stage.take("replies")] == [b"5", b"5"]
    assert stage.events().count("UpdateAccepted") == 1


def test_a_signal_handler_that_fails_fails_the_run() -> None:
    """What a signal's handler raises on purpose is the run's failure."""
    stage = account()
    stage.signal("refuse")
    assert (stage.described()["status"], stage.described()["failure"]["message"]) == ("failed", "refused")
