"""Tests of queries: what they answer, and that they leave no trace."""

from __future__ import annotations

import pytest

from penstock.engine.core.limits import CALLER_MS
from penstock.schemas.encoding.codec import encode
from penstock.schemas.records.query import QueryWorkflow
from penstock.schemas.records.replies import QueryAnswered, Rejected
from penstock.schemas.records.run import TerminateWorkflow
from penstock.schemas.records.signal import SignalWorkflow
from tests.engine.core.counters import MISDEEDS, Counter, opened, words
from tests.engine.stage import Stage


def _begun(number: int = 1, **fields: int) -> Stage:
    stage = Stage(Counter)
    stage.start(Counter, number, **fields)
    return stage


def test_an_answer_is_that_of_the_state() -> None:
    """A query is answered with what its method returns now."""
    stage = _begun(4)
    stage.signal("increase", 3)
    answer = stage.query("get")
    assert isinstance(answer, QueryAnswered)
    assert (answer.result, answer.failure) == (b"7", None)


def test_a_query_leaves_no_trace() -> None:
    """A query writes one reply: no event, no row beside the shard's own, no number of a decision."""
    stage = _begun()
    before = dict(stage.stores[0].scan(b"", b"\xff"))
    stage.sent.clear()
    assert stage.query("get").result == b"1"
    after = dict(stage.stores[0].scan(b"", b"\xff"))
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert len(changed) == 1, "the shard's row has the next offset"
    assert {kind for kind, records in stage.sent.items() if records} == set()


def test_a_query_sees_decisions_of_its_own_layer() -> None:
    """The answer is decided on top of what was decided before in the same transaction, and leaves with it."""
    stage = _begun(1)
    stage.take("replies")
    for command in (
        SignalWorkflow(workflow_id="run-1", signal="increase", input=b"5", message_id="s"),
        QueryWorkflow(workflow_id="run-1", query="get", input=b"null", message_id="q", reply_to=0),
    ):
        stage.put("commands", 0, encode(command))
    assert stage.take("replies") == []
    stage.settle()
    assert [reply.result for reply in stage.take("replies")] == [b"6"]


def test_a_closed_run_answers() -> None:
    """A run that has closed answers any number of times, from its history, and stays as it is."""
    stage = _begun(9)
    stage.signal("close")
    described = stage.described()
    assert [stage.query("get").result for _ in range(50)] == [b"9"] * 50
    assert stage.described() == described
    assert len(stage.nodes[0].runs) == 0


def test_a_run_that_was_terminated_before_its_first_step() -> None:
    """It answers at once: with its initial state, or with what it cannot answer."""
    stage = _begun(5, start_delay_ms=60_000)
    stage.tell(TerminateWorkflow(workflow_id="run-1", message_id="t"))
    assert stage.query("get").result == b"5"
    stage = Stage(words)
    stage.start(words, start_delay_ms=60_000)
    stage.tell(TerminateWorkflow(workflow_id="run-1", message_id="t"))
    refused = stage.query("counters-shown")
    assert (refused.reason, refused.message) == (
        "unknown_query",
        "The run has no query called 'counters-shown'; it has: none.",
    )


def test_an_unknown_name_lists_the_known_ones() -> None:
    """A query that the run does not have is refused with those that it has, the most similar first."""
    refused = _begun().query("got")
    assert isinstance(refused, Rejected)
    assert refused.reason == "unknown_query"
    assert refused.message == "The run has no query called 'got'; it has: get, log, spoil, fails."


def test_arguments_that_do_not_fit_are_refused() -> None:
    """Arguments that the method does not take are refused with what is wrong."""
    refused = _begun().query("spoil", 7)
    assert refused.reason == "bad_input"
    assert "str" in refused.message


def test_a_run_that_does_not_exist_is_not_found() -> None:
    """A query to an id without a run is refused, and to another run than the current one as well."""
    stage = _begun()
    assert stage.query("get", id="other").reason == "not_found"
    assert stage.query("get", run_id="older").reason == "not_found"


def test_a_failed_query_tells_why() -> None:
    """An exception of the method is the answer, with its traceback; the run goes on."""
    stage = _begun()
    answer = stage.query("fails")
    assert (answer.failure.message, answer.result) == ("not today", b"")
    assert "in fails" in answer.failure.traceback
    assert stage.described()["status"] == "running"


def test_a_blocked_run_refuses_queries() -> None:
    """A BLOCKED run's code cannot answer: the refusal says why it is BLOCKED."""
    stage = _begun()
    stage.update("has_a_bug")
    refused = stage.query("get")
    assert refused.reason == "blocked"
    assert "no_such_attribute" in refused.message
    assert stage.described()["status"] == "blocked"


@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_a_query_changes_nothing(misdeed: str) -> None:
    """A request, a random number or a wake-up inside a query is an error, though its code hides it; nothing is left."""
    stage = _begun(1)
    events = stage.events()
    answer = stage.query("spoil", misdeed)
    assert answer.failure is not None and answer.failure.type.endswith("NonDeterministicCall")
    assert "the query spoil may only read" in answer.failure.message
    assert stage.query("get").result == b"1"
    stage.advance(10)
    assert stage.events() == events
    stage.update("finish")
    assert stage.described()["result"] == 1


def _answers(waited_ms: int, *, shard_ahead_ms: int = 0) -> int:
    """How many replies a query gets that is read with a record which was appended so long after it."""
    stage = _begun()
    stage.take("replies")
    query = QueryWorkflow(workflow_id="run-1", query="get", input=b"null", message_id="q", reply_to=0)
    stage.log_ahead_ms = -waited_ms - shard_ahead_ms
    stage.put("commands", 0, encode(query))
    stage.log_ahead_ms = -shard_ahead_ms
    stage.put("commands", 0, encode(SignalWorkflow(workflow_id="none", signal="any", message_id="s")))
    stage.settle()
    return len(stage.take("replies"))


def test_a_late_query_is_dropped() -> None:
    """A query that is read after its caller's time leaves no reply; one in time does."""
    assert (_answers(CALLER_MS), _answers(CALLER_MS + 1)) == (1, 0)


def test_a_processor_whose_clock_is_ahead_answers_queries() -> None:
    """A query is late by the time of the log only."""
    assert _answers(0, shard_ahead_ms=2 * CALLER_MS) == 1


def test_a_refused_query_without_reply_is_no_dead_letter() -> None:
    """A query that asks for no reply and is refused disappears."""
    stage = _begun()
    stage.tell(QueryWorkflow(workflow_id="run-1", query="nothing", message_id="q"))
    assert stage.take("dead-letters") == []


def test_a_function_answers_as_long_as_it_says() -> None:
    """The token of a function answers from `answer` on, of a continued run with the next run's state."""
    stage = Stage(words)
    stage.start(words, 0, ["a"])
    assert stage.query("counters-shown").result == b'["a"]'
    stage.signal(opened.name)
    stage.signal("counters-word", "b")
    stage.signal("counters-word", "stop")
    stage.tick()
    assert stage.query("counters-shown").result == b'["a","b"]'
