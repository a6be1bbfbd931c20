"""Tests of TestEngine with runs that are asked, and with runs that continue as new."""

from __future__ import annotations

from typing import Any

import pytest

from penstock import Query, continue_as_new, sleep, workflow
from penstock.schemas.errors import WorkflowBlockedError
from penstock.testing.engine import TestEngine
from tests.penstock.testing.test_engine import with_engine

days = Query("chains-days", int)


@workflow(name="chains-counts")
async def counts(so_far: int) -> int:
    """Count days, a run for each ten; the third run has a bug."""
    days.answer(lambda: so_far)
    for _ in range(10):
        await sleep("1d")
        so_far += 1
    if so_far < 20:
        continue_as_new(counts(so_far))
    missing: Any = object()
    return int(missing.no_such_field)


@workflow(name="chains-parent")
async def parent() -> int:
    """Await the chain."""
    return await counts(0).options(id="kid")


def test_a_query_after_skipped_time_is_answered() -> None:
    """The log's clock does not follow skipped time; a query is answered all the same, and its run has moved on."""

    async def use(engine: TestEngine) -> list[int]:
        run = await engine.client.start(counts(0), id="x")
        seen = []
        for span in ("36h", "11d"):
            await engine.skip(span)
            seen.append(await run.query(days, timeout="20s"))
        return seen

    assert with_engine(use, counts) == [1, 12]


@pytest.mark.parametrize("flow", [lambda: counts(0), parent])
def test_a_bug_in_a_later_run_of_a_chain_is_raised(flow: Any) -> None:
    """`result()` of the handle on the first run, or on a parent, raises when a later run of the chain is BLOCKED."""

    async def use(engine: TestEngine) -> str:
        run = await engine.client.start(flow(), id="x")
        await engine.skip("21d")
        with pytest.raises(WorkflowBlockedError) as caught:
            await run.result(timeout="20s")
        return str(caught.value)

    assert "no_such_field" in with_engine(use, counts, parent)


def test_the_end_is_read_after_the_result_of_a_chain() -> None:
    """After `result()` of a handle on the first run, `describe` shows the end of the last one."""

    async def use(engine: TestEngine) -> tuple[int, str]:
        run = await engine.client.start(continued(True), id="x")
        result = await run.result(timeout="20s")
        return result, str((await run.describe())["status"])

    assert with_engine(use, continued) == (7, "completed")


@workflow(name="chains-continued")
async def continued(again: bool) -> int:
    """Continue once."""
    if again:
        continue_as_new(continued(False))
    return 7
