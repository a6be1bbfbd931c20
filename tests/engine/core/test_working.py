"""Tests of the rows of pending activities: a few small ones in their run's header, all others in rows of their own."""

from __future__ import annotations

import asyncio

from penstock.engine.authoring.workflow import workflow
from penstock.engine.core.keys import run_key
from penstock.engine.core.limits import NEAR_INPUT_BYTES_MAX, NEAR_MAX
from penstock.engine.core.rows import unpack_run
from penstock.schemas.encoding.codec import encode
from penstock.schemas.failure import Failure
from penstock.workers.activity.decorator import activity
from tests.engine.core import flows
from tests.engine.stage import Stage

MANY = NEAR_MAX + 3


@activity
def length(text: str) -> int:
    return len(text)


@workflow
async def fan_in_header(n: int) -> int:
    return sum(await asyncio.gather(*(flows.add(i, 1) for i in range(n))))


@workflow
async def heavy(text: str) -> int:
    return await length(text)


def _places(stage: Stage, id: str = "run-1") -> tuple[int, int]:
    """Numbers of pending activities in the header and in rows of their own."""
    store = stage.stores[0]
    data = store.get(run_key(id))
    assert data is not None
    return len(unpack_run(data).near), len(list(store.scan(b"A", b"B")))


def test_a_few_are_in_the_header_and_all_are_described() -> None:
    """The first ones need no row; `describe` shows all of them, in their order."""
    stage = Stage(fan_in_header)
    stage.start(fan_in_header, MANY)
    assert _places(stage) == (NEAR_MAX, MANY - NEAR_MAX)
    sequences = [pending["sequence"] for pending in stage.described()["pending_activities"]]
    assert sequences == list(range(1, MANY + 1))


def test_a_large_input_has_a_row_of_its_own() -> None:
    """An activity with a large input has a row of its own: the header, which each decision writes, stays small."""
    stage = Stage(heavy)
    stage.start(heavy, "x" * NEAR_INPUT_BYTES_MAX)
    assert _places(stage) == (0, 1)


def test_a_failure_moves_an_activity_out_of_the_header() -> None:
    """An activity that waits for its next attempt has a row, with its failure; its last attempt leaves no row."""
    stage = Stage(fan_in_header)
    stage.start(fan_in_header, 1)
    (task,) = stage.take("tasks")
    stage.fail(task, Failure(type="Late", message="later"))
    assert _places(stage) == (0, 1)
    assert stage.described()["pending_activities"][0]["failure"]["message"] == "later"
    stage.advance(3_600)
    stage.run(add=lambda a, b: a + b)
    assert _places(stage) == (0, 0)
    assert stage.described()["result"] == 1


def test_pending_activities_survive_a_restart() -> None:
    """A new owner of the shard finds the pending activities in header and rows, and each result counts once."""
    stage = Stage(fan_in_header)
    stage.start(fan_in_header, MANY)
    stage.restart()
    stage.run(add=lambda a, b: a + b)
    assert stage.described()["result"] == sum(range(1, MANY + 1))
    assert _places(stage) == (0, 0)


def test_a_closed_run_keeps_none() -> None:
    """A run that is terminated with activities pending in both places keeps none in either."""
    stage = Stage(fan_in_header)
    stage.start(fan_in_header, MANY)
    stage.terminate()
    assert _places(stage) == (0, 0)


def test_a_result_writes_little_however_many_activities_are_pending() -> None:
    """Pending activities have rows of their own: the size of what one result writes does not grow with their number."""
    stage = Stage(flows.fan)
    stage.start(flows.fan, 3_000)
    tasks = stage.take("tasks")
    stage.put("results", 0, encode(tasks[5].completed(b"1")))
    record = stage._inbox.pop()
    layer = stage.nodes[0].decide([record], stage.now_ms)
    assert layer is not None and sum(len(value or b"") for value in layer.writes.values()) < 2_000
