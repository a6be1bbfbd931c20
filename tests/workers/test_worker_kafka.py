"""Crashes and rebalances of workers on a real Kafka."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient

from penstock.topics.connect import connect
from penstock.workers.activity.decorator import activity
from tests.workers.bench import Bench, SpyLog, until
from tests.workers.crash import kill_with_claimed_tasks, kill_with_half_done
from tests.workers.test_worker_deadly import count_the_deadly


def test_the_finished_half_is_not_run_again_on_kafka(kafka_bootstrap: str, tmp_path: Path) -> None:
    """A worker killed with 100 tasks of one partition half done: the finished half is not run again."""
    kill_with_half_done(f"kafka://{kafka_bootstrap}", tmp_path, seed=20261122)


def test_claimed_tasks_of_a_killed_worker_are_run_on_kafka(kafka_bootstrap: str, tmp_path: Path) -> None:
    """Tasks claimed by a worker when their partition moved are run by the new owner once that worker is killed."""
    kill_with_claimed_tasks(f"kafka://{kafka_bootstrap}?session.timeout.ms=6000", tmp_path)


def test_a_rebalance_runs_nothing_twice(kafka_bootstrap: str) -> None:
    """When a second worker joins, running tasks go on at their worker and are not started by the other."""
    release = threading.Event()
    ran: dict[str, Counter[int]] = {"a": Counter(), "b": Counter()}

    def work_as(name: str) -> Any:
        async def work(number: int) -> int:
            ran[name][number] += 1
            while number < 20 and not release.is_set():
                await asyncio.sleep(0.02)
            return number

        return activity(name="rebalanced")(work)

    first, second = work_as("a"), work_as("b")
    bench = Bench(SpyLog(connect(f"kafka://{kafka_bootstrap}")), f"rebalance-{uuid.uuid4().hex[:8]}")
    try:
        for partition in (0, 1):
            bench.put(*[bench.task(first, partition * 10 + number) for number in range(10)], partition=partition)
        bench.worker(first, name="a")
        until(lambda: len(ran["a"]) == 20, "the first worker to run everything")
        bench.worker(second, name="b")
        all_tasks = list(range(20))

        def one_more() -> bool:
            all_tasks.append(len(all_tasks))
            bench.put(bench.task(first, all_tasks[-1]), partition=all_tasks[-1] % 2)
            time.sleep(0.1)
            return bool(ran["b"])

        until(one_more, "the second worker to run some of what comes later")
        release.set()
        until(lambda: bench.committed(0).watermark + bench.committed(1).watermark == len(all_tasks), "all commits")
        assert ran["a"] + ran["b"] == Counter(dict.fromkeys(all_tasks, 1))
        assert min(ran["b"]) >= 20
        until(lambda: len(bench.values()) >= len(all_tasks), "all results")
        assert Counter(bench.values()) == Counter(str(number).encode() for number in all_tasks)
    finally:
        release.set()
        bench.close()


def test_an_activity_that_ends_its_worker_is_counted_on_kafka(kafka_bootstrap: str, tmp_path: Path) -> None:
    """The attempt fails with the reason at its second worker's end; its neighbours complete, and it begins no more."""
    namespace = f"deadly-{uuid.uuid4().hex[:8]}"
    count_the_deadly(f"kafka://{kafka_bootstrap}?session.timeout.ms=6000", namespace, tmp_path)


def test_a_start_without_offsets_runs_nothing_again_on_kafka(kafka_bootstrap: str) -> None:
    """After the broker dropped the group's offsets, done tasks are not run again, and others are."""
    ran: list[int] = []

    @activity(name="mail")
    async def mail(number: int) -> int:
        ran.append(number)
        return number

    bench = Bench(SpyLog(connect(f"kafka://{kafka_bootstrap}")), f"mail-{uuid.uuid4().hex[:8]}")
    try:
        bench.put(*[bench.task(mail, number) for number in range(5)])
        bench.worker(mail)
        until(lambda: bench.committed(0).watermark == 5, "the commit of five")
        bench.workers[0].stop()
        group = f"penstock.{bench.topics.namespace}.workers.default"
        admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
        admin.delete_consumer_groups([group])[group].result(20)
        bench.put(bench.task(mail, 5))
        bench.worker(mail)
        until(lambda: len(bench.values()) == 6, "the sixth")
        assert sorted(ran) == list(range(6))
    finally:
        bench.close()
