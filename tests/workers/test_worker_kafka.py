"""Does a worker keep its promises on a real Kafka? (workers/*.py with topics/kafka)"""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from penstock.topics.connect import connect
from penstock.workers.activity import activity
from tests.workers.bench import Bench, SpyLog, until
from tests.workers.half_done import tell


def test_the_finished_half_is_not_run_again_on_kafka(kafka_bootstrap: str, tmp_path: Path) -> None:
    """A worker killed with 100 tasks of one partition half done: the finished half is not run again."""
    tell(f"kafka://{kafka_bootstrap}", tmp_path, seed=20261122)


def test_a_rebalance_runs_nothing_twice_where_the_partition_stays(kafka_bootstrap: str) -> None:
    """When a second worker joins, what runs on the partition that the first one keeps is not started again."""
    release = threading.Event()
    ran: dict[str, Counter[int]] = {"a": Counter(), "b": Counter()}

    def work_as(name: str) -> Any:
        async def work(number: int) -> int:
            ran[name][number] += 1
            while not release.is_set():
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
        until(lambda: len(ran["b"]) == 10, "the second worker to run one partition's tasks")
        release.set()
        until(lambda: bench.committed(0).watermark == 10 and bench.committed(1).watermark == 10, "both commits")
        assert ran["a"] == Counter(dict.fromkeys(range(20), 1))
        until(lambda: len(bench.values()) >= 30, "a result of every start")
        assert Counter(bench.values()) == ran_values(ran["a"] + ran["b"])
    finally:
        release.set()
        bench.close()


def ran_values(ran: Counter[int]) -> Counter[bytes]:
    return Counter({str(number).encode(): times for number, times in ran.items()})
