"""Does a run survive what people really write? Odd asyncio, odd exceptions, odd ids; live and after eviction alike."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable
from typing import Any

import pytest

from penstock.engine.authoring.context import now, side_effect
from penstock.engine.authoring.versions import patched
from penstock.engine.authoring.waiting import sleep, wait_condition
from penstock.engine.authoring.workflow import workflow
from penstock.engine.core.retry import delay_ms
from penstock.engine.execution.loop import WorkflowLoop
from penstock.schemas.errors import ChildWorkflowFailed
from penstock.schemas.values.retry import RetryPolicy
from tests.engine.core import flows
from tests.engine.stage import Stage


async def added(a: int) -> int:
    return await flows.add(a, 0)


@workflow
async def completed_first(n: int) -> list[int]:
    found = []
    for next_done in asyncio.as_completed([added(i) for i in range(n)]):
        found.append(await next_done)
    return found


@workflow
async def calls_completed_first(n: int) -> list[int]:
    return [await done for done in asyncio.as_completed([flows.add(i, 0) for i in range(n)])]


@pytest.mark.parametrize("flow", [completed_first, calls_completed_first])
def test_as_completed_orders_in_the_order_it_was_given(flow: Any) -> None:
    """`as_completed` schedules its coroutines in their order, not by their addresses, so that replay does the same."""
    stage = Stage(flow)
    stage.start(flow, 40)
    tasks = stage.take("tasks")
    assert [task.input for task in tasks] == [b'{"a":%d,"b":0}' % i for i in range(40)]
    for task in reversed(tasks):
        stage.nodes[0].runs.clear()
        stage.complete(task, task.sequence)
    assert stage.described()["result"] == list(range(40, 0, -1))


@workflow
async def careful() -> str:
    try:
        side_effect(lambda: 1 // 0)
    except Exception as error:
        kept = f"{type(error).__name__}: {error}"
    await flows.go.wait()
    return kept


def test_a_side_effect_that_raises_is_replayed() -> None:
    """A side effect's error is recorded like its value: code that caught it goes the same way on replay."""
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


def _cancelled_result() -> bool:
    future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    future.cancel()
    return future.result()


@workflow
async def looking(what: str) -> None:
    conditions: dict[str, Callable[[], bool]] = {
        "cancelled": _cancelled_result,
        "exit": lambda: sys.exit(3),
        "stop": lambda: next(iter(())),
    }
    ready = False

    def condition() -> bool:
        return ready and conditions[what]()

    waiter = asyncio.create_task(wait_condition(condition))
    await flows.go.wait()
    ready = True
    await waiter


@pytest.mark.parametrize("what", ["cancelled", "exit", "stop"])
def test_a_condition_that_raises_anything_fails_its_waiter(what: str) -> None:
    """Whatever a wait_condition's function raises reaches its waiter, and never the processor."""
    stage = Stage(looking)
    stage.start(looking, what)
    stage.signal("go")
    assert stage.described()["status"] == "failed"


@workflow
async def stubborn(error: str) -> None:
    try:
        await flows.go.wait()
    except GeneratorExit:
        raise {"exit": SystemExit, "cancelled": asyncio.CancelledError, "stop": KeyboardInterrupt}[error] from None


@pytest.mark.parametrize("error", ["exit", "cancelled", "stop"])
def test_eviction_survives_what_cleaning_code_raises(error: str) -> None:
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
def test_no_run_is_given_the_orders_of_one_that_is_gone(flow: Any) -> None:
    """Code of a run whose shard was let go never runs again, not even its `finally` blocks under another run's loop."""
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
    """Finalizers of cyclic garbage never run under a run's loop, where their orders would be that run's."""
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
def test_a_run_that_exits_fails_alone(where: str) -> None:
    """SystemExit and its like, raised anywhere in workflow code, fail that run only."""
    stage = Stage(exiting, flows.five)
    stage.start(exiting, where)
    stage.signal("go")
    assert stage.described()["status"] == "failed"
    stage.start(flows.five, 1, id="run-2")
    assert stage.described("run-2")["status"] == "running"


@workflow
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
def test_no_exception_is_too_odd_to_be_told(kind: str) -> None:
    """A run fails readably however its exceptions are linked, nested or deep."""
    stage = Stage(deep)
    stage.start(deep, kind)
    assert stage.described()["status"] == "failed"
    assert len(stage.described()["failure"]["causes"]) <= 8


