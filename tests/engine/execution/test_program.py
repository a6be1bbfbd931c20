"""Tests of programs: a run's code from its start to its end, its side effects, its failures and its disposal."""

from __future__ import annotations

import asyncio
import gc
import sys
import uuid
from typing import Any

import pytest

from penstock.engine.authoring.context import now, side_effect, uuid4
from penstock.engine.authoring.context import side_effect as made
from penstock.engine.authoring.waiting import sleep, wait_condition
from penstock.engine.authoring.workflow import workflow
from penstock.engine.execution.loop import WorkflowLoop
from tests.engine.core import flows
from tests.engine.stage import Stage


@workflow
async def careful() -> str:
    try:
        side_effect(lambda: 1 // 0)
    except Exception as error:
        kept = f"{type(error).__name__}: {error}"
    await flows.go.wait()
    return kept


def test_a_side_effect_that_raises_is_replayed() -> None:
    """A side effect's error is recorded like its value: code that caught it takes the same path on replay."""
    results = []
    for evicts in (False, True):
        stage = Stage(careful)
        stage.start(careful)
        if evicts:
            stage.nodes[0].runs.clear()
        stage.signal("go")
        results.append((stage.described()["status"], stage.described()["result"]))
    assert results[0] == results[1]
    assert results[0][0] == "completed"
    assert "division" in results[0][1]


@workflow
async def stubborn(error: str) -> None:
    try:
        await flows.go.wait()
    except GeneratorExit:
        raise {"exit": SystemExit, "cancelled": asyncio.CancelledError, "stop": KeyboardInterrupt}[error] from None


@pytest.mark.parametrize("error", ["exit", "cancelled", "stop"])
def test_closing_survives_exceptions_of_cleaning_code(error: str) -> None:
    """No exception of a coroutine that is being closed ends the processor."""
    stage = Stage(stubborn)
    stage.start(stubborn, error)
    stage.nodes[0].runs.clear()
    stage.signal("go")
    assert stage.described()["status"] == "completed"


@workflow
async def clinging() -> None:
    never = asyncio.get_running_loop().create_future()
    try:
        await flows.go.wait()
    finally:
        try:
            await never
        finally:
            await flows.unbook_place("room")


@workflow
async def collecting() -> int:
    gc.collect()
    return await flows.add(1, 2)


@pytest.mark.parametrize("flow", [clinging, flows.cleaner])
def test_no_run_receives_the_requests_of_a_closed_one(flow: Any) -> None:
    """Code of a run whose shard was closed never runs again, not even its `finally` blocks under another run's loop."""
    stage = Stage(flow)
    stage.start(flow)
    stage.nodes[0].close()
    del stage
    other = Stage(collecting)
    other.start(collecting)
    assert [task.activity for task in other.take("tasks")] == ["add"]


_finalized: list[bool] = []


class Ring:
    """Garbage that only a collection finds; notes whether that came while workflow code ran."""

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        _finalized.append(isinstance(asyncio._get_running_loop(), WorkflowLoop))


@workflow
async def littering() -> int:
    for _ in range(3_000):
        Ring()
    return 0


def test_nothing_is_collected_while_workflow_code_runs() -> None:
    """Finalizers of cyclic garbage never run under a run's loop, where their requests would be that run's."""
    _finalized.clear()
    stage = Stage(littering)
    stage.start(littering)
    gc.collect()
    assert len(_finalized) == 3_000
    assert not any(_finalized)


@workflow
async def exiting(where: str) -> None:
    async def leave() -> None:
        raise SystemExit(4)

    await flows.go.wait()
    if where == "main":
        await leave()
    elif where == "task":
        await asyncio.create_task(leave())
    elif where == "callback":
        asyncio.get_running_loop().call_soon(sys.exit, 4)
        await flows.go.wait()
    elif where == "generator":
        raise GeneratorExit


@pytest.mark.parametrize("where", ["main", "task", "callback", "generator"])
def test_a_run_that_exits_fails_no_other(where: str) -> None:
    """SystemExit and its like, raised anywhere in workflow code, fail that run only."""
    stage = Stage(exiting, flows.five)
    stage.start(exiting, where)
    stage.signal("go")
    assert stage.described()["status"] == "failed"
    stage.start(flows.five, 1, id="run-2")
    assert stage.described("run-2")["status"] == "running"


@workflow(blocks_on=())
async def deep(kind: str) -> None:
    error: BaseException = ValueError("the root")
    if kind == "cycle":
        other = KeyError("other")
        error.__cause__, other.__cause__ = other, error
    elif kind == "chain":
        for number in range(3_000):
            below, error = error, ValueError(number)
            error.__cause__ = below
    elif kind == "groups":
        for _ in range(3_000):
            error = ExceptionGroup("nested", [error])  # type: ignore[type-var]
    elif kind == "recursion":

        def down() -> None:
            down()

        down()
    raise error


@pytest.mark.parametrize("kind", ["cycle", "chain", "groups", "recursion"])
def test_every_exception_becomes_a_readable_failure(kind: str) -> None:
    """A run fails with a bounded, readable failure however its exceptions are linked, nested or deep."""
    stage = Stage(deep)
    stage.start(deep, kind)
    assert stage.described()["status"] == "failed"
    assert len(stage.described()["failure"]["causes"]) <= 8


def test_workflow_failure_is_readable() -> None:
    """The message of a WorkflowFailedError is the message of the run's failure."""
    stage = Stage(flows.failing)
    stage.start(flows.failing, 3)
    described = stage.described()
    assert (described["status"], described["failure"]["message"]) == ("failed", "rejected 3")


def test_an_ordinary_exception_fails_the_run() -> None:
    """A bug in workflow code fails its run with type, text and traceback."""
    stage = Stage(flows.broken)
    stage.start(flows.broken, 3)
    failure = stage.described()["failure"]
    assert failure["type"] == "KeyError" and "flows.py" in failure["traceback"]


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
    stage = Stage(tries_chance_in_a_side_effect, run_cache_bytes=1)
    stage.start(tries_chance_in_a_side_effect)
    stage.start(tries_chance_in_a_side_effect, id="other")  # of the two, only one is in memory
    stage.run(add=lambda a, b: a + b)
    assert [stage.described(id)["status"] for id in ("run-1", "other")] == ["completed", "completed"]


@workflow
async def chases_itself() -> None:
    turn = [0]

    async def player(mine: int) -> None:
        while True:
            await wait_condition(lambda: turn[0] == mine)
            turn[0] = 1 - mine

    await asyncio.gather(player(0), player(1))


@workflow
async def dozes() -> None:
    await sleep(1)


def test_conditions_that_make_each_other_true_for_ever_fail_their_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tasks that wake each other without end fail, and the shard continues with its other runs."""
    monkeypatch.setattr("penstock.engine.execution.program.ROUNDS_MAX", 1_000)
    stage = Stage(chases_itself, dozes)
    stage.start(chases_itself)
    stage.start(dozes, id="other")
    assert stage.described()["failure"]["type"].endswith("EndlessWorkflow")
    assert stage.described("other")["status"] == "running"


def test_a_call_that_is_not_awaited_names_its_line() -> None:
    """A call that is never awaited fails the run and says where it was made."""
    stage = Stage(flows.forgetful)
    stage.start(flows.forgetful)
    failure = stage.described()["failure"]
    assert failure["type"].endswith("CallNotAwaited") and "flows.py:" in failure["message"]


@pytest.mark.parametrize("wait", ["sleep", "wait_condition", "go.wait"])
def test_a_wait_that_is_not_awaited_names_its_line(wait: str) -> None:
    """A wait that is never awaited fails the run as a call does, and says where it was made."""
    stage = Stage(flows.forgets_a_wait)
    stage.start(flows.forgets_a_wait, wait)
    failure = stage.described()["failure"]
    assert failure["type"].endswith("CallNotAwaited") and "flows.py:" in failure["message"]
    assert f"write `await {wait}(…)`" in failure["message"]


@workflow
async def in_a_group(what: str) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(_waits(what, number))


async def _waits(what: str, number: int) -> None:
    waits = {
        "sleep": lambda: sleep(86_400),
        "activity": lambda: flows.add(1, number),
        "signal": lambda: flows.go.wait(timeout="1d"),
        "condition": lambda: wait_condition(lambda: number < 0, timeout="1d"),
        "wait_for": lambda: asyncio.wait_for(flows.add(1, number), 60),
        "gather": lambda: asyncio.gather(sleep(60), flows.add(1, number)),
        "wait": lambda: asyncio.wait([asyncio.ensure_future(flows.add(1, 2))], return_when="FIRST_COMPLETED"),
        "shield": lambda: asyncio.shield(asyncio.ensure_future(flows.add(1, 2))),
    }
    await waits[what]()


@pytest.mark.parametrize("what", ["sleep", "activity", "signal", "condition", "wait_for", "gather", "wait", "shield"])
def test_an_evicted_run_leaves_nothing_to_the_garbage_collector(what: str) -> None:
    """Whatever a run waits for, its memory is free as soon as it is evicted: full collections are rare in a process
    that keeps many runs."""
    stage = Stage(in_a_group)
    stage.start(in_a_group, what)
    assert len(stage.nodes[0].runs) == 1
    gc.collect()
    gc.disable()
    try:
        stage.nodes[0].runs.clear()
        assert gc.collect() == 0
    finally:
        gc.enable()
