"""Tests of delayed starts."""

from __future__ import annotations

from penstock.schemas.records.run import CancelWorkflow
from tests.engine.core.talking import definition
from tests.engine.stage import Stage


def delayed(name: str = "talk_summing", *args) -> Stage:
    """A stage with a run whose code begins in a minute."""
    stage = Stage(definition(name))
    stage.start(definition(name), *(args or (0, 0)), start_delay_ms=60_000)
    return stage


def test_the_code_begins_after_the_delay() -> None:
    """The run exists at once and begins when it is due, also after a restart."""
    stage = delayed("talk_spinning", 0)
    assert (stage.described()["status"], stage.events()) == ("running", ["WorkflowStarted"])
    stage.restart()
    stage.advance(59)
    assert stage.described()["status"] == "running"
    stage.advance(1)
    assert stage.described()["status"] == "completed"


def test_signals_before_the_begin_are_read_after_it() -> None:
    """A delayed run keeps its signals."""
    stage = delayed()
    stage.signal("talk-add", 4)
    stage.restart()
    stage.advance(60)
    assert stage.described()["result"] == 4


def test_a_cancelled_delay_ends_the_run() -> None:
    """A run that is cancelled before it begins closes at once, and nothing is due any more."""
    stage = delayed()
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="c"))
    assert stage.described()["status"] == "cancelled"
    assert list(stage.stores[0].scan(b"T", b"U")) == []


def test_a_terminated_delay_ends_the_run() -> None:
    """A run that is terminated before it begins leaves nothing that is due."""
    stage = delayed()
    stage.terminate()
    stage.advance(120)
    assert (stage.described()["status"], list(stage.stores[0].scan(b"T", b"U"))) == ("terminated", [])
