"""Tests of the ids that callers of a chain are given: always that of its first run, by which it is addressed."""

from __future__ import annotations

from typing import Any

from penstock.schemas.records.replies import RunClosed
from penstock.schemas.records.run import AwaitResult, StartWorkflow
from penstock.schemas.records.signal import SignalWorkflow
from tests.engine.core.counters import add_word, opened, shown, word, words
from tests.engine.stage import Stage


def _third_run() -> tuple[Stage, str]:
    """A stage whose run is the third one of its chain, and the id of the first."""
    stage = Stage(words)
    first = stage.start(words)
    for _ in range(2):
        stage.signal(opened.name)
        stage.signal(word.name, "stop")
        stage.advance(1)
    assert stage.history()[0]["chain_length"] == 2
    return stage, first


def _start(message_id: str, on_existing: Any) -> StartWorkflow:
    return StartWorkflow(
        workflow_id="run-1", workflow_type="counters-words", input=b"[]", message_id=message_id, on_existing=on_existing
    )


def test_every_answer_names_the_first_run() -> None:
    """Answers to queries, updates, signals, refusals and the end name the id by which the chain is addressed."""
    stage, first = _third_run()
    answers = [stage.query(shown.name), stage.query("no such query")]
    stage.update(add_word.name, "", message_id="held")
    stage.signal(opened.name)
    answers += stage.take("replies")
    answers += [stage.update(add_word.name, ""), stage.update(add_word.name, "a")]
    answers.append(stage.replied(SignalWorkflow(workflow_id="run-1", signal=word.name, input=b'"b"', message_id="s")))
    answers.append(stage.replied(_start("joins", "use_existing")))
    answers.append(stage.replied(_start("refused", "reject")))
    stage.replied(AwaitResult(workflow_id="run-1", run_id=first, message_id="a", reply_to=0))
    stage.signal(word.name, "end")
    answers += [reply for reply in stage.take("replies") if isinstance(reply, RunClosed)]
    answers.append(stage.replied(AwaitResult(workflow_id="run-1", run_id=first, message_id="b", reply_to=0)))
    assert [(type(answer).__name__, answer.run_id) for answer in answers if answer.run_id != first] == []
    assert len(answers) == 10
    assert len({type(answer) for answer in answers}) == 5


def test_a_repeated_start_that_joined_a_later_run_is_given_the_chain() -> None:
    """A start that joined the third run, sent again from the fourth, is given an id that commands are taken with."""
    stage, first = _third_run()
    joined = stage.replied(_start("joins", "restart_closed"))
    stage.signal(opened.name)
    stage.signal(word.name, "stop")
    stage.advance(1)
    again = stage.replied(_start("joins", "restart_closed"))
    assert (joined.run_id, again.run_id) == (first, first)
    signal = SignalWorkflow(
        workflow_id="run-1", signal=word.name, input=b'"end"', message_id="s", run_id=again.run_id
    )  # fmt: skip
    assert stage.replied(signal).run_id == first
    stage.nodes[0].close()


def test_a_description_names_both() -> None:
    """A description has the id of the current run, whose history it is about, and that of the chain."""
    stage, first = _third_run()
    described = stage.described()
    assert described["first_run_id"] == first != described["run_id"]
    assert stage.history(run_id=first) == stage.history(run_id=described["run_id"]) != []
    stage.nodes[0].close()
