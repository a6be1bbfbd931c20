"""What does a worker do? (workers/worker.py, consumer.py, runner.py, outbox.py, on the embedded log in memory)"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from typing import Any

import pytest

from penstock.schemas.encoding.codec import decode, encode
from penstock.schemas.errors import BadName, Fenced, LogUnavailable, RecordTooLarge, SettingsError, UnknownTopic
from penstock.schemas.records.dead_letters import DeadLetter
from penstock.schemas.records.tasks import ActivityTask, TaskCompleted, TaskFailed
from penstock.topics.catalogue import Topics
from penstock.topics.embedded import EmbeddedLog
from penstock.workers import worker
from penstock.workers.activity.decorator import activity
from penstock.workers.execution import outbox
from penstock.workers.intake import consumer
from penstock.workers.worker import Worker
from tests.workers.bench import SHARDS, Bench, until


def test_tasks_become_results_on_their_shards(bench: Bench) -> None:
    """Each task's result lies on the partition that the task names, keyed by workflow id, with the worker's name."""

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


def test_sync_and_async_activities_of_several_queues_run_together(bench: Bench) -> None:
    """One worker serves all queues that its definitions name."""

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


def test_a_worker_told_its_queues_serves_only_those(bench: Bench) -> None:
    """`queues=` narrows what is consumed; another queue's tasks stay where they are."""

    @activity
    async def work() -> int:
        return 1

    bench.put(bench.task(work), queue="payments")
    bench.put(bench.task(work, workflow_id="elsewhere"))
    bench.worker(work, queues=["payments"])
    bench.await_results(1)
    time.sleep(0.3)
    assert [result.workflow_id for result in bench.results()] == ["order-1"]


def test_never_more_than_concurrency_at_once(bench: Bench) -> None:
    """However many tasks wait, at most `concurrency` run together, and they all get their turn."""
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


def test_waiting_sync_activities_do_not_hold_up_async_ones(bench: Bench) -> None:
    """Sync tasks that wait for a thread take no slot: async tasks behind them run."""
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


def test_no_more_is_held_than_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """With everything stuck, a worker takes its prefetch and no more, and goes on when there is room again."""
    monkeypatch.setattr(worker, "PREFETCH_MIN", 10)
    release = asyncio.Event()
    held: list[int] = []
    original = consumer.QueueConsumer._take

    def take(self: Any, records: Any) -> None:
        original(self, records)
        held.append(self._held)

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
    """Large inputs fill a worker before their number does."""
    monkeypatch.setattr(consumer, "HELD_BYTES_MAX", 50_000)
    monkeypatch.setattr(consumer, "POLL_RECORDS_MAX", 2)
    started: list[int] = []
    release = threading.Event()

    @activity
    def work(text: str) -> None:
        started.append(len(text))
        release.wait(20)

    bench.put(*[bench.task(work, "x" * 10_000) for _ in range(40)])
    running = bench.worker(work, threads=1)
    (only,) = running._crew._consumers  # type: ignore[union-attr]
    until(lambda: only._paused, "a paused worker")
    assert only._held <= 6
    release.set()
    bench.await_results(40)


def test_finished_tasks_are_committed_soon_and_out_of_order(bench: Bench) -> None:
    """What is done and acknowledged is committed within moments, though an earlier task still runs."""
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
    """A result that the log refuses is sent again, and its task counts as done only once the log has it."""
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


def test_a_result_that_the_log_refuses_as_too_large_becomes_a_failure(bench: Bench) -> None:
    """Where the topic takes less than the worker allows, the attempt fails for good instead of hanging."""

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


@pytest.mark.parametrize("error", [LogUnavailable("away"), Fenced("moved on")])
def test_a_failed_commit_is_made_up_for(bench: Bench, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that fails once neither stops the worker nor is forgotten."""
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
    """Bytes that are no task go to the dead letters whole, with where they lay; their neighbours run."""

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


def test_a_drained_worker_lets_its_activities_end(bench: Bench) -> None:
    """`stop` takes nothing more, waits for what runs, publishes and commits it."""
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
    """After `drain_timeout_s` running activities are cancelled unreported, and the next worker runs them."""
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


def test_expired_tasks_are_passed_over(bench: Bench) -> None:
    """Tasks deleted before they were run are skipped; later ones run."""

    @activity
    async def work(number: int) -> int:
        return number

    bench.put(*[bench.task(work, number) for number in range(10)])
    bench.log.trim({(bench.topics.tasks("default"), 0): 7})
    bench.worker(work)
    bench.await_results(3)
    assert sorted(bench.values()) == [b"7", b"8", b"9"]


def test_a_missing_topic_stops_the_start_with_the_remedy(bench: Bench) -> None:
    """A queue without a topic is one sentence that names the topic and the command."""

    @activity(queue="nowhere")
    async def work() -> None: ...

    with pytest.raises(UnknownTopic, match=r"tasks\.nowhere.*penstock topics apply"):
        bench.worker(work)


def test_a_worker_without_work_is_refused() -> None:
    """No definitions and no queues, no slots, or a queue that cannot be: one sentence each."""
    log = EmbeddedLog(":memory:")
    with pytest.raises(SettingsError):
        Worker(log, Topics(), {})
    with pytest.raises(SettingsError):
        Worker(log, Topics(), {}, queues=["q"], concurrency=0)
    with pytest.raises(BadName):
        Worker(log, Topics(), {}, queues=["no blanks"])
    log.close()


def test_run_ends_when_asked(bench: Bench) -> None:
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


def test_a_worker_that_cannot_go_on_says_why(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that waiting does not mend ends `run` with that very error."""

    @activity
    async def work() -> None: ...

    monkeypatch.setattr(consumer.QueueConsumer, "_take", lambda self, records: 1 / 0)
    failing = Worker(bench.log, bench.topics, {"work": work})  # type: ignore[arg-type]
    bench.put(bench.task(work))
    with pytest.raises(ZeroDivisionError):
        failing.run()


def test_a_deep_backlog_of_failing_tasks_does_not_nest(bench: Bench) -> None:
    """Thousands of tasks that fail before they run are answered one after the other."""

    @activity
    async def work(number: int) -> int:
        return number

    bench.put(*[bench.task(work, 1, input=b'"no number"') for _ in range(3_000)])
    bench.worker(work, concurrency=5)
    results = bench.await_results(3_000)
    assert all(isinstance(result, TaskFailed) for result in results)


def test_attempts_of_one_activity_have_one_idempotency_key(bench: Bench) -> None:
    """The token of a result is the task's own, attempt by attempt."""

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
