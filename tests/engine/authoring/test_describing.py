"""Tests of `details` and `set_search` as workflow code uses them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from penstock.engine.authoring import definition as workflow_module
from penstock.engine.authoring.chain import continue_as_new
from penstock.engine.authoring.context import info
from penstock.engine.authoring.describing import details, set_search
from penstock.engine.authoring.handlers import Query
from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.waiting import sleep
from penstock.engine.authoring.workflow import workflow
from penstock.engine.core.versions import WorkflowTypes
from penstock.engine.execution import program
from penstock.schemas.errors import NotInWorkflow
from tests.engine.stage import Stage
from tests.schemas.samples import SEEDED

go = Signal("describing-go")
asks = Query("describing-asks", str)


@pytest.fixture(autouse=True)
def _registry_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several tests define a workflow of one name."""
    monkeypatch.setattr(workflow_module, "_definitions", WorkflowTypes())


def told(*says: Any) -> Any:
    """A workflow that sets these details, one before and one after a signal."""

    @workflow(name="told")
    async def told_workflow() -> int:
        for value in says:
            details(value)
            set_search(said=str(value))
            await go.wait()
        return info().history_length

    return told_workflow


def test_changed_notes_block_no_run() -> None:
    """Code that says something else of its run, or nothing, goes on; what is recorded stays until it changes again."""
    old = told("one", "two", "three")
    for new in (told("eins", "zwei", "drei"), told(None, None, "drei"), told("one", "one", "drei")):
        stage = Stage(old)
        stage.start(old)
        stage.signal("describing-go")
        with structlog.testing.capture_logs() as lines:
            stage.restart(new)
            assert stage.described()["details"] == "two"
            stage.signal("describing-go")
        assert stage.described()["details"] == "drei"
        assert {line["request"] for line in lines if "differs" in line["event"]} == {"DetailsSet", "SearchSet"}
        stage.restart(new)
        stage.signal("describing-go")
        assert stage.described()["status"] == "completed"
        assert stage.described()["result"] == len(stage.events()) - 1


def test_history_length_counts_notes_alike_on_replay() -> None:
    """`info().history_length` is the same for a run that was rebuilt."""
    code, results = told("one", "two"), set()
    for restarts in (False, True):
        stage = Stage(code)
        stage.start(code)
        for _ in range(2):
            if restarts:
                stage.restart()
            stage.signal("describing-go")
        results.add(stage.described()["result"])
    assert len(results) == 1


@pytest.mark.parametrize("call", [lambda: details(1), lambda: set_search(a=1)])
def test_outside_of_a_workflow(call: Any) -> None:
    """Outside of a workflow both raise NotInWorkflow, which names them."""
    with pytest.raises(NotInWorkflow, match=r"\(\) works only inside a workflow"):
        call()


def test_a_query_sets_no_details() -> None:
    """A query that sets details fails, and the run is as it was."""

    def answer() -> str:
        details("asked")
        return "answered"

    @workflow(name="asked")
    async def asked() -> None:
        asks.answer(answer)
        await go.wait()

    stage = Stage(asked)
    stage.start(asked)
    reply = stage.query("describing-asks")
    assert "details() would change the run" in reply.failure.message
    assert stage.described()["details"] is None


def test_a_bad_value_raises_where_it_is_handed_over() -> None:
    """An attribute whose type changes raises in the code, which may catch it."""

    @workflow(name="careless")
    async def careless() -> str:
        set_search(total=1)
        try:
            set_search(total="one")
        except ValueError as error:
            return str(error)
        return ""

    stage = Stage(careless)
    stage.start(careless)
    assert "total is of type int and cannot become one of type str" in stage.described()["result"]
    assert stage.described()["search"] == {"total": 1}


STEPS = st.lists(
    st.tuples(st.sampled_from(["details", "search", "remove", "sleep", "signal", "next"]), st.integers(0, 2)),
    max_size=12,
)


@workflow(name="describing-steps")
async def by_steps(steps: list[tuple[str, int]]) -> list[Any]:
    """Follow the steps; `next` goes on with the rest as a new run."""
    for at, (what, value) in enumerate(steps):
        match what:
            case "details":
                details({"value": value} if value else None)
            case "search":
                set_search(**{f"a{value}": value, "same": "x"})
            case "remove":
                set_search(**{f"a{value}": None})
            case "sleep":
                await sleep(value)
            case "signal":
                await go.wait()
            case _:
                continue_as_new(by_steps(steps[at + 1 :]))
    return [info().search, info().memo, info().chain_length]


def _came_of(steps: list[tuple[str, int]], *, restarts: bool) -> tuple[Any, list[Any]]:
    stage = Stage(by_steps, strict_inputs=True)
    stage.start(by_steps, steps, memo=b'{"by":"ann"}', search=b'{"customer":"c1"}')
    for _ in range(2 * len(steps) + 2):
        if restarts:
            stage.restart()
        stage.advance(1)
        if stage.described()["signals_awaited"]:
            stage.signal("describing-go")
    run = stage.described()
    return {name: run[name] for name in ("status", "result", "details", "search", "memo")}, stage.history()


@SEEDED
@given(STEPS)
def test_restarts_change_no_description(steps: list[tuple[str, int]]) -> None:
    """Whatever a program says of its run, it says the same, in the same events, if it is rebuilt at each step."""
    live, history = _came_of(steps, restarts=False)
    assert live["status"] == "completed"
    assert live["memo"] == {"by": "ann"}
    assert live["result"][0] == live["search"]
    assert (live, history) == _came_of(steps, restarts=True)


@workflow(name="describing-often")
async def often(changes: int, yields: bool) -> str:
    for number in range(changes):
        details(number)
        if yields:
            await asyncio.sleep(0)
    await go.wait()
    return "done"


@pytest.mark.parametrize("yields", [False, True])
def test_more_notes_than_a_decision_takes(monkeypatch: pytest.MonkeyPatch, yields: bool) -> None:
    """An activation that is suspended for its many notes goes on, and a run that is rebuilt is suspended alike."""
    monkeypatch.setattr(program, "REQUESTS_MAX", 20)
    stage = Stage(often, strict_inputs=True)
    stage.start(often, 30, yields)
    stage.advance(1)
    assert stage.described()["details"] == 29
    assert ("ActivationSuspended" in stage.events()) == yields
    stage.restart()
    stage.signal("describing-go")
    assert stage.described()["result"] == "done"
