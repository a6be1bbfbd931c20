"""Start, queues and stop of a worker (workers/worker.py)."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter

import pytest

from penstock.schemas.errors import ActivitiesHang, BadName, SettingsError, UnknownTopic
from penstock.schemas.records.tasks import TaskFailed
from penstock.topics.catalogue import Topics
from penstock.topics.embedded import EmbeddedLog
from penstock.workers.activity.decorator import activity
from penstock.workers.intake import consumer
from penstock.workers.worker import Worker
from tests.workers.bench import Bench, until


def test_sync_and_async_activities_of_several_queues_run_together(bench: Bench) -> None:
    """A worker serves all queues that its definitions name."""

    @activity
    async def plus(number: int) -> int:
        return number + 1

    @activity(queue="payments")
    def minus(number: int) -> int:
        return number - 1

    running = bench.worker(plus, minus)
    bench.put(*[bench.task(plus, 10) for _ in range(5)])
    bench.put(*[bench.task(minus, 10) for _ in range(5)], queue="payments")
    bench.await_results(10)
    assert running.queues == ("default", "payments")
    assert Counter(bench.values()) == {b"11": 5, b"9": 5}


def test_a_worker_with_queues_serves_only_those(bench: Bench) -> None:
    """`queues=` limits what is consumed; tasks of other queues are not run."""

    @activity
    async def work() -> int:
        return 1

    bench.put(bench.task(work), queue="payments")
    bench.put(bench.task(work, workflow_id="elsewhere"))
    bench.worker(work, queues=["payments"])
    bench.await_results(1)
    time.sleep(0.3)
    assert [result.workflow_id for result in bench.results()] == ["order-1"]


def test_a_drained_worker_lets_its_activities_end(bench: Bench) -> None:
    """`stop` takes no more tasks, waits for the running ones, publishes and commits them."""
    started = threading.Event()
    ran: list[int] = []

    @activity
    async def work(number: int) -> int:
        ran.append(number)
        started.set()
        await asyncio.sleep(0.2)
        return number

    bench.put(*[bench.task(work, number) for number in range(10)])
    running = bench.worker(work, concurrency=2)
    started.wait(10)
    running.stop()
    assert len(bench.results()) == len(ran)
    assert 2 <= len(ran) < 10
    assert bench.committed().watermark == len(ran)


def test_what_does_not_end_in_time_is_delivered_again(bench: Bench) -> None:
    """After `drain_timeout_s` running activities are cancelled without a result, and the next worker runs them."""
    seen: list[str] = []
    stuck = threading.Event()

    @activity
    async def slow() -> str:
        seen.append("started")
        try:
            await asyncio.sleep(60 if len(seen) == 1 else 0)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        return "done"

    @activity
    def stuck_once() -> str:
        if not stuck.is_set():
            stuck.set()
            time.sleep(5)
        return "done"

    bench.put(bench.task(slow), bench.task(stuck_once))
    first = bench.worker(slow, stuck_once, drain_timeout_s=0.2)
    until(lambda: seen and stuck.is_set(), "both activities to start")
    started_s = time.monotonic()
    first.stop()
    assert time.monotonic() - started_s < 4
    assert bench.results() == []
    bench.worker(slow, stuck_once)
    bench.await_results(2)
    assert seen == ["started", "cancelled", "started"]


def test_a_missing_topic_stops_the_start_with_the_remedy(bench: Bench) -> None:
    """A queue without a topic raises UnknownTopic, which names the topic and the command that creates it."""

    @activity(queue="nowhere")
    async def work() -> None: ...

    with pytest.raises(UnknownTopic, match=r"tasks\.nowhere.*penstock topics apply"):
        bench.worker(work)


def test_a_worker_without_work_is_refused() -> None:
    """A worker without queues, with concurrency 0 or with an invalid queue name is refused."""
    log = EmbeddedLog(":memory:")
    with pytest.raises(SettingsError):
        Worker(log, Topics(), {})
    with pytest.raises(SettingsError):
        Worker(log, Topics(), {}, queues=["q"], concurrency=0)
    with pytest.raises(BadName):
        Worker(log, Topics(), {}, queues=["no blanks"])
    log.close()


def test_run_ends_on_request(bench: Bench) -> None:
    """`run` blocks until `request_stop`, then drains and returns."""

    @activity
    async def work() -> None: ...

    blocking = Worker(bench.log, bench.topics, {"work": work})  # type: ignore[arg-type]
    thread = threading.Thread(target=blocking.run)
    thread.start()
    bench.put(bench.task(work))
    bench.await_results(1)
    assert thread.is_alive()
    blocking.request_stop()
    thread.join(15)
    assert not thread.is_alive()
    blocking.stop()


def test_a_worker_that_cannot_go_on_raises_the_error(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that a retry does not resolve ends `run` with that error."""

    @activity
    async def work() -> None: ...

    monkeypatch.setattr(consumer.QueueConsumer, "_take", lambda self, records: 1 / 0)
    failing = Worker(bench.log, bench.topics, {"work": work})  # type: ignore[arg-type]
    bench.put(bench.task(work))
    with pytest.raises(ZeroDivisionError):
        failing.run()


def test_a_worker_whose_threads_all_hang_ends_with_the_reason(bench: Bench) -> None:
    """When more sync activities hang than the worker has threads, it ends, and says which one hangs and where."""
    release = threading.Event()

    @activity
    def hangs() -> None:
        release.wait(20)

    running = bench.worker(hangs, threads=1, drain_timeout_s=5)
    bench.put(*[bench.task(hangs, timeout_ms=50) for _ in range(3)])
    assert running.wait(20)
    with pytest.raises(ActivitiesHang, match="2 sync activities go on after their timeout, the last one is hangs at"):
        running.stop()
    bench.workers.clear()
    release.set()
    assert {result.failure.kind for result in bench.results() if isinstance(result, TaskFailed)} == {"timeout"}
