"""Tests of errors in tasks that no code received."""

from __future__ import annotations

import asyncio
import logging

import pytest

from penstock.engine.authoring.workflow import workflow
from penstock.engine.execution.unretrieved import ERRORS_LOGGED_MAX, UNRETRIEVED
from penstock.observe.logs import route_to_logging
from tests.engine.core import flows
from tests.engine.stage import Stage


async def _breaks() -> None:
    await flows.add(1, 2)
    raise KeyError("nobody awaits this")


@workflow
async def forgets_tasks(count: int, awaits: str) -> str:
    tasks = [asyncio.create_task(_breaks()) for _ in range(count)]
    if not awaits:
        tasks.clear()
    if awaits == "gather":
        await asyncio.gather(*tasks, return_exceptions=True)
    elif awaits == "wait":
        done, _ = await asyncio.wait(tasks)
        tasks.clear()
        assert [task.exception() for task in done]
    elif awaits == "cancel":
        while tasks:
            tasks.pop().cancel()
    await flows.go.wait()
    return "done"


def _lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line for record in caplog.records if "background task" in (line := record.getMessage())]


def _played(count: int, awaits: str = "") -> Stage:
    route_to_logging()
    stage = Stage(forgets_tasks)
    stage.start(forgets_tasks, count, awaits)
    stage.run(add=lambda a, b: a + b)
    return stage


def test_an_error_that_nothing_awaits_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """The error is logged with run, task and traceback in the activation that raised it, not again on replay or at the
    end, and the run goes on."""
    with caplog.at_level(logging.WARNING):
        stage = _played(1)
        (line,) = _lines(caplog)
        stage.restart()
        stage.signal("go")
    assert line.startswith(UNRETRIEVED)
    assert "workflow_id='run-1'" in line
    assert "task='task-2'" in line
    assert 'raise KeyError("nobody awaits this")' in line
    assert _lines(caplog) == [line]
    assert stage.described()["result"] == "done"


@pytest.mark.parametrize("awaits", ["gather", "wait", "cancel"])
def test_an_error_that_code_receives_is_not_logged(awaits: str, caplog: pytest.LogCaptureFixture) -> None:
    """Errors that code has received, and cancellations, are no errors that were forgotten."""
    with caplog.at_level(logging.WARNING):
        _played(3, awaits)
    assert _lines(caplog) == []


def test_many_errors_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    """The first few errors of an activation are logged with tracebacks, the rest are counted."""
    route_to_logging()
    with caplog.at_level(logging.WARNING):
        Stage(forgets_many).start(forgets_many)
    *lines, last = _lines(caplog)
    assert len(lines) == ERRORS_LOGGED_MAX
    assert "count=90" in last


@workflow
async def forgets_many() -> None:
    async def breaks() -> None:
        raise KeyError

    for _ in range(100):
        asyncio.create_task(breaks())  # noqa: RUF006 - the mistake
    await flows.go.wait()


def test_the_error_that_fails_a_run_is_not_logged_again(caplog: pytest.LogCaptureFixture) -> None:
    """The error of the workflow function itself is the run's failure alone."""
    route_to_logging()
    with caplog.at_level(logging.WARNING):
        Stage(flows.failing).start(flows.failing, 1)
    assert _lines(caplog) == []


@pytest.mark.parametrize("held", ["by itself", "by the code"])
def test_an_error_of_a_task_that_is_held_is_logged_at_the_end(held: str, caplog: pytest.LogCaptureFixture) -> None:
    """Code that keeps its task may still receive the error, so it is logged when the run ends."""
    route_to_logging()
    stage = Stage(keeps_a_task)
    with caplog.at_level(logging.WARNING):
        stage.start(keeps_a_task, held == "by itself")
        stage.run(add=lambda a, b: a + b)
        before = _lines(caplog)
        stage.restart()
        stage.signal("go")
    assert stage.described()["result"] == "done"
    assert before == []
    assert len(_lines(caplog)) == 1


@workflow
async def keeps_a_task(by_itself: bool) -> str:
    class Keeper:
        task: asyncio.Task[None]

        async def breaks(self) -> None:
            await _breaks()

    keeper = Keeper()
    keeper.task = asyncio.create_task(keeper.breaks())
    if by_itself:
        del keeper
    await flows.go.wait()
    return "done"


def test_finished_tasks_are_forgotten() -> None:
    """The loop keeps the tasks that have not finished, and no others."""
    stage = Stage(forgets_tasks)
    stage.start(forgets_tasks, 100, "")
    stage.run(add=lambda a, b: a + b)
    (run,) = [stage.nodes[0].runs.get("run-1")]
    assert len(run.execution().loop.tasks) == 1  # type: ignore[attr-defined]  # a Program
