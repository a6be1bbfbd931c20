"""Tests of recorded runs that are read from the log."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock import Signal, activity, continue_as_new, workflow
from penstock.client.recorded import RecordedRun, run_of_history, runs_in_log
from penstock.client.run import Run
from penstock.engine.execution.comparison import compare
from penstock.schemas.errors import BadInput, UnknownTopic
from penstock.testing import TestEngine
from penstock.topics.catalogue import Topics
from penstock.topics.embedded import EmbeddedLog

go = Signal("recorded-go", int)


@activity(name="recorded-double")
def double(number: int) -> int:
    return 2 * number


@workflow(name="recorded-counts")
async def counts(number: int) -> int:
    await double(number)
    if number:
        continue_as_new(counts(number - 1))
    return await go.wait()


def recorded(workflow_id: str = "", *, trim: int = 0) -> list[RecordedRun]:
    """The runs of a chain of two, and of another id, as they are in the log."""

    async def use() -> list[RecordedRun]:
        async with TestEngine(counts, double) as engine:
            run = await engine.client.start(counts(1), id="chain")
            await run.signal(go, 5)
            assert await run.result() == 5
            await engine.client.start(counts(0), id="other")
            await engine.skip("0s")
            log: Any = engine._log
            if trim:
                log.trim({(Topics().events, 0): trim})
            return list(runs_in_log(log, Topics(), workflow_id))

    return asyncio.run(use())


def test_each_run_of_a_chain_is_a_run() -> None:
    """Closed runs come as they end, with their closing; those that are open come last."""
    assert [(run.workflow_id, run.closing) for run in recorded()] == [
        ("chain", "WorkflowContinued"),
        ("chain", "WorkflowCompleted"),
        ("other", ""),
    ]


def test_runs_of_one_id() -> None:
    """Runs of another id are left out."""
    runs = recorded("chain")
    assert [run.workflow_id for run in runs] == ["chain", "chain"]
    assert len({run.run_id for run in runs}) == 2
    assert all(run.started is not None and run.started.workflow_type == "recorded-counts" for run in runs)


def test_a_history_without_its_beginning() -> None:
    """A run whose first events have expired has no start."""
    assert [run.started is None for run in recorded(trim=1)] == [True, False, False]


@workflow(name="recorded-sums")
async def sums(number: int) -> int:
    total = await double(number)
    total += await go.wait()
    total += await double(total)
    return total + await go.wait()


async def _reset_twice(engine: TestEngine) -> Run[int]:
    """A run that was reset to its first wait while it was open, and to its second after it had closed."""
    run = await engine.client.start(sums(1), id="sum")
    await engine.skip("0s")
    first_wait = len(await run.history())
    await run.signal(go, 5)
    await engine.skip("0s")
    second_wait = len(await run.history())
    await run.reset(to_event=first_wait, reason="another look")
    await run.signal(go, 6)
    await run.result()
    await run.reset(to_event=second_wait, reason="and another")
    await engine.skip("0s")
    return run


def test_runs_that_were_reset() -> None:
    """A run that was reset has its base's history up to the cut, also one whose base was reset; none differs."""

    async def use() -> tuple[list[RecordedRun], list[RecordedRun]]:
        async with TestEngine(sums, double) as engine:
            current = await _reset_twice(engine)
            log: Any = engine._log
            in_log = list(runs_in_log(log, Topics()))
            runs = [engine.client.get("sum", run_id=run.run_id) for run in in_log[1:]]  # the first's id is the chain's
            histories = [run_of_history("sum", run.run_id, await run.history()) for run in runs]
            assert in_log[-1].run_id == (await current.describe())["run_id"]
            return in_log, histories

    in_log, histories = asyncio.run(use())
    assert [run.closing for run in in_log] == ["WorkflowReset", "WorkflowCompleted", "WorkflowCompleted"]
    for run, history in zip(in_log[1:], histories, strict=True):
        assert [record.events for record in run.records] == [record.events for record in history.records]
    for run in [*in_log, *histories]:
        assert run.started is not None
        assert compare(sums, "sum", run.run_id, run.records).differences == ()


def test_what_has_no_runs() -> None:
    """A log without the topic, and a history without events, are refused."""
    log = EmbeddedLog()
    with pytest.raises(UnknownTopic, match="events does not exist"):
        list(runs_in_log(log, Topics()))
    log.close()
    with pytest.raises(BadInput, match="the history of x has no event"):
        run_of_history("x", "", [])
