"""The neighbour workload: starts at a fixed rate, and when each of its runs completed."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Sequence

import msgspec

from penstock.schemas.encoding.codec import decode, encode
from penstock.schemas.records.run import StartWorkflow
from penstock.topics.catalogue import Topics
from penstock.topics.log import Log, Record
from penstock.topics.partitioner import partition_of

WORKFLOW = "chaos_neighbour"
PREFIX = "neighbour-"
GAP_S_MIN = 1.0
BACKLOG_S = 2.0


class Report(msgspec.Struct, frozen=True):
    """What a fault did to the neighbour: runs started meanwhile, the longest time in which a shard completed none, and
    the 99th percentile of the latencies of runs that did not touch such a gap."""

    fault: str
    runs: int
    gap_s: float
    p99_s: float


class Neighbour:
    """Starts `per_s` runs a second from one thread and notes their completions on another."""

    def __init__(self, log: Log, topics: Topics, shards: int, per_s: int) -> None:
        self._log, self._topics, self._shards, self._per_s = log, topics, shards, per_s
        self._stopping = threading.Event()
        self.started: dict[str, float] = {}
        self.completed: dict[str, float] = {}
        self._threads = [
            threading.Thread(target=self._start, name="neighbour-starts", daemon=True),
            threading.Thread(target=self._follow, name="neighbour-completions", daemon=True),
        ]

    def begin(self) -> None:
        """Start both threads."""
        for thread in self._threads:
            thread.start()

    def end(self, timeout_s: float) -> list[str]:
        """Start no more runs and wait for those that began; returns the ids of those that did not complete."""
        self._stopping.set()
        deadline_s = time.monotonic() + timeout_s
        while (missing := sorted(self.started.keys() - self.completed.keys())) and time.monotonic() < deadline_s:
            time.sleep(0.2)
        return missing

    def report(self, fault: str, from_s: float, to_s: float) -> Report:
        """What happened between two moments (monotonic). Gaps are those of each shard."""
        latencies: list[float] = []
        gap_s = 0.0
        completed = dict(self.completed)
        for shard in range(self._shards):
            mine = {id: end for id, end in completed.items() if partition_of(id, self._shards) == shard}
            gaps = _gaps([from_s, *sorted(end for end in mine.values() if from_s <= end <= to_s), to_s])
            gap_s = max([gap_s, *(end - start for start, end in gaps)])
            latencies += [
                end - self.started[id]
                for id, end in mine.items()
                if from_s <= self.started[id] <= to_s and not _touches(self.started[id], end, gaps)
            ]
        latencies.sort()
        return Report(fault, len(latencies), gap_s, latencies[int(len(latencies) * 0.99)] if latencies else 0.0)

    def resumed_s(self, since_s: float) -> float:
        """How long after a moment (monotonic) each shard has completed a run that began after it; infinity before."""
        firsts = dict.fromkeys(range(self._shards), math.inf)
        for id, end in list(self.completed.items()):
            if self.started[id] >= since_s:
                shard = partition_of(id, self._shards)
                firsts[shard] = min(firsts[shard], end)
        return max(firsts.values()) - since_s

    def _start(self) -> None:
        publisher = self._log.publisher()
        number, due_s = 0, time.monotonic()
        while not self._stopping.is_set():
            id = f"{PREFIX}{number}"
            command = StartWorkflow(workflow_id=id, workflow_type=WORKFLOW, input=b"1", message_id=f"m-{id}")
            place = partition_of(id, self._shards)
            self.started[id] = time.monotonic()
            publisher.send(Record(self._topics.commands, place, id.encode(), encode(command)))
            number, due_s = number + 1, due_s + 1 / self._per_s
            time.sleep(max(0.0, due_s - time.monotonic()))
        publisher.flush(30)
        publisher.close()

    def _follow(self) -> None:
        reader = self._log.reader({(self._topics.completions, number): 0 for number in range(self._shards)})
        while not (self._stopping.is_set() and len(self.completed) == len(self.started)):
            for record in reader.read(1_000, 0.1):
                closed = decode(record.value or b"")
                if closed.workflow_id.startswith(PREFIX):
                    self.completed[closed.workflow_id] = time.monotonic()
        reader.close()


def _gaps(moments: Sequence[float]) -> list[tuple[float, float]]:
    return [(start, end) for start, end in itertools.pairwise(moments) if end - start >= GAP_S_MIN]


def _touches(start: float, end: float, gaps: Sequence[tuple[float, float]]) -> bool:
    """Whether a run was open in a gap, or in the seconds after it, in which the backlog is worked off."""
    return any(start <= until + BACKLOG_S and end >= since for since, until in gaps)
