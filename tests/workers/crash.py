"""Two scenarios of a killed worker, for either log.

As a program: a worker process that runs the scenarios' activity until it is killed.

    python -m tests.workers.crash URL NAMESPACE FOLDER NAME FINISHING…
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path

from penstock.schemas.encoding.codec import encode
from penstock.schemas.records.tasks import ActivityTask
from penstock.topics.catalogue import Topics
from penstock.topics.connect import connect
from penstock.topics.log import CommittedOffset, Log, Record, TopicPartition
from penstock.workers.activity.decorator import activity
from penstock.workers.intake.progress import Progress
from penstock.workers.worker import Worker
from tests.workers.bench import Bench, SpyLog, until

TASKS = 100
PER_TRANSACTION = 7


def kill_with_half_done(url: str, folder: Path, seed: int) -> None:
    """Kill a worker after a random 50 of 100 tasks are done and committed: the next one runs the other 50 only."""
    print(f"seed {seed}")
    half = sorted(random.Random(seed).sample(range(TASKS), TASKS // 2))
    namespace = f"half-done-{uuid.uuid4().hex[:8]}"
    log = connect(url)
    bench = Bench(SpyLog(log), namespace)
    offsets = _put(bench, log)
    processes: list[subprocess.Popen[bytes]] = []
    try:
        first = _start(url, namespace, folder, "first", half, processes)
        until(lambda: _left(folder / "first.commits", offsets) == TASKS - len(half), "the half's commit", 45)
        first.send_signal(signal.SIGKILL)
        first.wait(10)
        _start(url, namespace, folder, "second", list(range(TASKS)), processes)
        until(lambda: _left(folder / "second.commits", offsets) == 0, "the rest's commit", 60)
        assert _ran(folder / "first.ran") == half
        assert _ran(folder / "second.ran") == [number for number in range(TASKS) if number not in half]
        until(lambda: len(bench.values()) >= TASKS, "all results")
        assert sorted(bench.values(), key=int) == [str(number).encode() for number in range(TASKS)]
    finally:
        for process in processes:
            process.kill()
            process.wait(10)
        bench.close()


def kill_with_claimed_tasks(url: str, folder: Path) -> None:
    """Kill a worker that claimed tasks when their partition moved: the new owner runs them then, and not before.

    One of two partitions moves when the second worker joins; the log chooses which."""
    namespace = f"claimed-{uuid.uuid4().hex[:8]}"
    bench = Bench(SpyLog(connect(url)), namespace)
    for number in range(10):
        bench.put(bench.task(work, number), partition=number % 2)
    processes: list[subprocess.Popen[bytes]] = []
    quick = list(range(10, 100))
    try:
        first = _start(url, namespace, folder, "first", quick, processes)
        until(lambda: (folder / "first.out").read_text().count("activity started") == 10, "all to start", 45)
        _start(url, namespace, folder, "second", [*range(10), *quick], processes)

        def second_runs_one_more() -> list[int]:
            bench.put(bench.task(work, quick[0]), partition=quick.pop(0) % 2)
            time.sleep(0.2)
            return _ran(folder / "second.ran")

        seen = until(second_runs_one_more, "the second worker to run what came later", 45)
        assert min(seen) >= 10
        first.send_signal(signal.SIGKILL)
        first.wait(10)
        until(lambda: set(range(10)) <= set(_ran(folder / "second.ran")), "the claimed tasks", 60)
        until(lambda: len(bench.values()) == quick[0], "all results")
        assert max(Counter(_ran(folder / "first.ran") + _ran(folder / "second.ran")).values()) == 1
    finally:
        for process in processes:
            process.kill()
            process.wait(10)
        bench.close()


def _put(bench: Bench, log: Log) -> list[int]:
    """Write the tasks in several transactions, whose markers leave gaps on Kafka; returns their offsets."""
    topic = bench.topics.tasks("default")
    transactor = log.transactor(f"{bench.topics.namespace}-writer")
    transactor.recover(30)
    tasks = [bench.task(work, number) for number in range(TASKS)]
    for at in range(0, TASKS, PER_TRANSACTION):
        transactor.begin()
        transactor.produce([_record(topic, task) for task in tasks[at : at + PER_TRANSACTION]])
        transactor.commit()
    transactor.close()
    records = until(lambda: len(found := bench.read(topic)) == TASKS and found, "the tasks in the log")
    return [record.offset for record in records]


def _record(topic: str, task: ActivityTask) -> Record:
    return Record(topic, 0, task.workflow_id.encode(), encode(task))


def _start(
    url: str, namespace: str, folder: Path, name: str, finishing: list[int], processes: list[subprocess.Popen[bytes]]
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.workers.crash", url, namespace, str(folder), name]
    with (folder / f"{name}.out").open("wb") as output:
        process = subprocess.Popen(
            [*command, *map(str, finishing)],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=Path(__file__).parents[2],
        )
    processes.append(process)
    return process


def _left(commits: Path, offsets: list[int]) -> int | None:
    """Count the tasks that a new owner would run, by the last whole line of a worker's commits."""
    lines = commits.read_text().splitlines(keepends=True) if commits.exists() else []
    whole = [line for line in lines if line.endswith("\n")]
    if not whole:
        return None
    offset, _, metadata = whole[-1].rstrip("\n").partition(" ")
    progress = Progress(int(offset), metadata)
    return sum(progress.delivered(offset) for offset in offsets)


def _ran(path: Path) -> list[int]:
    return sorted(map(int, path.read_text().split())) if path.exists() else []


# The worker process.

_finishing: set[int] = set()
_ran_file = -1


@activity(name="half-done")
async def work(number: int) -> int:
    """End if the number is to finish, otherwise never; the end is written to a file before the result is published."""
    if number not in _finishing:
        await asyncio.sleep(3_600)
    os.write(_ran_file, f"{number}\n".encode())
    return number


def _main(url: str, namespace: str, folder: str, name: str, finishing: list[str]) -> None:
    global _ran_file
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    _finishing.update(map(int, finishing))
    _ran_file = os.open(Path(folder) / f"{name}.ran", flags, 0o644)
    commits = os.open(Path(folder) / f"{name}.commits", flags, 0o644)

    def on_commit(at: TopicPartition, offset: CommittedOffset) -> None:
        if at[1] == 0:
            os.write(commits, f"{offset.offset} {offset.metadata}\n".encode())

    log = SpyLog(connect(url), on_commit)
    Worker(log, Topics(namespace), {work.name: work}, name=name).run()


if __name__ == "__main__":
    _main(*sys.argv[1:5], sys.argv[5:])  # type: ignore[misc]
