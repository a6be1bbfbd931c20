"""Finding and binding of tasks, and abandoned attempts (workers/execution/executor.py)."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any

from penstock.schemas.records.tasks import ActivityTask, TaskCompleted
from penstock.workers.activity.decorator import activity
from tests.workers.execution.executor_bench import Bench, failure_of, task_of


def test_wrong_input_is_not_retried() -> None:
    """Input that does not fit the declared types is a non-retryable BadInput, and the activity is not called."""
    ran = []

    @activity
    async def double(number: int) -> int:
        ran.append(number)
        return number * 2

    good = task_of(double, 1)
    bad = ActivityTask(
        workflow_id="w", run_id="r", sequence=1, attempt=1, activity="double", input=b'"two"', queue="default", shard=0
    )
    results = Bench(double).run(bad, good)
    failure = failure_of(results[0])
    assert failure.type == "penstock.schemas.errors.BadInput"
    assert failure.non_retryable
    assert ran == [1]


def test_an_abandoned_attempt_is_not_reported() -> None:
    """`abandon` cancels the running attempts without a result, so that their tasks are delivered again."""
    release = threading.Event()

    @activity
    async def endless() -> None:
        await asyncio.sleep(60)

    @activity
    def stuck() -> None:
        release.wait(20)

    bench = Bench(endless, stuck)

    async def meanwhile() -> None:
        await asyncio.sleep(0.01)
        bench.executor.abandon()
        release.set()

    assert bench.run(task_of(endless), task_of(stuck), meanwhile=meanwhile) == []


def _for_tenant(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return f"{kwargs['tenant']}: {fn(*args, **kwargs)}"

    @functools.wraps(fn)
    async def async_wrapper(*args: Any, **kwargs: Any) -> Any:
        return f"{kwargs['tenant']}: {await fn(*args, **kwargs)}"

    return async_wrapper if inspect.iscoroutinefunction(fn) else wrapper


def test_a_wrapper_that_reads_an_argument_by_its_name() -> None:
    """A decorator with `**kwargs` finds in it what the call gave, for sync and async activities."""

    @activity
    @_for_tenant
    def counts(n: int, tenant: str = "acme") -> str:
        return f"{n} {tenant}"

    @activity
    @_for_tenant
    async def counts_later(n: int, tenant: str = "acme") -> str:
        return f"{n} {tenant}"

    results = Bench(counts, counts_later).run(task_of(counts, 1), task_of(counts_later, 2, "zeta"))
    assert sorted(result.result for result in results if isinstance(result, TaskCompleted)) == [
        b'"acme: 1 acme"',
        b'"zeta: 2 zeta"',
    ]
