"""Bounded thread pool of sync activities (workers/execution/threads.py)."""

from __future__ import annotations

import asyncio
import sys
import threading
import time

from structlog.testing import capture_logs

from penstock.schemas.errors import ActivitiesHang
from penstock.workers.activity.decorator import activity
from penstock.workers.execution.threads import Threads
from tests.workers.execution.executor_bench import Bench, task_of


def test_threads_are_bounded_and_reused() -> None:
    """At most `threads` jobs run at once, and idle threads are used again."""
    names: set[str] = set()
    peak, now, lock = 0, 0, threading.Lock()

    @activity
    def work() -> None:
        nonlocal peak, now
        with lock:
            now += 1
            peak = max(peak, now)
            names.add(threading.current_thread().name)
        time.sleep(0.002)
        with lock:
            now -= 1

    results = Bench(work, threads=3).run(*[task_of(work) for _ in range(30)])
    assert len(results) == 30
    assert peak <= 3
    assert len(names) <= 3


def test_no_thread_keeps_a_program_from_ending() -> None:
    """A stuck sync activity does not delay the end of the process."""
    import subprocess

    program = (
        "import asyncio, time\n"
        "from penstock.workers.execution.threads import Threads\n"
        "async def main():\n"
        "    Threads(1, 't').run(lambda: time.sleep(600))\n"
        "    await asyncio.sleep(0.05)\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], timeout=60, check=False, capture_output=True)
    assert ended.returncode == 0, ended.stderr


def test_a_thread_whose_job_hangs_is_replaced() -> None:
    """A sync activity that goes on after its timeout does not keep others from running, and the log names its line."""
    release = threading.Event()

    @activity
    def hangs() -> None:
        release.wait(20)

    @activity
    def quick() -> int:
        return 1

    bench = Bench(hangs, quick, threads=1)

    async def meanwhile() -> None:
        while bench.threads.free == 0:
            await asyncio.sleep(0.005)
        bench.executor.start(task_of(quick), bench.results.append, bench._ended)
        while len(bench.results) < 2:
            await asyncio.sleep(0.005)
        release.set()

    with capture_logs() as lines:
        results = bench.run(task_of(hangs, timeout_ms=20), meanwhile=meanwhile)
    assert [type(result).__name__ for result in results] == ["TaskFailed", "TaskCompleted"]
    (line,) = [line for line in lines if line["event"].startswith("a sync activity goes on")]
    assert line["activity"] == "hangs"
    assert line["at"].endswith("hangs")
    assert "test_threads.py" in line["at"]


def test_replacements_are_bounded() -> None:
    """When one more thread hangs than the worker has, the reason is given once; all that return are replaced."""
    release = threading.Event()
    reasons: list[ActivitiesHang] = []

    async def main() -> Threads:
        threads = Threads(2, "t", reasons.append)
        futures = []
        for _ in range(4):
            futures.append(threads.run(lambda: release.wait(20)))
            threads.give_up(futures[-1], "charge")
            threads.give_up(futures[-1], "charge")
        assert (threads.free, threads.hanging) == (2, 4)
        release.set()
        await asyncio.wait(futures, timeout=20)
        assert (threads.free, threads.hanging) == (2, 0)
        threads.close()
        return threads

    asyncio.run(main())
    (reason,) = reasons
    assert "3 sync activities go on after their timeout, the last one is charge at" in str(reason)
