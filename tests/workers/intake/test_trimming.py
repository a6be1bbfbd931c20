"""Deletion of done tasks (workers/intake/trimming.py)."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from penstock.topics.embedded import EmbeddedLog
from penstock.workers.activity.decorator import activity
from penstock.workers.intake import trimming
from tests.workers.bench import Bench, SpyLog, until


def test_done_tasks_are_deleted_and_others_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """At intervals a worker deletes the tasks below the group's offset, and none that is not done."""
    monkeypatch.setattr(trimming, "TRIM_INTERVAL_S", 0.05)

    @activity
    async def mail(number: int) -> int:
        return number

    @activity(queue="payments")
    async def unknown() -> None: ...

    bench.put(*[bench.task(mail, number) for number in range(5)], bench.task(unknown), bench.task(mail, 5))
    bench.worker(mail)
    at = (bench.topics.tasks("default"), 0)
    until(lambda: bench.log.ends([at])[at][0] == 5, "the done tasks to be deleted")


def test_a_start_without_offsets_runs_nothing_again(tmp_path: Path) -> None:
    """After the group's offsets were dropped, done tasks are not run again, and others are."""
    path = tmp_path / "log.sqlite3"
    ran: list[int] = []

    @activity
    async def mail(number: int) -> int:
        ran.append(number)
        return number

    bench = Bench(SpyLog(EmbeddedLog(str(path))))
    bench.put(*[bench.task(mail, number) for number in range(5)])
    bench.worker(mail)
    bench.await_results(5)
    bench.workers[0].stop()
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM offsets")
    bench.put(bench.task(mail, 5))
    bench.worker(mail)
    bench.await_results(6)
    bench.close()
    assert sorted(ran) == list(range(6))