@workflow
async def far_sleeper(seconds: float) -> str:
    try:
        async with asyncio.timeout(1):
            await asyncio.sleep(seconds)
    except TimeoutError:
        return "woken"
    return "slept"


@pytest.mark.parametrize("seconds", [1e12, 1e17, 1e300])
def test_a_timer_beyond_all_time_just_never_fires(seconds: float) -> None:
    """However far away a timer is, it can be waited for and given up."""
    stage = Stage(far_sleeper)
    stage.start(far_sleeper, seconds)
    stage.advance(1)
    assert stage.described()["result"] == "woken"


@workflow
async def own_child() -> str:
    child = asyncio.create_task(flows.five(1).options(id="run-1"))
    try:
        await child
    except ChildWorkflowFailed as error:
        return f"refused: {error.type}"
    return "ran"


def test_a_child_under_its_parents_id_is_refused() -> None:
    """A run cannot be its own child: it is told so, and goes on."""
    stage = Stage(own_child, flows.five)
    stage.start(own_child)
    assert stage.described()["result"] == "refused: already_exists"


@pytest.mark.parametrize("id", ["я" * 127, "深" * 85, "a" * 255, "🙂" * 63])
def test_a_child_of_a_long_id_gets_an_id_that_fits(id: str) -> None:
    """The id made for a child keeps to 255 bytes whatever its parent's characters."""
    stage = Stage(chained, flows.five)
    stage.start(chained, id=id)
    stage.run(add=lambda a, b: a + b)
    assert stage.described(id)["status"] == "completed"


@workflow
async def chained() -> int:
    return await flows.five(1)


@workflow
async def unfinished() -> str:
    left = [asyncio.create_task(flows.five(1)), asyncio.create_task(flows.add(1, 2)), asyncio.create_task(sleep(3600))]
    assert len(left) == 3
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return "left"


def test_a_run_that_leaves_work_behind_leaves_no_rows() -> None:
    """A run may end while activities, timers and children of its are pending: all of them are let go."""
    stage = Stage(unfinished, flows.five)
    stage.start(unfinished)
    stage.advance(7200)
    told = stage.described()
    assert told["result"] == "left"
    assert not told["pending_activities"] and not told["pending_timers"] and not told["pending_children"]
    child = next(event["workflow_id"] for event in stage.history() if event["event"] == "ChildScheduled")
    assert stage.described(child)["status"] == "cancelled"
    assert not list(stage.stores[0].scan(b"T", b"U"))


@workflow
async def mixed(n: int) -> list[Any]:
    told: list[Any] = []
    lock, gate, slots = asyncio.Lock(), asyncio.Event(), asyncio.Semaphore(2)
    queue: asyncio.Queue[int] = asyncio.Queue(maxsize=2)

    async def work(i: int) -> None:
        await gate.wait()
        async with slots:
            value = await flows.add(i, i)
        async with lock:
            told.append([i, value])
        await queue.put(i)

    async def read() -> None:
        for _ in range(n):
            told.append(await queue.get())

    async with asyncio.TaskGroup() as group:
        group.create_task(read())
        for i in range(n):
            group.create_task(work(i))
        try:
            async with asyncio.timeout(5):
                await asyncio.shield(flows.go.wait())
        except TimeoutError:
            told.append("late")
        gate.set()
    told.append(patched("later"))
    told.append(now().timestamp())
    return told


def test_all_of_asyncio_repeats_on_replay() -> None:
    """Locks, events, semaphores, queues, groups, shields and timeouts give one history, evicted or not."""
    histories = []
    for evicts in (False, True):
        stage = Stage(mixed)
        stage.start(mixed, 6, message_id="same")
        stage.advance(10)
        while tasks := stage.take("tasks"):
            for task in reversed(tasks):
                if evicts:
                    stage.nodes[0].runs.clear()
                stage.complete(task, task.sequence)
        histories.append(stage.history())
        assert stage.described()["status"] == "completed"
    assert histories[0] == histories[1]


def test_no_backoff_factor_is_too_large() -> None:
    """Delays stop growing at their maximum, before the factor's power is beyond numbers."""
    policy = RetryPolicy(delays_ms=(1_000,), factor=1e200, delay_ms_max=120_000)
    assert [delay_ms(policy, retry) for retry in (1, 2, 50)] == [1_000, 120_000, 120_000]
