"""Bench for the tests of the executor: runs tasks and keeps their results."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from penstock.schemas.records.tasks import ActivityTask, Report, Result, TaskFailed
from penstock.workers.activity.decorator import AnyActivity
from penstock.workers.execution.executor import Executor
from penstock.workers.execution.threads import Threads


def task_of(
    definition: AnyActivity, *args: Any, timeout_ms: int = 0, attempt: int = 1, details: bytes = b""
) -> ActivityTask:
    return ActivityTask(
        workflow_id="order-1",
        run_id="run-1",
        sequence=3,
        attempt=attempt,
        activity=definition.name,
        input=definition.signature.bind(args, {}),
        queue="default",
        shard=0,
        timeout_ms=timeout_ms,
        seed="seed-1",
        bounds=definition.request.bounds,
        details=details,
    )


class Bench:
    """Runs tasks on a new executor, and keeps their results."""

    def __init__(self, *definitions: AnyActivity, threads: int = 2, result_bytes_max: int = 1_000) -> None:
        self.definitions = {definition.name: definition for definition in definitions}
        self.threads = Threads(threads, "test")
        self.result_bytes_max = result_bytes_max
        self.results: list[Result] = []
        self.reports: list[Report] = []
        self.ended = 0
        self.executor: Executor

    def run(self, *tasks: ActivityTask, meanwhile: Callable[[], Any] | None = None) -> list[Result]:
        """Return the results of the tasks, once all have ended."""
        asyncio.run(asyncio.wait_for(self._run(tasks, meanwhile), 20))
        return self.results

    async def _run(self, tasks: tuple[ActivityTask, ...], meanwhile: Callable[[], Any] | None) -> None:
        self.executor = Executor(
            self.definitions,
            self.threads,
            structlog.get_logger().bind(),
            worker="w-1",
            result_bytes_max=self.result_bytes_max,
        )
        self.executor.send = lambda task, report: self.reports.append(report)
        for task in tasks:
            self.executor.start(task, self.results.append, self._ended)
        if meanwhile is not None:
            await meanwhile()
        while self.ended < len(tasks):
            await asyncio.sleep(0.002)
        assert self.executor.running == 0
        self.threads.close()

    def _ended(self) -> None:
        self.ended += 1


def one(definition: AnyActivity, *args: Any, **options: Any) -> Result:
    bench = Bench(definition)
    (result,) = bench.run(task_of(definition, *args, **options))
    return result


def failure_of(result: Result) -> Any:
    assert isinstance(result, TaskFailed), result
    return result.failure
