"""What is measured? A namespace of its own on a log, a processor and a worker as one starts them in production."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
from confluent_kafka.admin import AdminClient

from bench import workload
from bench.client import Load, Processes, Report
from penstock.topics.admin import apply, declare_namespace, plan
from penstock.topics.catalogue import Topics, specs
from penstock.topics.connect import connect
from tests.kafka_broker import Broker

ROOT = Path(__file__).resolve().parent.parent
MODULE = "bench.workload"
END_S = 60.0
LOG_TAIL = 3_000


class Place:
    """Where a log is: its URL, the folder of everything that is written, and the broker if it is ours."""

    def __init__(self, url: str, folder: Path, broker: Broker | None) -> None:
        self.url, self.folder, self.broker = url, folder, broker

    @property
    def bootstrap(self) -> str:
        """Kafka's address; empty on the embedded log."""
        return self.url.removeprefix("kafka://") if self.url.startswith("kafka:") else ""


@contextlib.contextmanager
def kafka() -> Iterator[Place]:
    """The Kafka of PENSTOCK_TEST_KAFKA (its CPU time stays unknown), or a broker of our own."""
    given = os.environ.get("PENSTOCK_TEST_KAFKA")
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        if given:
            yield Place(f"kafka://{given}", Path(folder), None)
            return
        with Broker() as broker:
            yield Place(f"kafka://{broker.bootstrap}", Path(folder), broker)


@contextlib.contextmanager
def embedded() -> Iterator[Place]:
    """A file on the disk of the system's temporary folder."""
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        yield Place(f"embedded:{folder}/{uuid.uuid4().hex[:8]}.sqlite3", Path(folder), None)


class System:
    """A namespace with its processes. `close` ends them and removes what a foreign broker would keep."""

    def __init__(self, place: Place, shards: int, processes: int = 1) -> None:
        self.place, self.shards, self._processors = place, shards, processes
        self.namespace = f"bench-{uuid.uuid4().hex[:8]}"
        self.topics = Topics(self.namespace)
        self.log = connect(place.url)
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        apply(self.log, plan(self.log, specs(self.topics, shards, [workload.QUEUE])))
        declare_namespace(self.log, self.topics, shards)

    def start(self) -> None:
        """Start a processor and a worker."""
        data = str(self.place.folder / "state")
        self._children["processor"] = self._host("processor", "--data", data, "--processes", str(self._processors))
        self._children["worker"] = self._host("worker")

    def stop(self) -> None:
        """Stop both in order, and see that they ended well."""
        children, self._children = self._children, {}
        for child in children.values():
            child.terminate()
        for role, child in children.items():
            code = child.wait(END_S)
            assert code == 0, f"the {role} ended with {code}:\n{self._tail(role)}"

    def processes(self) -> Processes:
        """Process ids by role."""
        broker = self.place.broker
        found = {role: [child.pid] for role, child in self._children.items()}
        return {**found, "broker": [broker.pid] if broker is not None else []}

    def measure(self, load: Load) -> Report:
        """Let the load generator do its work. A backlog is published before the processes start."""
        client = subprocess.Popen(
            [sys.executable, "-m", "bench.client", msgspec.json.encode(load).decode()],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with client:
            assert client.stdin is not None
            assert client.stdout is not None
            try:
                if client.stdout.readline() == "ready\n":
                    if load.mode == "backlog":
                        self.start()
                    client.stdin.write(msgspec.json.encode(self.processes()).decode() + "\n")
                    client.stdin.flush()
                answer = client.stdout.read()
            except BaseException:
                client.kill()
                raise
        if client.returncode:
            raise RuntimeError(f"the load generator failed, see above; the processor said:\n{self._tail('processor')}")
        return msgspec.json.decode(answer, type=Report)

    def close(self) -> None:
        """End what still runs; delete the topics where a broker is."""
        for child in self._children.values():
            child.kill()
            child.wait(END_S)
        names = list(self.log.describe()) if self.place.bootstrap else []
        self.log.close()
        mine = [name for name in names if name.startswith(f"{self.topics.prefix}.{self.namespace}.")]
        if mine:
            admin = AdminClient({"bootstrap.servers": self.place.bootstrap, "log_level": 0})
            for future in admin.delete_topics(mine).values():
                future.result(END_S)

    def _host(self, role: str, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "penstock", role, MODULE, "--log", self.place.url]
        command += ["--namespace", self.namespace, "--log-level", "warning", *options]
        with (self.place.folder / f"{role}.log").open("wb") as output:
            return subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)

    def _tail(self, role: str) -> str:
        path = self.place.folder / f"{role}.log"
        return path.read_text(errors="replace")[-LOG_TAIL:] if path.exists() else ""
