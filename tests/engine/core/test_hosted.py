"""Tests of the workflow types and signals that a processor hosts."""

from __future__ import annotations

import pytest

from penstock.engine.authoring import signal as signal_module
from penstock.engine.core.hosted import Hosted


def test_the_note_on_a_signal_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The note on an undeclared signal stays small, for any number and length of declared names."""
    declared = {f"{number:05d}".ljust(255, "x"): {} for number in range(9_000)}
    monkeypatch.setattr(signal_module, "_declared", declared)
    note = Hosted({}, signal_module.declared_signals()).signal_note("\x01" * 255)
    assert len(note) < 2_000
    assert "and 8990 more" in note


def test_the_note_begins_with_the_most_similar_name() -> None:
    """The note on a misspelt signal lists the name that was meant first, however many signals are declared."""
    declared = {f"signal-{number:03d}": lambda _: "" for number in range(200)} | {"price": lambda _: ""}
    assert "(declared: price, " in Hosted({}, declared).signal_note("prcie")


def test_news_of_other_processors_is_told_once() -> None:
    """What others host is news once, and again when it changes; without a change there is none."""
    hosted = Hosted({})
    assert not hosted.has_news()
    hosted.note_others({"elsewhere": 1}, 0)
    assert [hosted.has_news(), hosted.has_news()] == [True, False]
    hosted.note_others({"elsewhere": 1}, 0)
    assert not hosted.has_news()
