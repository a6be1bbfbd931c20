"""The faults, each with its bounds, and the system that they strike."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from penstock.engine.authoring.definition import WorkflowCall
from penstock.schemas.encoding.codec import decode, encode
from penstock.schemas.records.run import StartWorkflow, WorkflowBlocked, WorkflowCompleted, WorkflowFailed
from penstock.topics.admin import apply, declare_namespace, plan
from penstock.topics.catalogue import Topics, specs
from penstock.topics.connect import connect
from penstock.topics.log import Record
from penstock.topics.partitioner import partition_of
from tests.chaos import flows
from tests.chaos.neighbour import Neighbour
from tests.kafka_broker import Broker, allow_writes, deny_writes

ROOT = Path(__file__).parents[2]
SHARDS = 4
PER_S = 50
DEADLINE_S = 3
QUEUES = ("default", "idle", "risky", "refused")
WORKERS = {"default": ("default",), "risky": ("risky", "refused")}
END_S = 60.0
RESUME_S_MAX = 5.0


class Fault(NamedTuple):
    """A fault: how it strikes, the longest gap that the neighbour may see, and what must hold when it is over."""

    name: str
    strike: Callable[[Chaos], None]
    gap_s_max: float
    verdict: Callable[[Chaos], str] = lambda chaos: ""


class Chaos:
    """Processors and workers as child processes on a broker; those that die are started again."""

    def __init__(self, broker: Broker, folder: Path) -> None:
        self.broker, self.folder = broker, folder
        self.topics = Topics("chaos")
        self.log = connect(f"kafka://{broker.bootstrap}")
        apply(self.log, plan(self.log, specs(self.topics, SHARDS, QUEUES)))
        declare_namespace(self.log, self.topics, SHARDS)
        self.neighbour = Neighbour(self.log, self.topics, SHARDS, PER_S)
        self.answered_s = 0.0
        self.printed: set[float] = set()
        self._stopping = threading.Event()
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._keeper = threading.Thread(target=self._keep, name="chaos-keeper", daemon=True)

    def __enter__(self) -> Self:
        self._start("processors", "processor", "--processes", "2", "tests.chaos.flows")
        for name, queues in WORKERS.items():
            flags = [flag for queue in queues for flag in ("--queue", queue)]
            self._start(f"worker-{name}", "worker", *flags, "tests.chaos.flows")
        self._keeper.start()
        self.neighbour.begin()
        self._wait("the first neighbours to complete", lambda: len(self.neighbour.completed) > 5 * PER_S)
        print(f"{'fault':<34} {'runs':>5} {'longest gap':>12} {'bound':>7} {'p99 outside':>12}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._keeper.join()
        for child in self._children.values():
            child.terminate()
        for child in self._children.values():
            try:
                child.wait(50)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.log.close()

    def run(self, fault: Fault, seconds: float) -> list[str]:
        """Strike, watch for so long, and print what the neighbour noticed; returns what was out of bounds."""
        from_s = time.monotonic()
        fault.strike(self)
        time.sleep(seconds)
        problems = [problem] if (problem := self._verdict(fault)) else []
        report = self.neighbour.report(fault.name, from_s, time.monotonic())
        figures = f"{report.runs:>5} {report.gap_s:>10.1f} s {fault.gap_s_max:>5.0f} s {report.p99_s:>10.2f} s"
        print(f"{fault.name:<34} {figures}", flush=True)
        if report.gap_s > fault.gap_s_max:
            problems.append(f"{fault.name}: no neighbour completed for {report.gap_s:.1f} s")
        if report.p99_s >= 1:
            problems.append(f"{fault.name}: p99 outside of gaps was {report.p99_s:.2f} s")
        return problems

    def finish(self) -> list[str]:
        """Wait for every neighbour that was started; returns what was lost."""
        missing = self.neighbour.end(END_S)
        print(f"{len(self.neighbour.started):,} neighbours started, {len(missing)} did not complete")
        return [f"lost: {', '.join(missing[:10])}"] if missing else []

    def start(self, call: WorkflowCall[object], id: str) -> None:
        """Publish a start."""
        call.claim()
        command = StartWorkflow(
            workflow_id=id, workflow_type=call.name, input=call.input, message_id=f"m-{id}", reply_to=-1
        )
        publisher = self.log.publisher()
        publisher.send(Record(self.topics.commands, partition_of(id, SHARDS), id.encode(), encode(command)))
        publisher.flush(30)
        publisher.close()

    def events(self, id: str) -> list[object]:
        """The committed events of a run."""
        found: list[object] = []
        for batch in self.log.read_to_end(self.topics.events, partition_of(id, SHARDS), 0, 30):
            for record in batch:
                if record.key == id.encode():
                    found += map(decode, decode(record.value or b"").events)
        return found

    def tasks(self, queue: str) -> int:
        """Number of committed tasks of a queue."""
        topic = self.topics.tasks(queue)
        count = self.log.describe([topic])[topic].partitions
        return sum(len(batch) for number in range(count) for batch in self.log.read_to_end(topic, number, 0, 30))

    def _verdict(self, fault: Fault) -> str:
        """What does not hold; waits for it, as the last restart may be late."""
        deadline_s = time.monotonic() + END_S
        while (problem := fault.verdict(self)) and time.monotonic() < deadline_s:
            time.sleep(0.5)
        return f"{fault.name}: {problem}" if problem else ""

    def _start(self, name: str, *arguments: str) -> None:
        environment = {
            **os.environ,
            "PENSTOCK_LOG": f"kafka://{self.broker.bootstrap}?session.timeout.ms=3000",
            "PENSTOCK_NAMESPACE": self.topics.namespace,
            "PENSTOCK_DATA": str(self.folder / "state"),
            "PENSTOCK_ACTIVATION_DEADLINE": str(DEADLINE_S),
            "PYTHONHASHSEED": "0",
        }
        with (self.folder / f"{name}.log").open("ab") as output:
            self._children[name] = subprocess.Popen(
                [sys.executable, "-m", "penstock", *arguments], cwd=ROOT, env=environment, stdout=output, stderr=output
            )
        self._arguments = {**getattr(self, "_arguments", {}), name: arguments}

    def _keep(self) -> None:
        """Start children again that ended, as a service manager does."""
        while not self._stopping.wait(0.5):
            for name, child in list(self._children.items()):
                if child.poll() is not None:
                    self._start(name, *self._arguments[name])

    def _wait(self, what: str, holds: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + END_S
        while not holds():
            if time.monotonic() > deadline_s:
                logs = "\n".join(path.read_text()[-2_000:] for path in self.folder.glob("*.log"))
                raise AssertionError(f"waited {END_S:g} s for {what}\n{logs}")
            time.sleep(0.1)


def _poison(chaos: Chaos) -> None:
    for number in range(10):
        chaos.start(flows.poison(500, 10_000), f"poison-{number}")


def _poison_sent(chaos: Chaos) -> str:
    found = chaos.tasks("idle")
    return "" if found == 5_000 else f"{found} of 5,000 tasks were sent"


def _is_blocked(id: str, reason: str) -> Callable[[Chaos], str]:
    def verdict(chaos: Chaos) -> str:
        reasons = [event.reason for event in chaos.events(id) if isinstance(event, WorkflowBlocked)]
        return "" if reasons == [reason] else f"{id} is not blocked by {reason}: {reasons}"

    return verdict


def _has_failed(id: str) -> Callable[[Chaos], str]:
    return lambda chaos: (
        "" if any(isinstance(event, WorkflowFailed) for event in chaos.events(id)) else f"{id} has not failed"
    )


def _refuse(chaos: Chaos) -> None:
    topic = chaos.topics.tasks("refused")
    deny_writes(chaos.broker.bootstrap, topic)
    for number in range(3):
        chaos.start(flows.needs_refused(number), f"refused-{number}")
    threading.Timer(8.0, lambda: allow_writes(chaos.broker.bootstrap, topic)).start()


def _refused_done(chaos: Chaos) -> str:
    runs = [chaos.events(f"refused-{number}") for number in range(3)]
    done = sum(isinstance(event, WorkflowCompleted) for events in runs for event in events)
    return "" if done == 3 else f"{done} of 3 runs that need the refused topic completed"


def _restart_broker(chaos: Chaos) -> None:
    chaos.broker.kill()
    chaos.broker.start()
    chaos.answered_s = time.monotonic()


def _resumed(chaos: Chaos) -> str:
    resumed_s = chaos.neighbour.resumed_s(chaos.answered_s)
    if resumed_s == math.inf:
        return "not every shard completes runs again"
    text = f"every shard completes new runs {resumed_s:.1f} s after the broker answers"
    if chaos.answered_s not in chaos.printed:
        chaos.printed.add(chaos.answered_s)
        print(f"{text} (bound: {RESUME_S_MAX:.0f} s)", flush=True)
    return "" if resumed_s <= RESUME_S_MAX else text


FAULTS = (
    Fault("none", lambda chaos: None, 2),
    Fault("a poisoned fan-out", _poison, 15, _poison_sent),
    Fault("a topic that the broker refuses", _refuse, 15, _refused_done),
    Fault(
        "a run that spins",
        lambda chaos: chaos.start(flows.spin(), "spin"),
        DEADLINE_S + 10,
        _is_blocked("spin", "runs_on"),
    ),
    Fault(
        "a run that aborts",
        lambda chaos: chaos.start(flows.abort(), "abort"),
        60,
        _is_blocked("abort", "kills_processor"),
    ),
    Fault(
        "an activity that kills its worker",
        lambda chaos: chaos.start(flows.deadly_activity(str(chaos.folder)), "deadly"),
        15,
        _has_failed("deadly"),
    ),
    Fault("a broker that is killed and restarts", _restart_broker, 40, _resumed),
)
