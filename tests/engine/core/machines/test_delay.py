"""Tests of delayed starts: the run exists and takes messages, its code begins later."""

from __future__ import annotations

from penstock.engine.core.keys import DUE, after
from penstock.engine.core.limits import DELAY_MS_MAX
from penstock.schemas.records.run import CancelWorkflow, TerminateWorkflow, UnblockWorkflow
from tests.engine.core import flows
from tests.engine.core.counters import Counter, words
from tests.engine.stage import START_MS, Stage


def _due(stage: Stage) -> int:
    return len(list(stage.stores[0].scan(DUE, after(DUE))))


def test_the_code_begins_when_the_delay_is_over() -> None:
    """Before that nothing is requested; the history says when it began."""
    stage = Stage(flows.five)
    stage.start(flows.five, 1, start_delay_ms=60_000)
    stage.advance(59.9)
    assert (stage.events(), stage.take("tasks")) == (["WorkflowStarted"], [])
    stage.advance(0.2)
    assert stage.events() == ["WorkflowStarted", "StartDelayEnded", "ActivityScheduled"]
    assert stage.history()[1]["at_ms"] == START_MS + 60_000
    assert _due(stage) == 0


def test_a_cancelled_run_does_not_begin() -> None:
    """A cancellation during the delay ends the run as cancelled, without a step of its code."""
    stage = Stage(flows.cleaner)
    stage.start(flows.cleaner, start_delay_ms=60_000)
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="c"))
    stage.advance(120)
    assert stage.described()["status"] == "cancelled"
    assert (stage.take("tasks"), _due(stage)) == ([], 0)


def test_a_terminated_run_does_not_begin() -> None:
    """A termination during the delay ends the run and removes its entry of the due index."""
    stage = Stage(flows.five)
    stage.start(flows.five, 1, start_delay_ms=60_000)
    stage.tell(TerminateWorkflow(workflow_id="run-1", message_id="t"))
    stage.advance(120)
    assert (stage.events(), _due(stage)) == (["WorkflowStarted", "WorkflowTerminated"], 0)


def test_signals_during_the_delay_are_read() -> None:
    """Signals that arrive during the delay are there when the code begins, in their order, after a restart too."""
    stage = Stage(words)
    stage.start(words, start_delay_ms=60_000)
    stage.signal("counters-open")
    for word in ("a", "b", "end"):
        stage.signal("counters-word", word)
    stage.restart()
    stage.advance(60)
    assert stage.described()["result"] == ["a", "b"]


def test_handlers_of_a_class_work_during_the_delay() -> None:
    """The object of a class exists at once: it answers, and changes, before its `run` begins."""
    stage = Stage(Counter)
    stage.start(Counter, 1, start_delay_ms=60_000)
    stage.signal("increase", 5)
    assert stage.query("get").result == b"6"
    assert stage.update("set_to", 9).result == b"6"
    stage.advance(60)
    assert stage.query("log").result == b'["run saw 9"]'


def test_a_repeated_start_does_not_delay_again() -> None:
    """A second start of the id joins the delayed run, whose beginning stays."""
    stage = Stage(flows.five)
    first = stage.start(flows.five, 1, start_delay_ms=60_000)
    stage.advance(30)
    stage.start(flows.five, 1, start_delay_ms=60_000, message_id=first)
    stage.start(flows.five, 1, start_delay_ms=60_000)
    stage.advance(31)
    assert stage.events().count("StartDelayEnded") == 1


def test_a_blocked_run_begins_when_it_is_freed() -> None:
    """The delay may end while the run is BLOCKED; the code begins when it is freed, once."""
    stage = Stage(Counter)
    stage.start(Counter, 1, start_delay_ms=60_000)
    stage.update("has_a_bug")
    stage.advance(120)
    assert stage.events()[-1] == "StartDelayEnded"
    Counter.no_such_attribute = 3  # type: ignore[attr-defined]
    try:
        stage.tell(UnblockWorkflow(workflow_id="run-1", message_id="r"))
    finally:
        del Counter.no_such_attribute  # type: ignore[attr-defined]
    assert stage.query("log").result == b'["run saw 1"]'


def test_a_delay_is_bounded() -> None:
    """A delay beyond the limit counts as the limit."""
    stage = Stage(flows.five)
    stage.start(flows.five, 1, start_delay_ms=DELAY_MS_MAX * 100)
    assert stage.nodes[0].next_due_ms == START_MS + DELAY_MS_MAX
    stage.nodes[0].close()
