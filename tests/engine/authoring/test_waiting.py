"""Tests of waits: sleep and wait_condition, awaited and not awaited, inside and outside of workflows."""

from __future__ import annotations

import asyncio
import warnings

import pytest

from penstock.engine.authoring.waiting import sleep, wait_condition
from penstock.schemas.errors import BadInput
from tests.engine.core import flows
from tests.engine.stage import START_MS, Stage


def test_wait_condition() -> None:
    """A condition is tested again whenever the run advanced."""
    stage = Stage(flows.conditional)
    stage.start(flows.conditional)
    stage.signal("price", 4)
    assert stage.described()["status"] == "running"
    stage.signal("price", 6)
    assert stage.described()["result"] == 10


def test_an_async_condition_is_refused() -> None:
    """An async function is no condition: what it returns, a coroutine, would always hold."""

    async def holds() -> bool:
        return False

    with pytest.raises(BadInput, match="not an async one"):
        wait_condition(holds)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["go.wait", "add"])
def test_what_was_not_awaited_has_no_truth_value(name: str) -> None:
    """`if go.wait():` without its `await` does not count as true: the run fails, and the failure says what to write."""
    stage = Stage(flows.approves_blindly)
    stage.start(flows.approves_blindly, name)
    failure = stage.described()["failure"]
    assert failure["type"].endswith("CallNotAwaited") and f"write `await {name}(…)`" in failure["message"]


@pytest.mark.parametrize(("what", "says"), [("call", "add"), ("nested", "add"), ("argument", "add"), ("wait", "sleep")])
def test_what_was_not_awaited_is_no_value(what: str, says: str) -> None:
    """A call or a wait that is returned or passed as a value fails the run, which names its line and `await`."""
    stage = Stage(flows.hands_over)
    stage.start(flows.hands_over, what)
    message = stage.described()["failure"]["message"]
    assert "flows.py:" in message and f"was not awaited: write `await {says}(…)`" in message


def test_asyncio_takes_waits() -> None:
    """Tasks, `wait_for`, `gather`, `shield`, `timeout` and TaskGroup take waits, and replay finds the same history."""
    histories = []
    for evicts in (False, True):
        stage = Stage(flows.waits_by_asyncio)
        stage.start(flows.waits_by_asyncio, 5, message_id="same")
        for act, value in ((stage.advance, 6), (stage.signal, "go"), (stage.advance, 2)):
            if evicts:
                stage.nodes[0].runs.clear()
            act(value)  # type: ignore[operator]  # each takes its own
        assert stage.described()["result"] == ["no signal", None, START_MS / 1000 + 8]
        histories.append(stage.history())
    assert histories[0] == histories[1]


def test_a_wait_is_awaited_once() -> None:
    """Awaiting a wait again is an error, as with any coroutine."""

    async def twice() -> None:
        wait = sleep(0)
        await wait
        await wait

    with pytest.raises(RuntimeError, match="already awaited"):
        asyncio.run(twice())


def test_sleep_outside_of_a_workflow() -> None:
    """Outside of a workflow `sleep` is asyncio's: it runs by itself, in tasks and in `gather`, and warns of nothing."""

    async def sleeps() -> None:
        await sleep(0)
        await asyncio.gather(sleep("1ms"), asyncio.create_task(sleep(0)))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(sleeps())
        asyncio.run(sleep(0))


def test_a_sleep_that_is_not_awaited_outside_of_a_workflow() -> None:
    """A `sleep` that is not awaited outside of a workflow warns once and names its line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sleep("1h")
    assert [str(warning.message).split(" was ")[0] for warning in caught] == ["sleep(…)"]
    assert __file__ in str(caught[0].message)
