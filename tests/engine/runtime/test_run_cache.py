"""Tests of the cache of runs in memory."""

from __future__ import annotations

from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.workflow import workflow
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


@workflow
async def keeps(text: str) -> int:
    first = await keep.wait()
    kept = [text, first]
    while True:
        kept.append(await keep.wait())
        kept = kept[:2]


keep = Signal("keep", str)

KEPT_RUN_BYTES = 20_000


def _cached(stage: Stage) -> list[str]:
    return [id for node in stage.nodes for id in node.runs._runs]


def test_the_budget_is_in_bytes_and_the_longest_sleeper_goes_first() -> None:
    """Runs stay in memory as long as their estimates fit the budget; the one that was used least recently is evicted
    first, and a larger run takes the room of several."""
    stage = Stage(keeps, run_cache_bytes=10 * KEPT_RUN_BYTES)
    for number in range(100):
        stage.start(keeps, "", id=f"run-{number}")
        assert stage.budget.used_bytes <= stage.budget.bytes_max
    few = _cached(stage)
    assert 10 < len(few) < 100
    assert few == [f"run-{number}" for number in range(100 - len(few), 100)]
    stage.signal("keep", "x", id=few[0])
    stage.start(keeps, "", id="another")
    assert few[0] in _cached(stage)
    assert few[1] not in _cached(stage)
    stage.start(keeps, "x" * 100_000, id="large")
    assert len(_cached(stage)) < len(few) / 2


def test_all_shards_of_a_process_share_the_budget() -> None:
    """A run of one shard makes room by evicting a run of another one that has slept longer."""
    stage = Stage(keeps, shards=4, run_cache_bytes=10 * KEPT_RUN_BYTES)
    for number in range(100):
        stage.start(keeps, "", id=f"run-{number}")
    cached = [len(node.runs) for node in stage.nodes]
    assert min(cached) > 0
    assert sum(cached) == len(_cached(stage)) < 60
    assert stage.budget.used_bytes <= stage.budget.bytes_max
    for node in stage.nodes:
        node.close()
    assert stage.budget.used_bytes == 0


def test_values_that_a_run_has_dropped_are_not_counted_for_long() -> None:
    """A run that received megabytes in the course of time and keeps little of them stays in memory."""
    stage = Stage(keeps, run_cache_bytes=10 * KEPT_RUN_BYTES)
    stage.start(keeps, "")
    for _ in range(50):
        stage.signal("keep", "x" * 4_000)
    assert stage.budget.used_bytes > stage.budget.bytes_max
    stage.start(keeps, "", id="another")
    assert _cached(stage) == ["run-1", "another"]
    assert stage.budget.used_bytes < 2 * KEPT_RUN_BYTES


def test_a_run_without_room_is_decided_all_the_same() -> None:
    """A single run larger than the budget continues, and makes way for the next one."""
    stage = Stage(keeps, run_cache_bytes=1)
    for id in ("a", "b"):
        stage.start(keeps, "x" * 1_000, id=id)
        stage.signal("keep", "x", id=id)
        assert _cached(stage) == [id]
    assert stage.events("a").count("SignalReceived") == 1
