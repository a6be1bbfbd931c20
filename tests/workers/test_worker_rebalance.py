"""Tasks whose partition moves between workers, on the embedded log in memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from penstock.topics.log import TopicPartition
from penstock.workers.activity import decorator
from penstock.workers.activity.decorator import activity
from penstock.workers.intake import commits
from penstock.workers.intake.claims import decode_claims
from tests.workers.bench import Bench, until


def await_move(bench: Bench) -> None:
    """Wait until partition 1, where a task runs, is released: its last commit contains a claim."""
    commits = bench.log.commits
    until(
        lambda: any(decode_claims(one.offset, one.metadata) for one in commits.get(at(bench), [])),
        "partition 1 to move",
    )


def at(bench: Bench) -> TopicPartition:
    return bench.topics.tasks("default"), 1


def test_partitions_are_shared_and_taken_over(bench: Bench) -> None:
    """A second worker gets its share of the partitions, and all of them when the first stops; no task runs twice."""
    ran: Counter[int] = Counter()
    by: dict[str, set[int]] = {"a": set(), "b": set()}

    def work_as(name: str) -> Any:
        async def work(number: int) -> int:
            ran[number] += 1
            by[name].add(number)
            await asyncio.sleep(0.005)
            return number

        return activity(name="work")(work)

    decorator._registry.clear()
    first, second = work_as("a"), work_as("b")
    one = bench.worker(first, concurrency=2, name="a")
    for number in range(100):
        bench.put(bench.task(first, number), partition=number % 2)
    until(lambda: sum(ran.values()) > 20, "the first worker to work")
    bench.worker(second, concurrency=2, name="b")
    until(lambda: by["b"], "the second worker to work")
    one.stop()
    for number in range(100, 150):
        bench.put(bench.task(first, number), partition=number % 2)
    bench.await_results(150)
    assert set(ran) == set(range(150))
    assert sum(ran.values()) == 150


def test_a_task_running_while_its_partition_moves_is_left_to_its_worker(bench: Bench) -> None:
    """A rebalance does not cancel a running task or drop its result; the new owner waits and does not run it."""
    release = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    ran: list[str] = []

    @activity
    async def slow() -> str:
        ran.append("slow")
        if not loops:
            loops.append(asyncio.get_running_loop())
            await release.wait()
        return "done"

    bench.put(bench.task(slow), partition=1)
    bench.worker(slow, name="a")
    until(lambda: loops, "the activity to start")
    bench.worker(slow, name="b")
    await_move(bench)
    bench.put(bench.task(slow), partition=1)
    until(lambda: ran == ["slow", "slow"], "the new owner to run what came later")
    until(lambda: len(bench.committed(1).done()) == 1, "the commit of that")
    loops[0].call_soon_threadsafe(release.set)
    until(lambda: bench.committed(1).watermark == 2, "the new owner to see the result")
    assert sorted(result.worker for result in bench.results()) == ["a", "b"]
    assert ran == ["slow", "slow"]


def test_a_task_still_running_when_its_partition_returns_is_not_started_again(bench: Bench) -> None:
    """A worker that is granted a partition again goes on with its running task, and commits the end of it."""
    release = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    ran: list[str] = []

    def slow_as(name: str) -> Any:
        async def slow() -> str:
            ran.append(name)
            loops.append(asyncio.get_running_loop())
            await release.wait()
            return name

        return activity(name="slow")(slow)

    @activity
    async def quick() -> str:
        return "quick"

    first, second = slow_as("a"), slow_as("b")
    bench.put(bench.task(first), partition=1)
    bench.worker(first, quick, name="a")
    until(lambda: ran == ["a"], "the activity to start")
    other = bench.worker(second, quick, name="b")
    await_move(bench)
    bench.put(bench.task(quick), partition=1)
    until(lambda: bench.values() == [b'"quick"'], "a later task, run by the partition's new owner")
    other.stop()
    bench.put(bench.task(quick), partition=1)
    until(lambda: bench.values() == [b'"quick"'] * 2, "a later task of the partition that came back")
    loops[0].call_soon_threadsafe(release.set)
    until(lambda: bench.committed(1).watermark == 3, "the commit of all")
    assert ran == ["a"]
    assert sorted(bench.values()) == [b'"a"', b'"quick"', b'"quick"']


def test_a_task_whose_worker_left_without_a_result_is_run_by_the_new_owner(bench: Bench) -> None:
    """A claimed task that its worker abandoned when it stopped is run by the partition's owner."""
    ran: list[str] = []

    def slow_as(name: str) -> Any:
        async def slow() -> str:
            ran.append(name)
            if name == "a":
                await asyncio.sleep(60)
            return name

        return activity(name="slow")(slow)

    first, second = slow_as("a"), slow_as("b")
    bench.put(bench.task(first), partition=1)
    one = bench.worker(first, name="a", drain_timeout_s=0.1)
    until(lambda: ran == ["a"], "the activity to start")
    bench.worker(second, name="b")
    await_move(bench)
    bench.put(bench.task(second), partition=1)
    until(lambda: bench.values() == [b'"b"'], "the partition to move")
    assert ran == ["a", "b"]
    one.stop()
    until(lambda: bench.committed(1).watermark == 2, "both to be done")
    assert ran == ["a", "b", "b"]


