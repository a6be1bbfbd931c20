"""Load generator of the closed and backlog rows: one process, apart from those it measures.

    python -m bench.client '{"url": …}'

It publishes starts that were encoded before, reads `completions` with a plain reader, and reads the CPU time of the
measured processes when the measurement begins and ends. Standard input and output carry one line each way before the
report:

    client → ready        (a backlog: all starts are published)
    parent → processes    {"processor": [pid], "worker": [pid], "broker": [pid]}
    client → a Report

Closed loop: `in_flight` starts, then one for each completion. Measured from the first read of `completions` after the
warm-up (every workflow of the first wave has completed) to the first read after `measure_s`. Backlog: measured from
the processor's first committed decision to the last completion, so the start of processes is excluded and everything
else is included, the decisions about the starts too.
"""

from __future__ import annotations

import os
import sys
import time

import msgspec

from bench import workload
from bench.cpu import is_dead, total_cpu_s
from penstock.schemas.encoding.codec import decode
from penstock.topics.catalogue import Topics
from penstock.topics.connect import connect
from penstock.topics.log import Log, Reader, Record, StoredRecord, TopicPartition

READ_RECORDS_MAX = 10_000
READ_WAIT_S = 0.1
FIRST_LOOK_S = 0.02
SPARE_STARTS = 50_000
WARM_UP_WORKFLOWS = 20
FLUSH_S = 60.0

Processes = dict[str, list[int]]


class Load(msgspec.Struct, frozen=True):
    """Load to generate. In a backlog `in_flight` is the number of waiting workflows; `limit_s` bounds every wait."""

    url: str
    namespace: str
    shards: int
    mode: str
    in_flight: int
    warm_up_s: float
    measure_s: float
    limit_s: float


class Report(msgspec.Struct, frozen=True):
    """Result of a measurement. `began_ms`, `ended_ms`: its bounds in epoch time; `cpu_s` by role, `client` included."""

    workflows: int
    seconds: float
    began_ms: int
    ended_ms: int
    p50_ms: float
    p99_ms: float
    cpu_s: dict[str, float]


def main() -> int:
    """Run the load that the command line describes."""
    load = msgspec.json.decode(sys.argv[1], type=Load)
    log = connect(load.url)
    try:
        client = Client(log, load)
        report = client.drain_backlog() if load.mode == "backlog" else client.keep_in_flight()
        client.close()
    finally:
        log.close()
    print(msgspec.json.encode(report).decode(), flush=True)
    return 0


