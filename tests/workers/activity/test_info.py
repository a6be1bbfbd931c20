"""Information about the running activity (workers/activity/info.py)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from penstock.schemas.errors import NotInActivity
from penstock.workers.activity.decorator import activity
from penstock.workers.activity.info import ActivityInfo, activity_info
from tests.workers.execution.executor_bench import Bench, task_of


def test_activity_info_needs_an_activity() -> None:
    """`activity_info()` raises NotInActivity outside of an activity run by a worker."""
    with pytest.raises(NotInActivity):
        activity_info()


@pytest.mark.parametrize("sync", [True, False])
def test_an_activity_knows_its_attempt(sync: bool) -> None:
    """`activity_info()` returns ids, attempt, queue, idempotency key and an aware deadline, also in threads."""
    infos: list[ActivityInfo] = []

    def work() -> None:
        infos.append(activity_info())

    async def work_async() -> None:
        await asyncio.sleep(0)
        infos.append(activity_info())

    definition = activity(name="work")(work if sync else work_async)
    before = datetime.now(UTC)
    Bench(definition).run(task_of(definition, attempt=2, timeout_ms=60_000))
    (info,) = infos
    assert (info.workflow_id, info.run_id, info.activity, info.attempt) == ("order-1", "run-1", "work", 2)
    assert (info.queue, info.idempotency_key) == ("default", "order-1/seed-1/3")
    assert info.deadline is not None
    assert 59 < (info.deadline - before).total_seconds() < 75
