"""Bounded thread pool of sync activities (workers/execution/threads.py)."""

from __future__ import annotations

import sys
import threading
import time

from penstock.workers.activity.decorator import activity
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
