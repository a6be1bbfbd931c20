"""Steps of a task before its activity is called, and the end of all (workers/execution/executor.py)."""

from __future__ import annotations

import asyncio
import threading

from penstock.schemas.records.tasks import ActivityTask
from penstock.workers.activity.decorator import activity
from tests.workers.execution.executor_bench import Bench, failure_of, task_of


def test_wrong_input_is_not_retried() -> None:
    """Input that does not fit the declared types fails for good, in words, without running the activity."""
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


def test_an_unknown_activity_is_retried_elsewhere() -> None:
    """A worker without the activity says which it has; the failure is retryable, for another worker may know it."""

    @activity
    async def known() -> None: ...

    @activity
    async def unknown() -> None: ...

    (result,) = Bench(known).run(task_of(unknown))
    failure = failure_of(result)
    assert (failure.type, failure.non_retryable) == ("ActivityNotFound", False)
    assert "'unknown'" in failure.message
    assert "it has: known" in failure.message


def test_what_is_abandoned_is_not_a_failure() -> None:
    """A drained worker cancels what still runs and reports nothing: the tasks are delivered again."""
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
