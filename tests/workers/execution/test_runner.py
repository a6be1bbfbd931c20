"""Scheduling of waiting tasks, and publication of their results (workers/execution/runner.py)."""

from __future__ import annotations

import asyncio
import threading

from penstock.schemas.encoding.codec import decode
from penstock.schemas.errors import RecordTooLarge
from penstock.schemas.records.tasks import ActivityTask, TaskCompleted, TaskFailed
from penstock.workers.activity.decorator import activity
from tests.workers.bench import SHARDS, Bench, until


def test_tasks_become_results_on_their_shards(bench: Bench) -> None:
    """Each task's result is on the partition that the task names, keyed by workflow id, with the worker's name."""

    @activity
    async def double(number: int) -> int:
        return number * 2

    tasks = [bench.task(double, number) for number in range(20)]
    bench.put(*tasks)
    bench.worker(double, name="w-1")
    bench.await_results(20)
    records = bench.read(bench.topics.results, SHARDS)
    found = {record.key: (record.partition, decode(record.value or b"")) for record in records}
    for number, task in enumerate(tasks):
        partition, result = found[task.workflow_id.encode()]
        assert partition == task.shard
        assert result == TaskCompleted(
            workflow_id=task.workflow_id,
            run_id=task.run_id,
            sequence=task.sequence,
            attempt=1,
            result=str(number * 2).encode(),
            worker="w-1",
        )


def test_never_more_than_concurrency_at_once(bench: Bench) -> None:
    """At most `concurrency` tasks run at once, and all waiting tasks are run."""
    now = peak = 0

    @activity
    async def work() -> None:
        nonlocal now, peak
        now += 1
        peak = max(peak, now)
        await asyncio.sleep(0.001)
        now -= 1

    bench.put(*[bench.task(work) for _ in range(200)])
    bench.worker(work, concurrency=7)
    bench.await_results(200)
    assert peak == 7


def test_waiting_sync_activities_do_not_delay_async_ones(bench: Bench) -> None:
    """Sync tasks that wait for a thread do not count as running, so async tasks behind them run."""
    release = threading.Event()

    @activity
    def slow() -> str:
        release.wait(20)
        return "slow"

    @activity
    async def quick() -> str:
        return "quick"

    bench.put(*[bench.task(slow) for _ in range(20)], bench.task(quick))
    bench.worker(slow, quick, concurrency=10, threads=2)
    until(lambda: b'"quick"' in bench.values(), "the async activity's result")
    assert bench.values() == [b'"quick"']
    release.set()
    bench.await_results(21)


def test_a_result_that_the_log_refuses_as_too_large_becomes_a_failure(bench: Bench) -> None:
    """A result that the topic refuses as too large becomes a non-retryable failure."""

    @activity
    async def work() -> int:
        return 1

    bench.log.send_errors.append(RecordTooLarge("too large"))
    bench.put(bench.task(work))
    bench.worker(work)
    (result,) = bench.await_results(1)
    assert isinstance(result, TaskFailed)
    assert result.failure.non_retryable
    assert bench.topics.results in result.failure.message


def test_a_deep_backlog_of_failing_tasks_does_not_nest(bench: Bench) -> None:
    """Thousands of tasks that fail before they run are reported without recursion."""

    @activity
    async def work(number: int) -> int:
        return number

    bench.put(*[bench.task(work, 1, input=b'"no number"') for _ in range(3_000)])
    bench.worker(work, concurrency=5)
    results = bench.await_results(3_000)
    assert all(isinstance(result, TaskFailed) for result in results)


def test_results_have_the_token_of_their_task(bench: Bench) -> None:
    """The results of two attempts have the run, sequence and attempt of their tasks."""

    @activity
    async def work() -> None: ...

    first = bench.task(work)
    second = ActivityTask(
        **{field: getattr(first, field) for field in first.__struct_fields__ if field != "attempt"}, attempt=2
    )
    bench.put(first, second)
    bench.worker(work)
    results = bench.await_results(2)
    assert sorted((result.run_id, result.sequence, result.attempt) for result in results) == [
        (first.run_id, first.sequence, 1),
        (first.run_id, first.sequence, 2),
    ]