class Client:
    """Starts workflows and waits for them."""

    def __init__(self, log: Log, load: Load) -> None:
        self._log, self._load = log, load
        self._topics = Topics(load.namespace)
        self._publisher = log.publisher()
        self._reader: Reader = log.reader(self._partitions(self._topics.completions, -1))
        spare = 0 if load.mode == "backlog" else SPARE_STARTS
        self._starts = self._encoded(0, load.in_flight + spare)
        self._processes: Processes = {}
        self._sent_s: list[float] = []
        self._completed = 0
        self._latencies_s: list[float] = []
        self._values: list[StoredRecord] = []

    def keep_in_flight(self) -> Report:
        """Run the closed loop."""
        load = self._load
        self._processes = _await_processes()
        began_s = time.monotonic()
        self._send(load.in_flight)
        first_wave = max(load.in_flight, WARM_UP_WORKFLOWS)
        while self._completed < first_wave or time.monotonic() < began_s + load.warm_up_s:
            self._send(self._read())
        self._latencies_s.clear()
        before, clocks = self._completed, Clocks(self._processes)
        while time.monotonic() < clocks.began_s + load.measure_s or self._completed == before:
            self._send(self._read())
        report = clocks.report(self._completed - before, self._latencies_s)
        while self._completed < len(self._sent_s):
            self._read()
        self._verify()
        return report

    def drain_backlog(self) -> Report:
        """Publish all starts before the processor runs. Latencies count from its first decision."""
        events = self._partitions(self._topics.events, 0)
        empty = self._log.ends(list(events))
        self._send(self._load.in_flight)
        self._publisher.flush(FLUSH_S)
        self._processes = _await_processes()
        deadline_s = time.monotonic() + self._load.limit_s
        while self._log.ends(list(events)) == empty:
            _require_alive(self._processes)
            _bounded(deadline_s, "the first decision")
            time.sleep(FIRST_LOOK_S)
        clocks = Clocks(self._processes)
        self._sent_s = [clocks.began_s] * len(self._sent_s)
        while self._completed < self._load.in_flight:
            self._read()
        report = clocks.report(self._completed, self._latencies_s)
        self._verify()
        return report

    def close(self) -> None:
        """Close the publisher and the reader."""
        self._publisher.close()
        self._reader.close()

    def _read(self) -> int:
        """Read `completions`; the number of records. Raises TimeoutError when none comes within the limit."""
        deadline_s = time.monotonic() + self._load.limit_s
        while not (records := self._reader.read(READ_RECORDS_MAX, READ_WAIT_S)):
            _require_alive(self._processes)
            _bounded(deadline_s, f"completion {self._completed + 1} of {len(self._sent_s)}")
        now_s = time.monotonic()
        self._latencies_s += [now_s - self._sent_s[workload.number_of(record.key or b"")] for record in records]
        self._values += records
        self._completed += len(records)
        return len(records)

    def _send(self, count: int) -> None:
        first = len(self._sent_s)
        if first + count > len(self._starts):
            self._starts += self._encoded(len(self._starts), SPARE_STARTS)
        now_s = time.monotonic()
        for record in self._starts[first : first + count]:
            self._publisher.send(record)
        self._sent_s += [now_s] * count

    def _encoded(self, first: int, count: int) -> list[Record]:
        return list(workload.starts("load", first, count, self._topics, self._load.shards))

    def _partitions(self, topic: str, offset: int) -> dict[TopicPartition, int]:
        return {(topic, number): offset for number in range(self._load.shards)}

    def _verify(self) -> None:
        """Assert that every workflow completed once, with the right result."""
        seen = set()
        for record in self._values:
            number = workload.number_of(record.key or b"")
            closed = decode(record.value or b"")
            assert closed.status == "completed", f"{closed.workflow_id} ended as {closed.status}"
            assert closed.result == workload.result_of(number), f"{closed.workflow_id} returned {closed.result!r}"
            seen.add(number)
        assert len(seen) == len(self._values) == len(self._sent_s), "a workflow completed twice, or not at all"


class Clocks:
    """Wall clock and CPU time at the begin of a measurement."""

    def __init__(self, processes: Processes) -> None:
        self._processes = {**processes, "client": [os.getpid()]}
        self._cpu_s = self._read()
        self._began_ms = time.time_ns() // 1_000_000
        self.began_s = time.monotonic()

    def report(self, workflows: int, latencies_s: list[float]) -> Report:
        """Report of the measurement, which ends now."""
        seconds = time.monotonic() - self.began_s
        ended = self._read()
        ordered = sorted(latencies_s)
        return Report(
            workflows=workflows,
            seconds=seconds,
            began_ms=self._began_ms,
            ended_ms=time.time_ns() // 1_000_000,
            p50_ms=_quantile(ordered, 0.50) * 1_000,
            p99_ms=_quantile(ordered, 0.99) * 1_000,
            cpu_s={role: ended[role] - self._cpu_s[role] for role in ended},
        )

    def _read(self) -> dict[str, float]:
        return {role: total_cpu_s(pids) for role, pids in self._processes.items() if pids}


def _require_alive(processes: Processes) -> None:
    """Raise RuntimeError if a measured process has ended."""
    dead = [role for role, pids in processes.items() if any(map(is_dead, pids))]
    if dead:
        raise RuntimeError(f"the {' and the '.join(dead)} ended during the measurement")


def _await_processes() -> Processes:
    print("ready", flush=True)
    return msgspec.json.decode(sys.stdin.readline(), type=Processes)


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _bounded(deadline_s: float, what: str) -> None:
    if time.monotonic() > deadline_s:
        raise TimeoutError(f"{what} did not come within the limit")


if __name__ == "__main__":
    sys.exit(main())
