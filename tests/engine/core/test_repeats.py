"""Do side effects, signals and conditions do on replay what they did the first time, and come to an end?"""

from __future__ import annotations

import asyncio
import sys
import uuid
from typing import Any

import pytest

from penstock.engine.authoring.context import now, uuid4
from penstock.engine.authoring.context import side_effect as made
from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.waiting import sleep, wait_condition
from penstock.engine.authoring.workflow import workflow
from tests.engine.core import flows
from tests.engine.stage import Stage

number = Signal("number", int)
onward = Signal("onward")


@workflow
async def asks_run_for_chance() -> str:
    return made(lambda: str(uuid4()))


@workflow
async def nests() -> int:
    return made(lambda: made(lambda: 1) + 1)


@pytest.mark.parametrize("flow", [asks_run_for_chance, nests])
def test_a_side_effect_may_not_change_its_run(flow: Any) -> None:
    """What would go otherwise on replay, where the function is not called, fails the run and names the way out."""
    stage = Stage(flow)
    stage.start(flow)
    assert "side_effect() runs, which is not run again on replay" in stage.described()["failure"]["message"]


@workflow
async def tries_chance_in_a_side_effect() -> bool:
    made(lambda: [uuid.uuid4().hex, now().isoformat()])
    try:
        made(sys.exit)
    except Exception:
        before = str(uuid4())
    return await flows.add(1, 2) == 3 and before == str(uuid4())


def test_a_side_effect_that_ends_the_program_is_recorded_too() -> None:
    """SystemExit in a side effect reaches the code as a failure, live and when it is rebuilt for each decision."""
    stage = Stage(tries_chance_in_a_side_effect, runs_max=1)
    stage.start(tries_chance_in_a_side_effect)
    stage.start(tries_chance_in_a_side_effect, id="other")  # of the two, only one is in memory
    stage.run(add=lambda a, b: a + b)
    assert [stage.described(id)["status"] for id in ("run-1", "other")] == ["completed", "completed"]


@workflow
async def two_wait() -> list[Any]:
    got: list[Any] = []

    async def wait(name: str, timeout: float | None) -> None:
        try:
            got.append([name, await number.wait(timeout=timeout)])
        except TimeoutError:
            got.append([name, "timeout"])

    waiting = [asyncio.create_task(wait("a", 1.0)), asyncio.create_task(wait("b", None))]
    await onward.wait()
    await flows.far(1)
    await asyncio.wait(waiting)
    return got


def test_a_signal_that_its_reader_missed_goes_to_the_next_who_waits() -> None:
    """Timer and signal reach a parked run's code together: the value that the timed-out reader had is another's."""
    stage = Stage(two_wait)
    stage.start(two_wait)
    stage.signal("onward")  # the queue of `far` has no topic: BLOCKED
    stage.advance(2.0)
    stage.signal("number", 1)
    stage.queues.add("elsewhere")
    for node in stage.nodes:
        node.blocked.try_again("missing_topic")
    stage.tick()
    stage.run(far=lambda n: n)
    assert stage.described()["result"] == [["a", "timeout"], ["b", 1]]


@workflow
async def chases_itself() -> None:
    turn = [0]

    async def player(mine: int) -> None:
        while True:
            await wait_condition(lambda: turn[0] == mine)
            turn[0] = 1 - mine

    await asyncio.gather(player(0), player(1))


def test_conditions_that_make_each_other_true_for_ever_fail_their_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tasks that wake each other without end fail, and the shard goes on with its other runs."""
    monkeypatch.setattr("penstock.engine.execution.program.ROUNDS_MAX", 1_000)
    stage = Stage(chases_itself, dozes)
    stage.start(chases_itself)
    stage.start(dozes, id="other")
    assert stage.described()["failure"]["type"].endswith("EndlessWorkflow")
    assert stage.described("other")["status"] == "running"


@workflow
async def dozes() -> None:
    await sleep(1)
