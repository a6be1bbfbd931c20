"""Tests of patched."""

from __future__ import annotations

import pytest

from tests.engine.core import flows
from tests.engine.stage import Stage


def test_patched_is_true_for_a_run_that_reaches_it_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """`patched` is true, and recorded, for a run that reaches it for the first time with the new code."""
    stage = Stage(flows.patchy)
    stage.start(flows.patchy)
    stage.signal("go")
    assert stage.described()["result"] == "new"
    assert "PatchMarked" in stage.events()
