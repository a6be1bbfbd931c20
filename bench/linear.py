"""Cost of many children, many parallel activities and long chains: one shard without a log, in this process. For
developers.

    python -m bench.linear [--few N] [--iterations N]

A run with ten times as many children, or activities, may cost at most twelve times as much; the program fails
otherwise. A chain that continues as new every 1,000 iterations is measured at each tenth: CPU time, rows and bytes in
the store, and the memory of the process. All is over RocksDB. What leaves the shard comes back as its next input, in
transactions of 1,000 inputs; a task is completed at once.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from penstock.engine.authoring.chain import continue_as_new
from penstock.engine.authoring.workflow import workflow
from penstock.engine.core.hosted import Hosted
from penstock.engine.execution import guards
from penstock.engine.runtime.encode import Encoder
from penstock.engine.runtime.router import TaskRouter
from penstock.engine.runtime.shard import Shard, ShardLimits
from penstock.engine.store.rocks import RocksStore
from penstock.schemas.encoding.codec import decode, encode
from penstock.schemas.records.completions import WorkflowClosed
from penstock.schemas.records.run import StartWorkflow
from penstock.schemas.values.payload import Signature
from penstock.topics.catalogue import Topics
from penstock.topics.log import StoredRecord
from penstock.workers.activity.decorator import activity

# Bound before the guards replace it: while workflow code runs, they refuse it.
thread_s = time.thread_time
NOW_MS = 1_700_000_000_000
BATCH = 1_000
RATIO_MAX = 12
EVERY = 1_000
PARTS = 10


@activity(name="bench_linear_add")
def add_one(value: int) -> int:
    return value + 1


@workflow(name="bench_linear_child")
async def child(value: int) -> int:
    return value + 1


@workflow(name="bench_linear_children")
async def children(count: int) -> int:
    """Children at once."""
    return sum(await asyncio.gather(*(child(number) for number in range(count))))


@workflow(name="bench_linear_activities")
async def activities(count: int) -> int:
    """Activities at once."""
    return sum(await asyncio.gather(*(add_one(number) for number in range(count))))


@workflow(name="bench_linear_chain")
async def chain(done: int, iterations: int) -> int:
    """Activities one after the other; a new run every 1,000."""
    for _ in range(min(EVERY, iterations - done)):
        done = await add_one(done)
    if done < iterations:
        continue_as_new(chain(done, iterations))
    return done


class Size(NamedTuple):
    """What is kept at one moment: rows and their bytes in the store, and the memory of the process."""

    rows: int
    row_bytes: int
    memory_mib: float


class Loop:
    """A shard whose outputs are its next inputs. `inputs`: how many it has decided; `cpu_s`: CPU time of that."""

    def __init__(self, folder: Path) -> None:
        self.topics = Topics()
        self.inputs, self.cpu_s = 0, 0.0
        self.closed: list[WorkflowClosed] = []
        self._store = RocksStore(folder / "shard-0")
        self._router = TaskRouter(1, lambda topic: 4)
        self._router.own([0])
        hosted = Hosted({code.name: code for code in (child, children, activities, chain)})
        encoder = Encoder(0, 1, self.topics, lambda topic: 4, self._router)
        self._shard = Shard(self._store, hosted, encoder, ShardLimits())
        self._offsets: dict[str, int] = {}
        self._now_ms = NOW_MS
        self._waiting: list[StoredRecord] = []

    def start(self, call: Any, id: str) -> None:
        """Append a start."""
        call.claim()
        command = StartWorkflow(workflow_id=id, workflow_type=call.name, input=call.input, message_id=f"start-{id}")
        self._append(self.topics.commands, encode(command))

    def steps(self) -> Iterator[None]:
        """Decide until nothing is left to do; yields after each transaction."""
        while self._waiting or self._shard.is_due(self._now_ms + 1):
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            self._transaction(batch)
            yield

    def run(self, call: Any, id: str) -> float:
        """CPU seconds of a run to its end; it must complete."""
        before_s = self.cpu_s
        self.start(call, id)
        for _ in self.steps():
            pass
        assert (self.closed[-1].workflow_id, self.closed[-1].status) == (id, "completed"), "the run did not complete"
        return self.cpu_s - before_s

    def size(self) -> Size:
        """What is kept now."""
        gc.collect()
        sizes = [len(key) + len(value) for key, value in self._store.scan(b"", b"\xff")]
        return Size(len(sizes), sum(sizes), resident_mib())

    def _append(self, topic: str, value: bytes) -> None:
        offset = self._offsets.get(topic, 0)
        self._offsets[topic] = offset + 1
        self._waiting.append(StoredRecord(topic, 0, offset, None, value, self._now_ms))

    def _transaction(self, batch: list[StoredRecord]) -> None:
        self._router.next_transaction()
        self._now_ms += 1
        began_s = thread_s()
        layer = self._shard.decide(batch, self._now_ms)
        if layer is not None:
            self._store.write(layer.writes)
            self._shard.confirm(layer)
        self.cpu_s += thread_s() - began_s
        self.inputs += len(batch)
        for record in layer.outputs if layer is not None else ():
            if record.topic == self.topics.commands:
                self._append(record.topic, record.value or b"")
            elif ".tasks." in record.topic:
                task = decode(record.value or b"")
                value = Signature.of(add_one.fn).decode(task.input)
                self._append(self.topics.results, encode(task.completed(b"%d" % (value[0] + 1), "bench")))
            elif record.topic == self.topics.completions:
                self.closed.append(decode(record.value or b""))


def resident_mib() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def compare(what: str, code: Any, few: int) -> bool:
    """Print what `few` and ten times as many cost; returns whether that is linear."""
    costs = []
    for count in (few, 10 * few):
        with tempfile.TemporaryDirectory(prefix="penstock-linear-") as folder:
            loop = Loop(Path(folder))
            loop.run(code(10), "warm")
            costs.append(loop.run(code(count), "run"))
        print(f"{count:>9,} {what}: {costs[-1]:7.2f} s, {costs[-1] / count * 1e6:6.1f} µs each")
    ratio = costs[1] / costs[0]
    print(f"          ratio {ratio:.1f}, at most {RATIO_MAX}")
    return ratio <= RATIO_MAX


def follow(iterations: int) -> None:
    """Print cost and sizes of a chain at each tenth."""
    with tempfile.TemporaryDirectory(prefix="penstock-linear-") as folder:
        loop = Loop(Path(folder))
        loop.start(chain(0, iterations), "chain")
        part, before_s = iterations // PARTS, 0.0
        following = part
        for _ in loop.steps():
            if loop.inputs >= following:
                size = loop.size()
                print(
                    f"{following:>9,} iterations: {(loop.cpu_s - before_s) / part * 1e6:6.1f} µs each, "
                    f"{size.rows:,} rows of {size.row_bytes / 1024:,.0f} KiB, {size.memory_mib:.0f} MiB of memory"
                )
                following, before_s = following + part, loop.cpu_s


def main() -> int:
    """Print all three; fails if the cost of many is not linear."""
    parser = argparse.ArgumentParser(prog="python -m bench.linear", description="Cost of many children and activities.")
    parser.add_argument("--few", type=int, default=1_000, help="children and activities of the smaller run")
    parser.add_argument("--iterations", type=int, default=100_000, help="iterations of the chain")
    arguments = parser.parse_args()
    guards.install()
    is_linear = [compare("children", children, arguments.few), compare("activities", activities, arguments.few)]
    follow(arguments.iterations)
    return 0 if all(is_linear) else 1


if __name__ == "__main__":
    sys.exit(main())
