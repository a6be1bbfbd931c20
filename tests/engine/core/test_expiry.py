"""Tests of the expiry of closed runs."""

from __future__ import annotations

from penstock.engine.core.keys import DAY_MS
from tests.engine.core import flows
from tests.engine.stage import Stage


def _close_many(stage: Stage, runs: int, signals: int) -> None:
    for number in range(runs):
        stage.start(flows.travel, [], id=f"run-{number}")
        for _ in range(signals):
            stage.signal("other", id=f"run-{number}")
        stage.signal("go", id=f"run-{number}")


def test_expiry_deletes_all_of_a_run_a_little_at_a_time() -> None:
    """After its time a closed run leaves no row at all, and no transaction deletes more than some hundreds of rows,
    however long histories are."""
    stage = Stage(flows.travel)
    _close_many(stage, 3, 700)
    stage.now_ms += 3 * DAY_MS
    for _ in range(40):
        before = len(list(stage.stores[0].scan(b"", b"\xff")))
        stage.tick()
        assert before - len(list(stage.stores[0].scan(b"", b"\xff"))) < 1_000
    assert [key for key, _ in stage.stores[0].scan(b"", b"\xff") if b"run-" in key] == []


def test_expiry_of_an_old_run_keeps_the_present_run_of_its_id() -> None:
    """When a closed run's time is over, the current run of the same id keeps its header and history."""
    stage = Stage(flows.travel)
    first = stage.start(flows.travel, [])
    stage.signal("go")
    stage.advance(DAY_MS / 1000)
    stage.start(flows.travel, [], on_existing="restart_closed")
    stage.advance(3 * DAY_MS / 1000)
    for _ in range(3):
        stage.signal("other")
    assert stage.history(run_id=first) == []
    stage.restart()
    stage.signal("go")
    assert stage.described()["status"] == "completed"
