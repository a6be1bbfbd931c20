"""Activities that end their worker, and workers that were frozen, on the embedded log."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from penstock.schemas.records.tasks import TaskFailed
from penstock.topics.connect import connect
from tests.workers import deadly
from tests.workers.bench import Bench, SpyLog, until

Start = Callable[..., subprocess.Popen[bytes]]


@contextmanager
def processes(url: str, namespace: str, folder: Path) -> Iterator[tuple[Bench, Start]]:
    """A bench, and a function that starts worker processes, which end with the block."""
    started: list[subprocess.Popen[bytes]] = []
    bench = Bench(SpyLog(connect(url)), namespace)

    def start(name: str, **options: Any) -> subprocess.Popen[bytes]:
        started.append(deadly.start(url, namespace, folder, name, **options))
        return started[-1]

    try:
        yield bench, start
    finally:
        for process in started:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait(10)
        bench.close()


def count_the_deadly(url: str, namespace: str, folder: Path) -> None:
    """An activity that ends its worker is reported as failed after it ran alone, and its neighbours complete."""
    with processes(url, namespace, folder) as (bench, start):
        task = bench.task(deadly.deadly, 0)
        bench.put(*[bench.task(deadly.harmless, number) for number in range(1, 6)], task)
        bench.put(*[bench.task(deadly.harmless, number) for number in range(6, 10)])
        for _ in range(2):
            assert start("w").wait(45) == 9
        start("w")
        until(lambda: len(bench.results()) >= 10, "all results", 45)
        (failed,) = [result for result in bench.results() if isinstance(result, TaskFailed)]
        assert (failed.run_id, failed.attempt) == (task.run_id, 1)
        assert (failed.failure.type, failed.failure.kind) == ("WorkerDied", "worker_died")
        assert "ended while it ran attempt 1 of activity deadly" in failed.failure.message
        assert sorted(set(bench.values()), key=int) == [str(number).encode() for number in range(1, 10)]
        assert deadly.began(folder, "w").count(0) == 2


def test_an_activity_that_ends_its_worker_is_counted(tmp_path: Path) -> None:
    """The attempt fails with the reason at its second worker's end; its neighbours complete, and it begins no more."""
    count_the_deadly(f"embedded:{tmp_path / 'log.sqlite3'}", "deadly", tmp_path)


def test_a_later_attempt_ends_one_worker(tmp_path: Path) -> None:
    """The attempt after one that ended its worker runs alone from the outset, and is counted at its first worker's
    end."""
    with processes(f"embedded:{tmp_path / 'log.sqlite3'}", "deadly", tmp_path) as (bench, start):
        bench.put(bench.task(deadly.deadly, 0, attempt=2, suspect=True))
        assert start("w").wait(30) == 9
        start("w")
        (failed,) = bench.await_results(1)
        assert (failed.attempt, deadly.began(tmp_path, "w")) == (2, [0])


def begin_nothing_after_a_freeze(url: str, namespace: str, folder: Path, session_s: float) -> None:
    """A worker that was stopped for longer than its session begins none of the tasks that it held."""
    with processes(url, namespace, folder) as (bench, start):
        bench.put(*[bench.task(deadly.harmless, number) for number in range(60)])
        first = start("first", concurrency=4)
        until(lambda: len(deadly.began(folder, "first")) >= 4, "the first worker to begin", 45)
        first.send_signal(signal.SIGSTOP)
        before = deadly.began(folder, "first")
        start("second", concurrency=50)
        until(lambda: len(set(bench.values())) == 60, "the second worker to run everything", session_s + 60)
        first.send_signal(signal.SIGCONT)
        time.sleep(2)
        assert deadly.began(folder, "first") == before


def test_a_frozen_worker_begins_nothing_when_it_wakes(tmp_path: Path) -> None:
    """Of the tasks that a worker held when it was stopped, it begins none that another has run meanwhile."""
    begin_nothing_after_a_freeze(f"embedded:{tmp_path / 'log.sqlite3'}", "frozen", tmp_path, 3.0)
