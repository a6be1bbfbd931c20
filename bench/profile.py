"""CPU profile of one shard without a log, in this process, over RocksDB. For developers.

    python -m bench.profile [--workflows N] [--batch N] [--cprofile] [--repeat N]

All starts are decided first, then the results of every workflow's first activity, and so on, `--batch` inputs a
transaction; inputs are encoded beforehand and nothing is produced. Printed is the thread's CPU time in µs per input, in
total and by stage. Timing a stage costs about 0.3 µs a call, which is measured and subtracted; its effect on caches is
not, so the total is the figure to compare.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import workload
from penstock.engine.core.hosted import Hosted
from penstock.engine.execution import guards
from penstock.engine.runtime import shard, step
from penstock.engine.runtime.encode import Encoder
from penstock.engine.runtime.router import TaskRouter
from penstock.engine.runtime.shard import Shard
from penstock.engine.store.rocks import RocksStore
from penstock.schemas.encoding.codec import decode, encode
from penstock.schemas.records.tasks import ActivityTask
from penstock.topics.catalogue import Topics
from penstock.topics.log import Record, StoredRecord

# Bound before the guards replace it: while workflow code runs, they refuse it to the profiler as well.
thread_s = time.thread_time
NOW_MS = 1_700_000_000_000
WORKER = "host-12345"
SHOWN = 40

# Stage → its functions: the object they are looked up in, and their name there.
STAGES: dict[str, list[tuple[Any, str]]] = {
    "read": [(shard, "read")],
    "decide": [(step, "repetition"), (step, "decide")],
    "evolve": [(step, "begin"), (step, "evolve_with_effects"), (step, "finish"), (step, "keep_history")],
    "encode": [(Encoder, "decision"), (Encoder, "effects"), (shard, "to_records")],
}


def main() -> int:
    """Run the profile that the command line describes."""
    arguments = _arguments()
    guards.install()
    for _ in range(arguments.repeat):
        with tempfile.TemporaryDirectory(prefix="penstock-profile-") as folder:
            bench = LoneShard(Path(folder), arguments.batch)
            bench.run(arguments.workflows)
            bench.print_total()
    with tempfile.TemporaryDirectory(prefix="penstock-profile-") as folder:
        bench = LoneShard(Path(folder), arguments.batch)
        if arguments.cprofile:
            profile = cProfile.Profile(thread_s)
            profile.runcall(bench.run, arguments.workflows)
            pstats.Stats(profile).sort_stats("tottime").print_stats(SHOWN)
        else:
            stages = Stages()
            bench.run(arguments.workflows)
            stages.print_each(bench.inputs)
    return 0


class LoneShard:
    """A shard with a store and without a log."""

    def __init__(self, folder: Path, batch: int) -> None:
        self.topics = Topics()
        self.inputs = self.outputs = 0
        self.decide_s = self.store_s = 0.0
        self._batch = batch
        self._offsets: dict[str, int] = {}
        self._store = RocksStore(folder / "shard-0")
        self._router = TaskRouter(1, lambda topic: 4)
        self._router.own([0])
        encoder = Encoder(0, 1, self.topics, lambda topic: 4, self._router)
        self._shard = Shard(self._store, Hosted({workload.NAME: workload.sequential5}), encoder)

    def run(self, workflows: int) -> None:
        """Run that many workflows concurrently to their ends."""
        starts = workload.starts("load", 0, workflows, self.topics, 1)
        tasks = self._feed(self.topics.commands, [record.value or b"" for record in starts])
        for _ in range(workload.ACTIVITIES):
            assert len(tasks) == workflows, f"{workflows} workflows scheduled {len(tasks)} tasks"
            tasks = self._feed(self.topics.results, [encode(task.completed(task.input, WORKER)) for task in tasks])
        assert not tasks, "the workflows did not end with their fifth activity"

    def print_total(self) -> None:
        """Print the CPU time per input."""
        decide_us, store_us = self.decide_s / self.inputs * 1e6, self.store_s / self.inputs * 1e6
        records = self.outputs / self.inputs
        print(
            f"{self.inputs:,} inputs, {records:.1f} records each: {decide_us:.1f} µs to decide, {store_us:.1f} to store"
        )

    def _feed(self, topic: str, values: Sequence[bytes]) -> list[ActivityTask]:
        found: list[ActivityTask] = []
        for first in range(0, len(values), self._batch):
            found += _tasks(self._transaction(topic, values[first : first + self._batch]))
        return found

    def _transaction(self, topic: str, values: Sequence[bytes]) -> list[Record]:
        """Decide and store one transaction; the records it would produce."""
        first = self._offsets.get(topic, 0)
        self._offsets[topic] = first + len(values)
        records = [StoredRecord(topic, 0, first + index, None, value) for index, value in enumerate(values)]
        self._router.next_transaction()
        began_s = thread_s()
        layer = self._shard.decide(records, NOW_MS)
        decided_s = thread_s()
        assert layer is not None
        self._store.write(layer.writes)
        self._shard.confirm(layer)
        self.decide_s += decided_s - began_s
        self.store_s += thread_s() - decided_s
        self.inputs += len(records)
        self.outputs += len(layer.outputs) + len(layer.changelog)
        return layer.outputs


class Stages:
    """Timers around the functions of each stage, installed for the rest of the process."""

    def __init__(self) -> None:
        self._spent_s = dict.fromkeys(STAGES, 0.0)
        self._calls = dict.fromkeys(STAGES, 0)
        for stage, places in STAGES.items():
            for owner, name in places:
                setattr(owner, name, self._timed(stage, getattr(owner, name)))

    def print_each(self, inputs: int) -> None:
        """Print the CPU time of each stage per input."""
        call_s = _stopwatch_s()
        for stage, spent_s in self._spent_s.items():
            print(f"{stage:>8} {(spent_s - call_s * self._calls[stage]) / inputs * 1e6:7.1f} µs")

    def _timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        spent_s, calls, clock = self._spent_s, self._calls, thread_s

        def timed(*args: Any, **kwargs: Any) -> Any:
            began_s = clock()
            try:
                return function(*args, **kwargs)
            finally:
                spent_s[stage] += clock() - began_s
                calls[stage] += 1

        return timed


def _stopwatch_s() -> float:
    """Seconds that reading the clock adds to a timed call."""
    began_s = thread_s()
    for _ in range(10_000):
        thread_s()
    return (thread_s() - began_s) / 10_000


def _tasks(records: Sequence[Record]) -> Iterator[ActivityTask]:
    for record in records:
        if ".tasks." in record.topic:
            yield decode(record.value or b"")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.profile", description="CPU profile of one shard without a log."
    )
    parser.add_argument("--workflows", type=int, default=4_000, help="workflows that run concurrently")
    parser.add_argument("--batch", type=int, default=2_000, help="inputs in a transaction")
    parser.add_argument("--repeat", type=int, default=3, help="measurements of the total")
    parser.add_argument("--cprofile", action="store_true", help="print functions instead of stages")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
