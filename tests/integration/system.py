"""Whole system for a test: topics, a worker in this process, processors as child processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from penstock.client.client import Client
from penstock.engine.authoring.definition import WorkflowCall
from penstock.engine.authoring.signal import Signal
from penstock.engine.runtime.driver import DriverSettings
from penstock.schemas.encoding.codec import decode, encode
from penstock.schemas.records.kinds import Command
from penstock.schemas.records.registry import ShardOwned
from penstock.schemas.records.run import StartWorkflow
from penstock.schemas.records.signal import SignalWorkflow
from penstock.topics.admin import apply, declare_namespace, plan
from penstock.topics.catalogue import Topics, specs
from penstock.topics.connect import connect
from penstock.topics.log import Record, StoredRecord
from penstock.topics.partitioner import partition_of
from penstock.topics.publishing import publish
from penstock.workers.activity.decorator import registered
from penstock.workers.worker import Worker
from tests.integration import checks

ROOT = Path(__file__).parents[2]
CHILD_WAIT_S = 60.0
SESSION_MS = 3_000
COMMAND_WAIT_S = 60.0


class System:
    """A namespace of its own on a log, with workers in this process and processors beside it."""

    def __init__(self, url: str, shards: int, data: Path) -> None:
        self.url, self.shards, self.data = url, shards, data
        self.namespace = f"test-{uuid.uuid4().hex[:10]}"
        self.topics = Topics(self.namespace)
        self.log = connect(url)
        self.runs: Counter[str] = Counter()
        self._children: list[subprocess.Popen[bytes]] = []
        self._workers: list[Worker] = []
        self._typed: list[Typed] = []
        apply(self.log, plan(self.log, specs(self.topics, shards, ["default"])))
        declare_namespace(self.log, self.topics, shards)

    @property
    def is_kafka(self) -> bool:
        """Whether its log is a real Kafka."""
        return self.url.startswith("kafka:")

    @cached_property
    def _session_ms(self) -> int:
        """Session timeout: 3 s, as long as a lease of the embedded log, or the broker's minimum."""
        client = AdminClient({"bootstrap.servers": self.url.removeprefix("kafka://")})
        broker = ConfigResource(ResourceType.BROKER, str(next(iter(client.list_topics(timeout=10).brokers))))
        settings = client.describe_configs([broker])[broker].result(10)
        return max(SESSION_MS, int(settings["group.min.session.timeout.ms"].value))

    # Processes.

    def start_worker(self, *, queues: Iterable[str] = ("default",), **options: Any) -> Worker:
        """Start a worker in this process for all activities defined in it."""
        worker = Worker(self.log, self.topics, registered(), queues=list(queues), **options)
        self._workers.append(worker)
        worker.start()
        return worker

    def start_processor(
        self,
        settings: DriverSettings = DriverSettings(),
        *,
        sleeps_at: tuple[str, int] = ("never", 1),
    ) -> subprocess.Popen[bytes]:
        """Start a processor as a child; `sleeps_at`: see host.py. On Kafka, its session is as short as the broker
        allows."""
        step, nth = sleeps_at
        return self.child(
            "tests.integration.host",
            f"{self.url}?session.timeout.ms={self._session_ms}" if self.is_kafka else self.url,
            self.namespace,
            str(self.data),
            msgspec.json.encode(settings).decode(),
            step,
            str(nth),
        )

    def child(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `python -m module …` as a child of this test."""
        with (self.data / f"child-{len(self._children)}.log").open("wb") as output:
            child = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=ROOT,
                env={**self.environment, "PYTHONHASHSEED": "0"},
                stdout=output,
                stderr=output,
            )
        self._children.append(child)
        return child

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables with the settings of this system."""
        return {
            **os.environ,
            "PENSTOCK_LOG": self.url,
            "PENSTOCK_NAMESPACE": self.namespace,
            "PENSTOCK_DATA": str(self.data),
        }

    def type(self, *words: str) -> Typed:
        """Run `penstock …` with the settings of this system."""
        typed = Typed(words, self.environment, self.data)
        self._typed.append(typed)
        return typed

    def wait_for_death(self, child: subprocess.Popen[bytes], code: int) -> None:
        """Wait until the child has ended with that exit code."""
        try:
            found = child.wait(CHILD_WAIT_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the child did not end within {CHILD_WAIT_S} s\n{self.child_log(child)}") from None
        assert found == code, f"the child ended with {found}, expected {code}\n{self.child_log(child)}"

    def wait_for_sleep(self, child: subprocess.Popen[bytes]) -> None:
        """Wait until the child has stopped as by SIGSTOP."""

        def stopped() -> bool:
            assert child.poll() is None, f"the child ended with {child.returncode}\n{self.child_log(child)}"
            return Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

        wait_until("the child to fall asleep", stopped, log=lambda: self.child_log(child))

    def child_log(self, child: subprocess.Popen[bytes]) -> str:
        """The last lines of the child's output."""
        path = self.data / f"child-{self._children.index(child)}.log"
        return path.read_text(errors="replace")[-10_000:]

    def end(self, child: subprocess.Popen[bytes]) -> int:
        """Stop the child with SIGTERM and wait for it."""
        child.terminate()
        return child.wait(CHILD_WAIT_S)

    def close(self) -> None:
        """Stop everything that was started here."""
        for typed in self._typed:
            typed.close()
        for worker in self._workers:
            worker.stop()
        for child in self._children:
            if child.poll() is None:
                child.kill()
                child.wait(10)
        self.log.close()

    # Commands and results.

    def publish_starts(self, calls: Mapping[str, WorkflowCall[Any]]) -> None:
        """Append a start for each id, without waiting for replies."""
        for call in calls.values():
            call.claim()
        self.publish_commands(
            StartWorkflow(workflow_id=id, workflow_type=call.name, input=call.input, message_id=f"start-{id}")
            for id, call in calls.items()
        )

    def publish_commands(self, commands: Iterable[Command]) -> None:
        """Append commands, each to its shard."""
        topic, shards = self.topics.commands, self.shards
        self.publish(
            Record(topic, partition_of(one.workflow_id, shards), one.workflow_id.encode(), encode(one))
            for one in commands
        )

    def publish(self, records: Iterable[Record]) -> None:
        """Append records outside of any transaction."""
        publish(self.log, records, 10)

    def publish_signals(self, signal: Signal[Any], ids: Iterable[str], value: int) -> None:
        """Append the same signal for each id."""
        self.publish_commands(
            SignalWorkflow(
                workflow_id=id, signal=signal.name, input=b"%d" % value, message_id=f"{signal.name}-{value}-{id}"
            )
            for id in ids
        )

    def results(self, ids: Iterable[str], timeout_s: float = 60.0) -> dict[str, Any]:
        """Results of all these runs; fails if one is not available in time."""
        return asyncio.run(self._results(list(ids), timeout_s))

    async def _results(self, ids: list[str], timeout_s: float) -> dict[str, Any]:
        async with Client(self.url, namespace=self.namespace) as client:
            found = await asyncio.gather(*(client.result(id, timeout=timeout_s) for id in ids))
        return dict(zip(ids, found, strict=True))

    def read(self, topic: str) -> list[StoredRecord]:
        """All committed records of a topic, partition by partition."""
        partitions = [(topic, number) for number in range(self.log.describe([topic])[topic].partitions)]
        firsts = self.log.ends(partitions)
        return [
            record
            for where in partitions
            for batch in self.log.read_to_end(*where, firsts[where][0], 30.0)
            for record in batch
        ]

    def wait_for_events(self, kind: str, times: int) -> None:
        """Wait until the log has that number of events of a kind."""

        def seen() -> bool:
            records = [decode(record.value or b"") for record in self.read(self.topics.events)]
            events = [decode(event) for record in records for event in record.events]
            return sum(type(event).__name__ == kind for event in events) >= times

        wait_until(f"{times} events {kind}", seen, log=lambda: "\n".join(map(self.child_log, self._children)))

    def check(self, runs_expected: int) -> None:
        """Check log and stores, and the number of runs that were started. All processes have ended."""
        found = checks.decisions(self.log, self.topics, self.shards)
        checks.check_decisions_contiguous(found)
        runs = checks.histories(found)
        checks.check_results_once(runs)
        checks.check_stores(self.log, self.topics, self.shards, self.data)
        assert len(runs) == runs_expected, f"{len(runs)} runs were started, {runs_expected} were expected"

    def owners(self) -> dict[int, ShardOwned]:
        """Owner of each shard according to `registry`."""
        entries = [decode(record.value or b"") for record in self.read(self.topics.registry)]
        return {entry.shard: entry for entry in entries if isinstance(entry, ShardOwned)}

    def wait_for_owners(self, what: str, processors: int) -> dict[int, ShardOwned]:
        """Wait until every shard has an owner, and the number of different owners is `processors`."""

        def owned() -> bool:
            owners = [entry.transactional_id for entry in self.owners().values() if not entry.released]
            return len(owners) == self.shards and len(set(owners)) == processors

        wait_until(what, owned)
        return self.owners()


class Typed:
    """A command of the command line. Runs beside the test until its outcome is read."""

    def __init__(self, words: Iterable[str], environment: Mapping[str, str], folder: Path) -> None:
        self._words = list(words)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "penstock", *self._words],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def terminate(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    def code(self) -> int:
        """Exit code, once it has ended."""
        self._communicate()
        return int(self._process.returncode)

    def ended(self, code: int = 0) -> tuple[str, str]:
        """Text on stdout and stderr, once it has ended with that exit code."""
        stdout, stderr = self._communicate()
        shown = f"penstock {' '.join(self._words)} ended with {self._process.returncode}\n{stdout}\n{stderr}"
        assert self._process.returncode == code, shown
        return stdout, stderr

    def _communicate(self) -> tuple[str, str]:
        try:
            return self._process.communicate(timeout=COMMAND_WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise AssertionError(f"penstock {' '.join(self._words)} did not end in {COMMAND_WAIT_S} s") from None

    def close(self) -> None:
        """Kill it if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        self._process.wait(10)

    def refused(self, code: int, *parts: str) -> None:
        """Check that it ended with that exit code and one sentence on stderr that contains all of `parts`."""
        stdout, stderr = self.ended(code)
        assert stdout == "", stdout
        assert stderr.startswith("penstock: "), stderr
        assert stderr.count("\n") == 1, stderr
        for part in parts:
            assert part in stderr, f"{part!r} is missing in: {stderr}"


def wait_until(what: str, test: Any, timeout_s: float = 60.0, log: Any = lambda: "") -> None:
    """Wait until `test()` holds. AssertionError with `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not test():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}\n{log()}"
        time.sleep(0.05)
