"""Tests of signals and conditions that workflow code awaits."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest

from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.waiting import wait_condition
from penstock.engine.authoring.workflow import workflow
from tests.engine.core import flows
from tests.engine.stage import Stage


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
    """Any exception of a wait_condition's function reaches its waiter, and never the processor."""
    stage = Stage(looking)
    stage.start(looking, what)
    stage.signal("go")
    assert stage.described()["status"] == "failed"


number = Signal("number", int)


onward = Signal("onward")


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


def test_a_signal_that_its_reader_missed_goes_to_the_next_waiter() -> None:
    """Timer and signal reach a blocked run's code together: the value of the reader that timed out goes to the next."""
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


def test_signal_before_its_wait_counts() -> None:
    """A signal that arrived before any wait is read later, first in first out."""
    stage = Stage(flows.travel)
    stage.start(flows.travel, ["a"])
    stage.signal("go")
    stage.run(book_place=lambda value: value)
    assert stage.described()["result"] == "travelled"


def listening(stage: Stage) -> tuple[list[str], dict[str, int]]:
    described = stage.described()
    return described["signals_awaited"], described["signals_unread"]


def test_awaited_and_unread_signals_are_described() -> None:
    """`describe` shows the signal that code awaits and those it has not read, at each step and across restarts."""
    stage = Stage(flows.approved)
    stage.start(flows.approved)
    assert listening(stage) == (["price"], {})
    for _ in range(2):
        stage.signal("prcie")
        stage.restart()
    assert listening(stage) == (["price"], {"prcie": 2})
    stage.signal("price", 5)
    assert listening(stage) == ([], {"prcie": 2})


def test_conditions_that_a_run_waits_for_are_counted() -> None:
    """`describe` shows the number of conditions that a run awaits."""
    stage = Stage(flows.conditional)
    stage.start(flows.conditional)
    assert stage.described()["conditions_awaited"] == 1


def test_readers_that_gave_up_are_forgotten() -> None:
    """Code that waits for a signal again and again, each time until a timeout, keeps one waiter."""
    stage = Stage(flows.looks_again)
    stage.start(flows.looks_again)
    stage.advance(3600 * 50)
    program = stage.nodes[0].runs.get("run-1").execution()
    assert len(program.signals.waiters["price"]) == 1


tests_made: list[int] = []


@workflow
async def in_turn(count: int) -> list[int]:
    served: list[int] = []

    def is_next(place: int) -> bool:
        tests_made.append(place)
        return len(served) > place

    async def take(place: int) -> None:
        await wait_condition(lambda: is_next(place))
        served.append(place)

    async def begin() -> None:
        await flows.go.wait()
        served.append(-1)

    await asyncio.gather(begin(), *(take(place) for place in range(count)))
    return served


def test_a_chain_of_conditions_is_tested_a_few_times_each() -> None:
    """Conditions that become true one by the other are resolved in order in one pass: 300 take 600 tests, not 45,000,
    however many wait."""
    stage = Stage(in_turn)
    stage.start(in_turn, 300)
    tests_made.clear()
    stage.signal("go")
    assert stage.described()["result"] == list(range(-1, 300))
    assert len(tests_made) <= 600
