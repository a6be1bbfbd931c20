"""Cancellations reach the attempts of a worker, on the embedded log."""

from __future__ import annotations

import asyncio
import threading
import time

from penstock.schemas.errors import ActivityCancelledError
from penstock.schemas.records.tasks import ActivityTask, TaskCompleted, TaskFailed
from penstock.topics.log import TopicSpec
from penstock.workers.activity.decorator import AnyActivity, activity
from penstock.workers.activity.heartbeats import heartbeat
from penstock.workers.activity.info import activity_info
from tests.workers.bench import Bench, until


def begun(bench: Bench, definition: AnyActivity, started: threading.Event, **options: int) -> ActivityTask:
    """A task of the activity that a worker has begun."""
    task = bench.task(definition)
    bench.put(task)
    bench.worker(definition, **options)
    assert started.wait(20), "the activity did not begin"
    return task


def test_an_async_attempt_is_cancelled(bench: Bench) -> None:
    """An async activity receives CancelledError, may clean up, and its end is reported as cancelled, not retryable."""
    started, cleaned = threading.Event(), threading.Event()

    @activity
    async def endless() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            cleaned.set()
            raise

    bench.cancel(begun(bench, endless, started))
    assert cleaned.wait(20), "the activity was not cancelled"
    (result,) = bench.await_results(1)
    assert isinstance(result, TaskFailed)
    assert result.failure.kind == "cancelled"


def test_a_sync_attempt_sees_it_at_its_next_heartbeat(bench: Bench) -> None:
    """`heartbeat()` raises in a sync activity once no run waits for it, and its thread takes other work."""
    started, seen = threading.Event(), []

    @activity
    def endless() -> None:
        started.set()
        try:
            while True:
                heartbeat()
                time.sleep(0.005)
        except ActivityCancelledError:
            seen.append("cancelled")
            raise

    @activity
    def after() -> int:
        return 1

    task = bench.task(endless)
    bench.put(task, bench.task(after))
    bench.worker(endless, after, threads=1)
    assert started.wait(20), "the activity did not begin"
    bench.cancel(task)
    until(lambda: bench.values() == [b"1"], "the result of the other activity")
    assert seen == ["cancelled"]


def test_cancelling_twice_is_one_cancellation(bench: Bench) -> None:
    """An activity that cleans up is not interrupted by the cancellation of its run after that of its attempt."""
    started, cleaning, cleaned = threading.Event(), threading.Event(), threading.Event()

    @activity
    async def endless() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            await asyncio.sleep(0.5)
            cleaned.set()

    task = begun(bench, endless, started)
    bench.cancel(task)
    assert cleaning.wait(20), "the activity was not cancelled"
    bench.cancel(task)
    bench.cancel(task, sequence=0, attempt=0)
    assert cleaned.wait(20), "the activity did not clean up"
    assert len(bench.await_results(1)) == 1


def test_a_late_cancellation_costs_no_thread(bench: Bench) -> None:
    """Cancellations of attempts that have ended, or that were cancelled before, end no thread and take no place."""
    tasks = []

    @activity
    def work(number: int) -> int:
        return number

    bench.worker(work, threads=2)
    for number in range(20):
        task = bench.task(work, number)
        bench.put(task)
        bench.await_results(number + 1)
        bench.cancel(task)
        bench.cancel(task)
        tasks.append(task)
    assert sorted(bench.values(), key=int) == [b"%d" % number for number in range(20)]


def test_a_sync_attempt_may_ask(bench: Bench) -> None:
    """`activity_info().cancelled` says so as well; what the attempt returns then is its result."""
    started = threading.Event()

    @activity
    def polite() -> str:
        started.set()
        while not activity_info().cancelled:
            time.sleep(0.005)
        return "ended"

    bench.cancel(begun(bench, polite, started))
    bench.await_results(1)
    assert bench.values() == [b'"ended"']


def test_another_attempt_goes_on(bench: Bench) -> None:
    """The cancellation of an earlier attempt, or of another run, is none of this attempt."""
    started, release = threading.Event(), threading.Event()

    @activity
    def work() -> str:
        started.set()
        release.wait(20)
        heartbeat()
        return "ended"

    task = bench.task(work, attempt=2)
    bench.put(task)
    bench.worker(work)
    assert started.wait(20), "the activity did not begin"
    bench.cancel(task, attempt=1)
    bench.cancel(task, sequence=task.sequence + 1)
    time.sleep(0.5)
    release.set()
    bench.await_results(1)
    assert bench.values() == [b'"ended"']


def test_waiting_tasks_of_a_closed_run_are_dropped(bench: Bench) -> None:
    """Tasks of a run that has closed are not begun, wherever they wait, and count as done without a result."""
    started, release, runs = threading.Event(), threading.Event(), []

    @activity
    def work(name: str) -> None:
        runs.append(name)
        started.set()
        release.wait(20)

    first = bench.task(work, "first")
    waiting = [bench.task(work, "waiting", workflow_id="closed", run_id="closed") for _ in range(3)]
    bench.put(first, *waiting[:2])
    bench.worker(work, threads=1)
    assert started.wait(20), "the activity did not begin"
    bench.cancel(waiting[0], sequence=0, attempt=0)
    time.sleep(0.5)
    bench.put(waiting[2])
    release.set()
    until(lambda: bench.committed().watermark == 4, "a commit of all tasks")
    assert runs == ["first"]
    assert len(bench.results()) == 1


def test_a_run_that_awaits_the_end_gets_one(bench: Bench) -> None:
    """A task that is dropped is reported as cancelled to a run that waits for the attempt's end."""
    started, release = threading.Event(), threading.Event()

    @activity
    def work() -> None:
        started.set()
        release.wait(20)

    task = bench.task(work)
    bench.put(bench.task(work), task)
    bench.worker(work, threads=1)
    assert started.wait(20), "the activity did not begin"
    bench.cancel(task, awaited=True)
    (result,) = bench.await_results(1)
    assert isinstance(result, TaskFailed)
    assert (result.sequence, result.failure.kind) == (task.sequence, "cancelled")
    release.set()


def test_a_worker_goes_on_without_the_topic(bench: Bench) -> None:
    """In a namespace that an earlier build made, activities run to their end."""

    @activity
    def work() -> int:
        return 1

    other = Bench.__new__(Bench)
    other.__dict__.update(bench.__dict__)
    other.topics = type(bench.topics)("older")
    topics = other.topics
    bench.log.create(
        [TopicSpec(name, 2, {}) for name in (topics.results, topics.dead_letters, topics.tasks("default"))]
    )
    other.put(other.task(work))
    other.worker(work)
    until(lambda: any(isinstance(one, TaskCompleted) for one in other.results()), "the result")
