"""Tests of replay: one history, whether a run stays in memory or is rebuilt for each decision."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.engine.authoring import context
from penstock.engine.authoring.context import now
from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.versions import patched
from penstock.engine.authoring.workflow import workflow
from penstock.engine.core.machines.run import PYTHON
from penstock.schemas.records.run import StartWorkflow
from penstock.workers.activity.decorator import activity
from tests.engine.core import flows
from tests.engine.stage import Stage


@workflow
async def mixed(n: int) -> list[Any]:
    seen: list[Any] = []
    lock, gate, slots = asyncio.Lock(), asyncio.Event(), asyncio.Semaphore(2)
    queue: asyncio.Queue[int] = asyncio.Queue(maxsize=2)

    async def work(i: int) -> None:
        await gate.wait()
        async with slots:
            value = await flows.add(i, i)
        async with lock:
            seen.append([i, value])
        await queue.put(i)

    async def read() -> None:
        for _ in range(n):
            seen.append(await queue.get())

    async with asyncio.TaskGroup() as group:
        group.create_task(read())
        for i in range(n):
            group.create_task(work(i))
        try:
            async with asyncio.timeout(5):
                await asyncio.shield(flows.go.wait())
        except TimeoutError:
            seen.append("late")
        gate.set()
    seen.append(patched("later"))
    seen.append(now().timestamp())
    return seen


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


@pytest.mark.parametrize("flow", [flows.five, flows.fan, flows.grouped])
def test_every_step_survives_eviction(flow: Any) -> None:
    """A run that is evicted after every decision ends with the same history."""
    histories = []
    for evicts in (False, True):
        stage = Stage(flow)
        stage.start(flow, 4, message_id="same")
        while tasks := stage.take("tasks"):
            for task in tasks:
                if evicts:
                    stage.nodes[0].runs.clear()
                stage.complete(task, task.sequence)
        histories.append(stage.history())
    assert histories[0] == histories[1]


go = Signal("replayer-go")


@activity
def replayer_charge(name: str) -> str: ...


@workflow
async def replayer_started() -> str:
    started = context.info().started
    await replayer_charge("x")
    return started.isoformat()


@workflow
async def replayer_mutates(x: int, items: list[str] = []) -> int:  # noqa: B006 - the case
    items.append("a")
    await asyncio.gather(*map(replayer_charge, items))
    return len(items)


@workflow
async def replayer_set() -> None:
    await asyncio.gather(*{replayer_charge(str(n)) for n in range(6)})


def test_started_is_when_a_blocked_run_started() -> None:
    """`info().started` of a run that was BLOCKED at first is when it started, not when it was unblocked."""
    stage = Stage(replayer_started, queues=())
    stage.start(replayer_started)
    stage.advance(3600)
    stage.queues.add("default")
    stage.restart()
    stage.run(replayer_charge=lambda _: "ok")
    assert stage.described()["result"].startswith("2023-11-14T22:13:20")


def test_default_arguments_are_not_shared() -> None:
    """Code that changes a mutable default argument changes it for its own run, and again on replay."""
    stage = Stage(replayer_mutates)
    for id in "ab":
        stage.tell(StartWorkflow(workflow_id=id, workflow_type="replayer_mutates", input=b'{"x":1}', message_id=id))
    stage.restart()
    stage.run(replayer_charge=lambda _: "ok")
    assert [stage.described(id)["result"] for id in "ab"] == [1, 1]


@pytest.mark.parametrize("padding", range(5))
def test_a_set_of_calls_keeps_its_order(padding: int) -> None:
    """A set of calls is iterated in one order on replay, wherever they lie in memory."""
    stage = Stage(replayer_set)
    stage.start(replayer_set)
    kept = [replayer_charge("x") for _ in range(100 + padding)]
    [call.claim() for call in kept]
    stage.restart()
    stage.run(replayer_charge=lambda _: "ok")
    assert stage.described()["status"] == "completed"


@workflow
async def replayer_pythons(n: int) -> None:
    await replayer_charge(str(n))


async def _charges_twice(n: int) -> None:
    await asyncio.gather(replayer_charge("twice"), replayer_charge(str(n)))


@pytest.mark.parametrize(("began", "named"), [("3.10", True), (PYTHON, False), ("", False)])
def test_a_difference_under_another_python_names_it(began: str, named: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay that differs names the Python under which the run began if it is another, and does so only then."""
    stage = Stage(replayer_pythons)
    with monkeypatch.context() as patched_python:
        patched_python.setattr("penstock.engine.core.machines.run.PYTHON", began)
        stage.start(replayer_pythons, 1)
    (task,) = stage.take("tasks")
    monkeypatch.setattr(replayer_pythons, "fn", _charges_twice)
    stage.restart()
    stage.complete(task, "ok")
    described = stage.described()
    assert described["blocked_reason"] == "non_determinism"
    assert ("the run began under Python 3.10, and this" in described["blocked_message"]) == named
    assert described["blocked_message"].startswith("the code no longer does") != named
    assert "the code requests ActivityScheduled replayer_charge" in described["blocked_message"]
