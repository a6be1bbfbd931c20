"""Tests of replay with code that does something of another kind, or ends otherwise, where the history goes on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from penstock.engine.authoring.handlers import Query
from penstock.engine.authoring.waiting import sleep
from penstock.engine.authoring.workflow import workflow
from tests.engine.core import flows
from tests.engine.stage import Stage

asked = Query("ends-asked", int)


@workflow(name="ends-changes")
async def changes(n: int) -> int:
    """An activity, a wait, an activity."""
    asked.answer(lambda: n)
    n = await flows.add(n, 1)
    await flows.go.wait()
    return await flows.add(n, 10)


async def another_kind(n: int) -> int:
    await sleep(1)
    await flows.go.wait()
    return await flows.add(n, 10)


async def another_activity(n: int) -> int:
    n = await flows.shaky(n)
    await flows.go.wait()
    return await flows.add(n, 10)


async def another_order(n: int) -> int:
    await flows.go.wait()
    return await flows.add(await flows.add(n, 1), 10)


async def ends_early(n: int) -> int:
    return await flows.add(n, 1)


async def fails_early(n: int) -> int:
    await flows.add(n, 1)
    raise ValueError("too early")


async def never_ends(n: int) -> int:
    n = await flows.add(n, 1)
    await flows.go.wait()
    await flows.add(n, 10)
    await flows.go.wait()
    return n


async def fails_at_the_end(n: int) -> int:
    n = await flows.add(n, 1)
    await flows.go.wait()
    await flows.add(n, 10)
    raise ValueError("no good end")


Code = Callable[[int], Awaitable[int]]
OPEN: list[tuple[Code, str]] = [
    (another_kind, "the history holds ActivityScheduled add as request 1, the code requests TimerStarted as request 1"),
    (
        another_activity,
        "the history holds ActivityScheduled add as request 1, the code requests ActivityScheduled shaky",
    ),
    (another_order, "the history goes on with ActivityScheduled add as request 1, which the code does not request"),
    (ends_early, "the code requests WorkflowCompleted, where the history holds nothing more"),
    (fails_early, "the code requests WorkflowFailed, where the history holds nothing more"),
]
CLOSED: list[tuple[Code, str]] = [
    *OPEN[:3],
    (ends_early, "the code requests WorkflowCompleted, where the history holds nothing more"),
    (never_ends, "the history goes on with WorkflowCompleted, which the code does not request"),
    (fails_at_the_end, "the history holds WorkflowCompleted, the code requests WorkflowFailed"),
]


def _begun() -> Stage:
    stage = Stage(changes)
    stage.start(changes, 1)
    stage.run(add=lambda a, b: a + b)
    return stage


@pytest.mark.parametrize(("code", "message"), OPEN, ids=lambda given: getattr(given, "__name__", ""))
def test_an_open_run_whose_code_does_something_else_is_blocked(
    code: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another kind of request, another subject, another order and an end before the history's own block the run, and
    the message says what was recorded and what the code does; the old code frees it."""
    stage = _begun()
    with monkeypatch.context() as changed:
        changed.setattr(changes, "fn", code)
        stage.restart()
        stage.signal("go")
        described = stage.described()
        assert (described["status"], described["blocked_reason"]) == ("blocked", "non_determinism")
        assert message in described["blocked_message"]
    stage.restart()
    stage.run(add=lambda a, b: a + b)
    assert stage.described()["result"] == 12


@pytest.mark.parametrize(("code", "message"), CLOSED, ids=lambda given: getattr(given, "__name__", ""))
def test_a_closed_run_whose_code_ends_otherwise_answers_no_query(
    code: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code that does not come to the recorded end cannot answer for a closed run: the refusal says what differs, and
    the run stays as it closed."""
    stage = _begun()
    stage.signal("go")
    stage.run(add=lambda a, b: a + b)
    assert stage.query(asked.name).result == b"2"
    monkeypatch.setattr(changes, "fn", code)
    refused = stage.query(asked.name)
    assert (refused.reason, stage.described()["status"]) == ("blocked", "completed")
    assert message in refused.message
