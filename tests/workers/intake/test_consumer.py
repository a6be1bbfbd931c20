"""Consumption of one task queue (workers/intake/consumer.py)."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from penstock.schemas.encoding.codec import decode, encode
from penstock.schemas.errors import Fenced, LogUnavailable
from penstock.schemas.records.dead_letters import DeadLetter
from penstock.workers import worker
from penstock.workers.activity.decorator import activity
from penstock.workers.execution import outbox
from penstock.workers.intake import capacity, consumer
from tests.workers.bench import Bench, until


def test_no_more_than_held_max_is_held(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """While all activities are stuck a worker fetches up to its bound, and goes on when there is room again."""
    monkeypatch.setattr(worker, "PREFETCH_MIN", 10)
    release = asyncio.Event()
    held: list[int] = []
    original = consumer.QueueConsumer._take

    def take(self: Any, records: Any) -> None:
        original(self, records)
        held.append(self._capacity.tasks)

    monkeypatch.setattr(consumer.QueueConsumer, "_take", take)
    loops: list[asyncio.AbstractEventLoop] = []

    @activity
    async def work() -> None:
        loops[:] = [asyncio.get_running_loop()]
        await release.wait()

    bench.put(*[bench.task(work) for _ in range(100)])
    bench.worker(work, concurrency=5)
    until(lambda: held and held[-1] >= 15, "a full worker")
    time.sleep(0.4)
    assert held[-1] == 15
    loops[0].call_soon_threadsafe(release.set)
    bench.await_results(100)
    assert max(held) == 15


def test_the_bytes_held_are_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large inputs reach the bound on bytes before the bound on tasks."""
    monkeypatch.setattr(capacity, "HELD_BYTES_MAX", 50_000)
    monkeypatch.setattr(consumer, "POLL_RECORDS_MAX", 2)
    started: list[int] = []
    release = threading.Event()

    @activity
    def work(text: str) -> None:
        started.append(len(text))
        release.wait(20)

    bench.put(*[bench.task(work, "x" * 10_000) for _ in range(40)])
    running = bench.worker(work, threads=1)
    (only,) = running._runtime._consumers  # type: ignore[union-attr]
    until(lambda: only._paused, "a paused worker")
    assert only._capacity.tasks <= 6
    release.set()
    bench.await_results(40)


def test_finished_tasks_are_committed_soon_and_out_of_order(bench: Bench) -> None:
    """Acknowledged tasks are committed soon, although an earlier task still runs."""
    release = threading.Event()

    @activity
    def slow() -> None:
        release.wait(20)

    @activity
    async def quick() -> None: ...

    bench.put(bench.task(slow), *[bench.task(quick) for _ in range(9)])
    bench.worker(slow, quick)
    until(lambda: bench.committed().done() == [(1, 10)], "a commit of the nine behind the first")
    assert bench.committed().watermark == 0
    release.set()
    until(lambda: bench.committed().watermark == 10, "a commit of all ten")
    assert bench.committed().metadata() == ""


def test_nothing_is_committed_before_its_result_is_acknowledged(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A result that the log refuses is sent again, and its task is done only once the result is acknowledged."""
    monkeypatch.setattr(outbox, "RESEND_DELAY_S", 1.0)

    @activity
    async def work() -> int:
        return 1

    bench.log.send_errors.append(LogUnavailable("not now"))
    bench.put(bench.task(work))
    bench.worker(work)
    until(lambda: not bench.log.send_errors, "the refusal")
    time.sleep(0.5)
    assert bench.committed().watermark == 0
    assert bench.results() == []
    bench.await_results(1)
    until(lambda: bench.committed().watermark == 1, "the commit")


@pytest.mark.parametrize("error", [LogUnavailable("no broker answers"), Fenced("generation is stale")])
def test_a_failed_commit_is_repeated(bench: Bench, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that fails once does not stop the worker, and is made later."""
    monkeypatch.setattr(consumer, "RETRY_DELAY_S", 0.05)

    @activity
    async def work() -> int:
        return 1

    bench.log.commit_errors.append(error)
    bench.put(bench.task(work))
    running = bench.worker(work)
    bench.await_results(1)
    until(lambda: not bench.log.commit_errors, "the commit that fails")
    bench.put(bench.task(work))
    until(lambda: bench.committed().watermark == 2, "the commit after it")
    assert running.failed is None


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"not avro",
        b"\xc3\x01" + b"\0" * 20,
        encode(
            DeadLetter(topic="t", partition=0, offset=0, key=b"", value=b"", reason="undecodable", message="", at_ms=0)
        ),
    ],
    ids=["empty", "text", "unknown schema", "no task"],
)
def test_an_undecodable_task_becomes_a_dead_letter(bench: Bench, value: bytes) -> None:
    """A record that is not a task becomes a dead letter with its bytes and position; the tasks beside it run."""

    @activity
    async def work() -> int:
        return 1

    bench.put(bench.task(work), value, bench.task(work), partition=1)
    bench.worker(work)
    bench.await_results(2)
    until(lambda: bench.committed(1).watermark == 3, "the commit of all three")
    (record,) = bench.read(bench.topics.dead_letters)
    letter = decode(record.value or b"")
    topic = bench.topics.tasks("default")
    assert (letter.topic, letter.partition, letter.offset, letter.key) == (topic, 1, 1, b"key")
    assert (letter.value, letter.reason) == (value, "undecodable")
    assert f"{topic}[1]@1" in letter.message


def test_expired_tasks_are_skipped(bench: Bench) -> None:
    """Tasks deleted before they were run are skipped; later ones run."""

    @activity
    async def work(number: int) -> int:
        return number

    bench.put(*[bench.task(work, number) for number in range(10)])
    bench.log.trim({(bench.topics.tasks("default"), 0): 7})
    bench.worker(work)
    bench.await_results(3)
    assert sorted(bench.values()) == [b"7", b"8", b"9"]
