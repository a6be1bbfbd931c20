"""What a worker says of running attempts, on the embedded log: starts and heartbeats."""

from __future__ import annotations

import threading
import time

from penstock.schemas.errors import LogUnavailable
from penstock.schemas.records.tasks import TaskCompleted, TaskFailed, TaskHeartbeat, TaskStarted
from penstock.schemas.values.bounds import ActivityBounds
from penstock.workers.activity.decorator import activity
from penstock.workers.activity.heartbeats import heartbeat
from tests.workers.bench import Bench, until

BEATS = ActivityBounds(heartbeat_ms=200)


def test_a_plain_activity_reports_its_end_alone(bench: Bench) -> None:
    """An activity without bounds makes one record on `results`."""

    @activity
    def plain() -> int:
        return 1

    bench.put(bench.task(plain))
    bench.worker(plain)
    assert [type(result) for result in bench.await_results(1)] == [TaskCompleted]


def test_a_start_and_heartbeats_are_reported(bench: Bench) -> None:
    """An activity with a heartbeat reports its start, then one heartbeat in most of its time, then its end."""

    @activity
    def work() -> None:
        for page in range(100):
            heartbeat(page)
            time.sleep(0.005)

    bench.put(bench.task(work, bounds=BEATS))
    bench.worker(work, name="w-1")
    until(lambda: any(isinstance(found, TaskCompleted) for found in bench.results()), "the result")
    first, *beats, last = bench.results()
    assert isinstance(first, TaskStarted)
    assert first.worker == "w-1"
    assert isinstance(last, TaskCompleted)
    assert 2 <= len(beats) <= 20
    assert all(isinstance(found, TaskHeartbeat) for found in beats)


def test_a_task_with_a_heartbeat_is_done_at_its_start(bench: Bench) -> None:
    """Once its start is acknowledged, a task with a heartbeat is committed as done, and its result does no harm."""
    release = threading.Event()

    @activity
    def work() -> None:
        release.wait(20)

    bench.put(bench.task(work, bounds=BEATS), bench.task(work))
    bench.worker(work)
    until(lambda: bench.committed().watermark == 1, "a commit of the first task")
    release.set()
    until(lambda: len(bench.results()) == 3, "the results")
    until(lambda: bench.committed().watermark == 2, "a commit of the second task")


def test_a_lost_heartbeat_is_sent_again(bench: Bench) -> None:
    """A heartbeat that the log does not take is sent again, although the activity sends no other."""
    release = threading.Event()

    @activity
    def work() -> None:
        bench.log.send_errors.append(LogUnavailable("the broker is away"))
        heartbeat("once")
        release.wait(20)

    bench.put(bench.task(work))
    bench.worker(work)
    (beat,) = bench.await_results(1)
    assert isinstance(beat, TaskHeartbeat)
    assert beat.details == b'"once"'
    release.set()
    bench.await_results(2)


def test_a_worker_that_stops_fails_what_it_leaves(bench: Bench) -> None:
    """An attempt whose task is done already is reported as failed by a worker that does not wait for it."""
    release = threading.Event()

    @activity
    def work() -> None:
        heartbeat(1)
        heartbeat(2)
        release.wait(20)

    bench.put(bench.task(work, bounds=BEATS))
    worker = bench.worker(work, drain_timeout_s=0.1)
    until(lambda: bench.committed().watermark == 1, "a commit of the task")
    worker.stop()
    release.set()
    last = until(lambda: [found for found in bench.results() if isinstance(found, TaskFailed)], "the failure")[0]
    assert last.failure.type == "WorkerStopped"
