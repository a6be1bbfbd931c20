"""Tests of the cache of runs in memory."""

from __future__ import annotations

from tests.engine.core import flows
from tests.engine.stage import Stage


def test_eviction_runs_no_cleaning_code() -> None:
    """An evicted run's `finally` blocks request nothing, and the run continues unchanged."""
    stage = Stage(flows.cleaner)
    stage.start(flows.cleaner)
    stage.nodes[0].runs.clear()
    assert stage.take("tasks") == []
    stage.signal("go")
    assert len(stage.take("tasks")) == 1
