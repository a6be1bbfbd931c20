"""Tests of queries: they answer from what is decided, and leave nothing behind."""

from __future__ import annotations

import msgspec
import pytest

from penstock.schemas.records.query import QueryWorkflow
from penstock.schemas.records.replies import QueryAnswered, Rejected
from tests.engine.core.talking import definition
from tests.engine.stage import Stage


def ask(stage: Stage, query: str, value: object = None, **fields):
    """The reply to a query of run-1."""
    stage.take("replies")
    stage.tell(
        QueryWorkflow(
            workflow_id=fields.pop("id", "run-1"),
            query=query,
            input=msgspec.json.encode(value),
            message_id=stage.message_id(),
            reply_to=0,
            **fields,
        )
    )
    return stage.take("replies")


def account(balance: int = 5, **options) -> Stage:
    """A stage with an account."""
    stage = Stage(definition("talk_account"), **options)
    stage.start(definition("talk_account"), balance)
    return stage


def test_a_query_is_answered_from_what_the_signals_before_it_did() -> None:
    """A query sees the effect of every input that was decided before it."""
    stage = account()
    stage.signal("deposit", 3)
    [answer] = ask(stage, "read")
    assert (type(answer), answer.result) == (QueryAnswered, b"8")


def test_a_query_has_arguments() -> None:
    """Arguments are decoded by the handler's annotations."""
    assert [ask(account(), "over", limit)[0].result for limit in (4, 5)] == [b"true", b"false"]


def test_a_query_leaves_no_record() -> None:
    """No event, no row, no remembered message, no change of the history comes from a query."""
    stage = account()
    rows, events = dict(stage.stores[0].scan(b"", b"\xff")), stage.take("events")
    ask(stage, "read")
    changed = {
        key for key, value in stage.stores[0].scan(b"", b"\xff") if rows.get(key) != value and not key.startswith(b"S")
    }
    assert events
    assert (changed, stage.take("events")) == (set(), [])


def test_a_closed_run_answers() -> None:
    """A run that has completed answers from its end, and is not kept in memory for it."""
    stage = account()
    stage.signal("close")
    [answer] = ask(stage, "read")
    assert (stage.described()["status"], answer.result, len(stage.nodes[0].runs)) == ("completed", b"5", 0)


def test_a_terminated_run_answers() -> None:
    """A run that was terminated answers from where it stood."""
    stage = account()
    stage.terminate()
    assert ask(stage, "read")[0].result == b"5"


def test_an_evicted_run_answers_alike() -> None:
    """A query of a run that is not in memory is answered by repeating its history."""
    stage = account()
    stage.signal("deposit", 3)
    stage.restart()
    assert ask(stage, "told")[0].result == b'["init","run","deposit 3"]'


def test_an_unknown_query_lists_the_known_ones() -> None:
    """A name that the run does not answer is refused, and the refusal names those that it does."""
    [refusal] = ask(account(), "raed")
    assert (refusal.reason, "it has: read, " in refusal.message) == ("unknown_query", True)


def test_arguments_that_do_not_fit_are_refused() -> None:
    """An argument of the wrong type is refused with its fault."""
    [refusal] = ask(account(), "over", "many")
    assert (refusal.reason, "int" in refusal.message) == ("bad_input", True)


@pytest.mark.parametrize(
    ("query", "says"), [("failing", "no answer"), ("rolling", "random()"), ("sleeping", "may only read")]
)
def test_a_failing_query_leaves_the_run_as_it_was(query: str, says: str) -> None:
    """A handler that raises, or asks for what would change the run, is answered with its error, and the run goes on."""
    stage = account(strict_inputs=True)
    [answer] = ask(stage, query)
    stage.signal("deposit", 1)
    stage.restart()
    assert says in answer.failure.message
    assert (ask(stage, "read")[0].result, stage.described()["status"]) == (b"6", "running")


def test_a_blocked_run_does_not_answer() -> None:
    """A BLOCKED run's code is not there to answer; the refusal says why it is BLOCKED."""
    stage = account()
    stage.signal("break_down")
    [refusal] = ask(stage, "read")
    assert (type(refusal), refusal.reason, "code_error" in refusal.message) == (Rejected, "blocked", True)


def test_a_query_of_no_run_is_refused() -> None:
    """An id without a run is refused at once, and is no dead letter."""
    stage = account()
    [refusal] = ask(stage, "read", id="run-2")
    assert (refusal.reason, stage.take("dead-letters")) == ("not_found", [])


def test_a_query_of_a_discarded_layer_is_not_answered() -> None:
    """The answer is part of the layer in which the query was decided: it leaves with the commit that covers it."""
    stage = account()
    stage.put("commands", 0, b'{"command":"SignalWorkflow","id":"run-1","signal":"deposit","input":4}')
    stage.put("commands", 0, b'{"command":"QueryWorkflow","id":"run-1","query":"read","reply_to":0,"message_id":"q"}')
    batch, stage._inbox = stage._inbox, []
    layer = stage.nodes[0].decide(batch, stage.now_ms)
    topics = [record.topic.rpartition(".")[2] for record in layer.outputs]
    stage.nodes[0].discard()
    assert topics.count("replies") == 1
    assert ask(stage, "read")[0].result == b"5"
