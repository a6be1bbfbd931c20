"""System under measurement: a fresh namespace on a log, a processor and a worker started as in production."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path

import msgspec

from bench import workload
from bench.client import Load, Processes, Report
from bench.place import Place
from penstock.topics.admin import apply, declare_namespace, plan
from penstock.topics.catalogue import Topics, specs
from penstock.topics.connect import connect

ROOT = Path(__file__).resolve().parent.parent
MODULE = "bench.workload"
END_S = 60.0
LOG_TAIL = 3_000


class System:
    """A namespace with its processes. `close` ends them and deletes the topics from a broker."""

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
        """Stop both in order; an assertion fails if one exits with an error."""
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
        """Run the load generator. A backlog is published before the processes start.

        Raises RuntimeError with the end of the processor's log when the load generator fails."""
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
            raise RuntimeError(
                f"the load generator failed, see above; the end of the processor's log:\n{self._tail('processor')}"
            )
        return msgspec.json.decode(answer, type=Report)

    def close(self) -> None:
        """Kill the processes that still run; delete the topics from a broker."""
        for child in self._children.values():
            child.kill()
            child.wait(END_S)
        self.log.close()
        self.place.delete_topics(f"{self.topics.prefix}.{self.namespace}.")

    def _host(self, role: str, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "penstock", role, MODULE, "--log", self.place.url]
        command += ["--namespace", self.namespace, "--log-level", "warning", *options]
        with (self.place.folder / f"{role}.log").open("wb") as output:
            return subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)

    def _tail(self, role: str) -> str:
        path = self.place.folder / f"{role}.log"
        return path.read_text(errors="replace")[-LOG_TAIL:] if path.exists() else ""
