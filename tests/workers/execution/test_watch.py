"""Blocked event loops (workers/execution/watch.py)."""

from __future__ import annotations

import asyncio
import threading
import time

from structlog.testing import capture_logs

from penstock.workers.activity.decorator import activity
from penstock.workers.execution import watch as module
from tests.workers.bench import Bench, until


def test_an_activity_that_blocks_the_loop_is_logged(bench: Bench, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """The log names an async activity that does not await, with its line, once, and when the loop goes on."""
    monkeypatch.setattr(module.LoopWatch.__init__, "__defaults__", (0.1,))
    release = threading.Event()

    @activity
    async def blocks() -> None:
        release.wait(20)

    with capture_logs() as lines:
        bench.worker(blocks)
        bench.put(bench.task(blocks))
        until(lambda: any("blocked, and with it" in line["event"] for line in lines), "the line about the blocked loop")
        time.sleep(0.3)
        release.set()
        until(lambda: any(line["event"] == "the event loop goes on" for line in lines), "the line about its end")
    blocked, ended = (line for line in lines if "event loop" in line["event"])
    assert blocked["activity"] == ended["activity"] == "blocks"
    assert "test_watch.py" in blocked["at"]


def test_an_activity_that_awaits_is_not_logged(bench: Bench, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """However long an activity awaits, the loop answers and nothing is logged."""
    monkeypatch.setattr(module.LoopWatch.__init__, "__defaults__", (0.3,))

    @activity
    async def awaits() -> None:
        await asyncio.sleep(1)

    with capture_logs() as lines:
        bench.worker(awaits)
        bench.put(bench.task(awaits))
        bench.await_results(1)
    assert not [line for line in lines if "event loop" in line["event"]]
