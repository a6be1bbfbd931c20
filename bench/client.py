"""How are workflows asked for, and how long do they take? The load generator: one process, apart from what it measures.

    python -m bench.client '{"url": …}'

It publishes starts that were encoded before, reads `completions` with a plain reader, and looks at the CPU clocks of
the measured processes when the measurement begins and ends. Spoken over stdin and stdout, a line of JSON each way:

    client → ready        (a backlog: all starts are published)
    parent → processes    {"processor": [pid], "worker": [pid], "broker": [pid]}
    client → a Report

Closed loop: `in_flight` starts, then one for each completion. Measured from the first look at `completions` after the
warm-up (every workflow of the first wave has completed) to the first look after `measure_s`. Backlog: measured from
the processor's first committed decision to the last completion, so the start of processes is left out and everything
else is in, the decisions about the starts too.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import msgspec

from bench import workload
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
    """What to ask for. In a backlog `in_flight` is how many workflows wait; `limit_s` bounds every wait."""

    url: str
    namespace: str
    shards: int
    mode: str
    in_flight: int
    warm_up_s: float
    measure_s: float
    limit_s: float


class Report(msgspec.Struct, frozen=True):
    """What was seen. `began_ms`, `ended_ms`: the measurement in epoch time; `cpu_s` by role, also of `client`."""

    workflows: int
    seconds: float
    began_ms: int
    ended_ms: int
    p50_ms: float
    p99_ms: float
    cpu_s: dict[str, float]


def main() -> int:
    """Measure what the command line says."""
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
        """The closed loop."""
        load = self._load
        self._processes = _told()
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
        """Everything is asked for before anybody is there to do it. Latencies count from the first decision."""
        events = self._partitions(self._topics.events, 0)
        empty = self._log.ends(list(events))
        self._send(self._load.in_flight)
        self._publisher.flush(FLUSH_S)
        self._processes = _told()
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
        """Let go of the log's parts."""
        self._publisher.close()
        self._reader.close()

    def _read(self) -> int:
        """Look at `completions`; how many came. Raises when nothing comes for longer than the limit."""
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
        """Every workflow completed once, with the right result: otherwise there is nothing to report."""
        seen = set()
        for record in self._values:
            number = workload.number_of(record.key or b"")
            closed = decode(record.value or b"")
            assert closed.status == "completed", f"{closed.workflow_id} ended as {closed.status}"
            assert closed.result == workload.result_of(number), f"{closed.workflow_id} returned {closed.result!r}"
            seen.add(number)
        assert len(seen) == len(self._values) == len(self._sent_s), "a workflow completed twice, or not at all"


class Clocks:
    """The clocks when the measurement began."""

    def __init__(self, processes: Processes) -> None:
        self._processes = {**processes, "client": [os.getpid()]}
        self._cpu_s = self._read()
        self._began_ms = time.time_ns() // 1_000_000
        self.began_s = time.monotonic()

    def report(self, workflows: int, latencies_s: list[float]) -> Report:
        """What was measured, ending now."""
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
        return {role: sum(map(cpu_s, _with_children(pids))) for role, pids in self._processes.items() if pids}


def cpu_s(pid: int) -> float:
    """Seconds of CPU that the process with all its threads has used (proc(5): fields 14 and 15 of stat)."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _with_children(pids: list[int]) -> list[int]:
    """These and what they started by now: several processors have a parent that keeps them up."""
    children = [Path(f"/proc/{pid}/task/{pid}/children").read_text().split() for pid in pids]
    return [*pids, *(int(child) for started in children for child in started)]


def _require_alive(processes: Processes) -> None:
    """Nobody waits for the dead: their parent has not looked yet, so that they are zombies (state Z)."""
    dead = [role for role, pids in processes.items() for pid in pids if _stat(pid)[0] == "Z"]
    if dead:
        raise RuntimeError(f"the {' and the '.join(dead)} ended in mid-measurement")


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on; the second may hold blanks and parentheses."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _told() -> Processes:
    print("ready", flush=True)
    return msgspec.json.decode(sys.stdin.readline(), type=Processes)


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _bounded(deadline_s: float, what: str) -> None:
    if time.monotonic() > deadline_s:
        raise TimeoutError(f"waited in vain for {what}")


if __name__ == "__main__":
    sys.exit(main())
