"""Tests of where a run's coroutines stand."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.waiting import sleep, wait_condition
from penstock.engine.authoring.workflow import workflow
from penstock.engine.execution.positions import positions
from penstock.engine.execution.program import Program
from penstock.workers.activity.decorator import activity
from tests.engine.stage import Stage

go = Signal("positions-go", int)


@activity(name="positions-double")
def double(number: int) -> int:
    return 2 * number


async def nested() -> int:
    return await go.wait()  # nested


@workflow(name="positions-nested")
async def waits_inside() -> int:
    return await nested()  # outer


@workflow(name="positions-gather")
async def gathers() -> list[Any]:
    calls = [double(number) for number in range(2)]  # the calls
    return await asyncio.gather(*calls, sleep("1d"), wait_condition(lambda: False))  # all of them


def stacks(definition: Any) -> list[list[str]]:
    """The comments at the lines where each task of a started run stands."""
    stage = Stage(definition)
    stage.start(definition)
    program = stage.nodes[_shard(stage)].runs.get("run-1").execution()
    assert isinstance(program, Program)
    lines = Path(__file__).read_text("utf-8").splitlines()
    found = [[lines[line.number - 1].partition("# ")[2] for line in one.lines] for one in positions(program)]
    assert all(line.text == lines[line.number - 1].strip() for one in positions(program) for line in one.lines)
    program.close()
    return found


def _shard(stage: Stage) -> int:
    return next(node.number for node in stage.nodes if node.runs.get("run-1").row is not None)


def test_nested_coroutines() -> None:
    """A stack goes from the workflow to the innermost line of its own code."""
    assert stacks(waits_inside) == [["outer", "nested"]]


def test_tasks_of_calls_and_waits() -> None:
    """Calls and waits that are gathered stand where they were made."""
    assert stacks(gathers) == [["all of them"], ["the calls"], ["the calls"], ["all of them"], ["all of them"]]