def test_a_task_that_ended_while_its_partition_was_away_is_not_run_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rebalance that revokes all partitions and grants them again, as Kafka's do, runs no task twice."""
    release = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    ran: Counter[int] = Counter()

    @activity
    async def work(number: int) -> int:
        ran[number] += 1
        loops[:] = [asyncio.get_running_loop()]
        if number < 10:
            await release.wait()
        return number

    bench.put(*[bench.task(work, number) for number in range(20)])
    running = bench.worker(work)
    until(lambda: len(bench.values()) == 10, "the quick half")
    (only,) = running._runtime._consumers  # type: ignore[union-attr]
    original = only._round
    moved: list[int] = []

    def revoke_and_grant() -> None:
        monkeypatch.setattr(only, "_round", original)
        held = list(only._partitions)
        only.released(held, lost=False)
        loops[0].call_soon_threadsafe(release.set)
        until(lambda: len(only._acknowledged) == 10, "the slow half to end in between")
        moved.append(only._capacity.tasks)
        only.granted(held)

    monkeypatch.setattr(only, "_round", revoke_and_grant)
    until(lambda: bench.committed().watermark == 20, "the commit of everything")
    assert moved == [0]
    assert ran == Counter(dict.fromkeys(range(20), 1))
    assert only._capacity.tasks == only._capacity.size_bytes == 0
    assert len(only._retained) == 0


def test_what_finished_before_a_partition_was_lost_is_not_run_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that loses its partitions before a commit, as when a broker restarts, runs no finished task again."""
    ran: Counter[int] = Counter()

    @activity
    async def work(number: int) -> int:
        ran[number] += 1
        return number

    bench.worker(work)
    running = bench.workers[0]
    (only,) = running._runtime._consumers  # type: ignore[union-attr]
    until(lambda: len(only._partitions) == 2, "the partitions")
    monkeypatch.setattr(commits, "COMMIT_INTERVAL_S", 3_600)
    only._commit_timer.made()
    bench.put(*[bench.task(work, number) for number in range(5)])  # fewer than need a commit to begin
    bench.await_results(5)
    until(lambda: only._capacity.tasks == 0, "the results' acknowledgements")
    assert bench.committed().watermark == 0
    original = only._round

    def lose_and_grant() -> None:
        monkeypatch.setattr(only, "_round", original)
        held = list(only._partitions)
        only.released(held, lost=True)
        only.granted(held)

    monkeypatch.setattr(only, "_round", lose_and_grant)
    bench.put(bench.task(work, 5))
    bench.await_results(6)
    assert ran == Counter(dict.fromkeys(range(6), 1))


def test_waiting_tasks_of_a_lost_partition_are_not_started(bench: Bench) -> None:
    """Tasks that waited when their partition moved run on its new owner only."""
    release = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    ran: Counter[int] = Counter()

    async def stuck_work(number: int) -> int:
        ran[number] += 1
        if number < 4:
            loops[:] = [asyncio.get_running_loop()]
            await release.wait()
        return number

    async def work(number: int) -> int:
        ran[number] += 1
        return number

    first, second = activity(name="work")(stuck_work), activity(name="work")(work)
    bench.put(*[bench.task(first, number) for number in (0, 1, *range(10, 30))], partition=0)
    bench.put(*[bench.task(first, number) for number in (2, 3, *range(30, 50))], partition=1)
    bench.worker(first, name="a", concurrency=2)
    until(lambda: len(ran) == 2, "two stuck tasks")
    bench.worker(second, name="b", concurrency=2)
    until(lambda: len(bench.values()) >= 20, "the second worker's share")
    loops[0].call_soon_threadsafe(release.set)
    until(lambda: len(set(bench.values())) == 44, "everything")
    assert set(ran.values()) == {1}
