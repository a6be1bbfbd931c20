"""Tests of the memory that a run's code is estimated to take."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from typing import Any

import msgspec
import pytest

from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.waiting import sleep
from penstock.engine.authoring.workflow import workflow
from penstock.engine.execution.footprint import OBJECTS_MAX, measure
from tests.engine.core import flows
from tests.engine.stage import Stage

RUNS = 200


@workflow
async def sleeping(values: Any) -> None:
    await sleep("30d")


@workflow
async def with_timeout(values: Any) -> None:
    await flows.go.wait(timeout="30d")


@workflow
async def fanned_out(values: Any) -> None:
    await asyncio.gather(*(sleep(86_400 + number) for number in range(20)))


VALUES = {
    "text": "x" * 20_000,
    "numbers": [number / 7 for number in range(2_000)],
    "objects": [{"sku": f"lamp-{number}", "count": number} for number in range(300)],
}


@pytest.mark.parametrize("what", ["sleeping", "with_timeout", "fanned_out", *VALUES])
def test_the_estimate_is_near_what_runs_take(what: str) -> None:
    """Before an eviction, a run's estimate is between 0.7 and 1.5 of the memory that Python allocated for it."""
    flow = {"with_timeout": with_timeout, "fanned_out": fanned_out}.get(what, sleeping)
    stage = Stage(flow)
    stage.start(flow, VALUES.get(what), id="first")
    cache = stage.nodes[0].runs
    tracemalloc.start()
    try:
        for number in range(RUNS):
            stage.start(flow, VALUES.get(what), id=f"run-{number}")
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        estimated = sum(cache.get(f"run-{number}").measured_size() for number in range(RUNS))
        cache.clear()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.7 < estimated / (before - after) < 1.5


class Uncollected(msgspec.Struct, gc=False):
    text: str


class Odd:
    def __sizeof__(self) -> int:
        raise RuntimeError


def test_a_measurement_follows_values_of_any_kind() -> None:
    """It counts each object once, follows structs that the garbage collector does not know, and survives classes that
    refuse to tell their size."""
    one = Uncollected("x" * 50_000)
    assert 50_000 < measure([one, one, Odd()], set()) < 52_000
    assert measure([one], {id(one)}) < 200


def test_a_measurement_is_bounded() -> None:
    """Beyond a number of objects the rest counts as large as those on average."""
    many = [[number] for number in range(3 * OBJECTS_MAX)]
    expected = sum(map(len, [many])) * 100
    assert 0.5 * expected < measure(many, set()) < 2 * expected


unread = Signal("unread", str)


def test_unread_signals_count() -> None:
    """Values that wait to be read are part of a run's estimate."""
    stage = Stage(sleeping)
    stage.start(sleeping, None)
    before = stage.budget.used_bytes
    stage.signal("unread", "x" * 10_000)
    assert stage.budget.used_bytes - before > 10_000
