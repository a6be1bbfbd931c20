"""Tests of signals as workflow code declares and awaits them."""

from __future__ import annotations

from penstock.engine.authoring import signal as signal_module
from tests.engine.core import flows
from tests.engine.stage import Stage


def test_signal_timeout() -> None:
    """A wait for a signal ends with TimeoutError at its time."""
    stage = Stage(flows.approved)
    stage.start(flows.approved)
    stage.advance(3600)
    assert stage.described()["result"] == "no answer"


def test_signal_in_time_cancels_the_timer() -> None:
    """A signal in time leaves no timer behind."""
    stage = Stage(flows.approved)
    stage.start(flows.approved)
    stage.signal("price", 5)
    assert stage.described()["result"] == "paid 5"
    assert "TimerCancelled" in stage.events()


def test_signals_made_by_code_are_declared_too() -> None:
    """A signal that workflow code creates is checked like any other, once it exists."""
    stage = Stage(flows.makes_its_signal)
    stage.start(flows.makes_its_signal)
    stage.signal("made-inside", "no number")
    stage.signal("made-inside", 7)
    assert stage.described()["result"] == 7
    assert len(signal_module._declared["made-inside"]) == 1
