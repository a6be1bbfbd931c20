"""Do signals reach the code that waits for them, and does whoever sends or looks learn what became of them?"""

from __future__ import annotations

import pytest

from penstock.engine.authoring import signal as signal_module
from penstock.engine.core.hosted import Hosted
from penstock.schemas.records.signal import SignalWorkflow
from tests.engine.core import flows
from tests.engine.stage import Stage


def test_signal_before_its_wait_counts() -> None:
    """A signal that came while nobody waited is read later, first in first out."""
    stage = Stage(flows.travel)
    stage.start(flows.travel, ["a"])
    stage.signal("go")
    stage.run(book_place=lambda value: value)
    assert stage.described()["result"] == "travelled"


def test_signal_timeout() -> None:
    """A wait for a signal ends with TimeoutError at its time."""
    stage = Stage(flows.approved)
    stage.start(flows.approved)
    stage.advance(3600)
    assert stage.described()["result"] == "nobody answered"


def test_signal_in_time_cancels_the_timer() -> None:
    """A signal in time leaves no timer behind."""
    stage = Stage(flows.approved)
    stage.start(flows.approved)
    stage.signal("price", 5)
    assert stage.described()["result"] == "paid 5"
    assert "TimerCancelled" in stage.events()


def test_the_note_on_a_signal_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many signals are declared and however long their names are, the answer that notes them stays small."""
    declared = {f"{number:05d}".ljust(255, "x"): {} for number in range(9_000)}
    monkeypatch.setattr(signal_module, "_declared", declared)
    note = Hosted({}, signal_module.declared_signals()).signal_note("\x01" * 255)
    assert len(note) < 2_000
    assert "and 8990 more" in note


def test_signals_made_by_code_are_declared_too() -> None:
    """A signal that workflow code makes for itself is checked at the door like any other, once it was made."""
    stage = Stage(flows.makes_its_signal)
    stage.start(flows.makes_its_signal)
    stage.signal("made-inside", "no number")
    stage.signal("made-inside", 7)
    assert stage.described()["result"] == 7
    assert len(signal_module._declared["made-inside"]) == 1


def listening(stage: Stage) -> tuple[list[str], dict[str, int]]:
    described = stage.described()
    return described["signals_awaited"], described["signals_unread"]


def test_what_a_run_listens_for_is_told() -> None:
    """The signal that code waits for and those that it has not read are told at each step, across a restart too."""
    stage = Stage(flows.approved)
    stage.start(flows.approved)
    assert listening(stage) == (["price"], {})
    for _ in range(2):
        stage.signal("prcie")
        stage.restart()
    assert listening(stage) == (["price"], {"prcie": 2})
    stage.signal("price", 5)
    assert listening(stage) == ([], {"prcie": 2})


def test_conditions_that_a_run_waits_for_are_counted() -> None:
    """A run that waits for a condition tells so."""
    stage = Stage(flows.conditional)
    stage.start(flows.conditional)
    assert stage.described()["conditions_awaited"] == 1


def test_readers_that_gave_up_are_forgotten() -> None:
    """Code that waits for a signal again and again, each time in vain, keeps no trace of it."""
    stage = Stage(flows.looks_again)
    stage.start(flows.looks_again)
    stage.advance(3600 * 50)
    program = stage.nodes[0].runs.get("run-1").execution()
    assert len(program.signals.waiters["price"]) == 1


def test_signal_that_nobody_declares_is_noted() -> None:
    """A signal under a name that no module declares, perhaps a misspelt one, is kept, and its sender hears so."""
    stage = Stage(flows.travel)
    stage.start(flows.travel, ["a"])
    for name in ("prcie", "price"):
        stage.tell(SignalWorkflow(workflow_id="run-1", signal=name, input=b"4", message_id=name, reply_to=0))
    misspelt, right = stage.take("replies")
    assert "'prcie'" in misspelt.note
    assert "price" in misspelt.note.partition("declared: ")[2]
    assert right.note == ""


def test_signal_of_the_wrong_shape_is_a_dead_letter() -> None:
    """A value that does not fit the declared type harms nobody and is kept."""
    stage = Stage(flows.approved)
    stage.start(flows.approved)
    stage.signal("price", "not a number")
    assert [letter.reason for letter in stage.take("dead-letters")] == ["bad_input"]
    assert stage.described()["status"] == "running"
