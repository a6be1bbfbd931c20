"""Deployment of one checkout of Penstock on a log: topics, a processor and a worker, as a user starts them.

The programs that load and count (public_client.py, public_count.py) run in the checkout's own Python, from copies in a
temporary folder, so that `penstock` is the checkout's and nothing else is needed of it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from bench.broker_requests import BrokerRequests, Counts, between
from bench.cpu import is_dead, total_cpu_s
from bench.place import Place
from bench.public_client import Load, Report
from bench.public_count import Flow, answer_of

HERE = Path(__file__).resolve().parent
COPIED = ("__init__.py", "public_workload.py", "public_client.py", "public_count.py", "public_interaction.py")
END_S = 60.0
LIMIT_S = 180.0
# Background work of the load before (commits of offsets, clean-up) ends meanwhile and counts in no measurement.
SETTLE_S = 0.5
LOG_TAIL = 3_000


class Checkout(NamedTuple):
    """A version of Penstock: its folder and the Python that it is installed in."""

    name: str
    root: Path
    python: Path


def this_checkout() -> Checkout:
    """The version that this file belongs to."""
    return Checkout("this", HERE.parent, Path(sys.executable))


def other_checkout(root: Path) -> Checkout:
    """The version in another folder. Raises FileNotFoundError when it has no virtual environment."""
    python = root.resolve() / ".venv" / "bin" / "python"
    if not python.exists():
        raise FileNotFoundError(f"{python} does not exist: run `make setup` in {root} first")
    return Checkout("other", root.resolve(), python)


class Measurement(NamedTuple):
    """One measured load. `cpu_s` by role, `requests` of the broker by API (None if unknown), `flows` by topic."""

    report: Report
    cpu_s: Mapping[str, float]
    requests: Counts | None
    flows: Mapping[str, Flow]


class Deployment:
    """Processor and worker of one checkout in a fresh namespace. `close` ends them and deletes the topics."""

    def __init__(
        self, checkout: Checkout, place: Place, shards: int, requests: BrokerRequests | None, modules: Sequence[str]
    ) -> None:
        self._checkout, self._place, self._requests, self._modules = checkout, place, requests, modules
        self._namespace = f"public-{uuid.uuid4().hex[:8]}"
        self._prefix = f"penstock.{self._namespace}."
        self._folder = place.folder / self._namespace
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        (self._folder / "bench").mkdir(parents=True)
        for name in COPIED:
            shutil.copy(HERE / name, self._folder / "bench" / name)
        place.put_compaction_off()
        self._run(*self._command("topics", "apply", "--shards", str(shards)))
        self._children["processor"] = self._start("processor", "--data", str(self._folder / "state"))
        self._children["worker"] = self._start("worker")
        self._counter = self._talk("public_count", place.url, self._prefix)

    def measure(self, workflow: str, workflows: int, warm_up: int, in_flight: int) -> Measurement:
        """Run a load. Raises RuntimeError with the ends of the logs when it fails."""
        load = Load(self._place.url, self._namespace, workflow, workflows, warm_up, in_flight, LIMIT_S)
        with self._talk("public_client", msgspec.json.encode(load).decode()) as client:
            try:
                self._expect(client, "ready")
                time.sleep(SETTLE_S)
                self._count()
                requests, cpu = self._read_requests(), self._cpu_s()
                report = self._report(_ask(client))
                after_cpu, after_requests = self._cpu_s(), self._read_requests()
            except BaseException:
                client.kill()
                raise
        time.sleep(SETTLE_S)  # the last records are written after the last result
        cpu_s = {role: after_cpu[role] - cpu[role] for role in cpu} | {"client": report.cpu_s}
        return Measurement(report, cpu_s, between(requests, after_requests), self._count())

    def close(self) -> None:
        """Stop both processes in order, then delete what a broker would keep."""
        for child in self._children.values():
            child.terminate()
        self._counter.communicate(timeout=END_S)
        for child in self._children.values():
            try:
                child.wait(END_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait(END_S)
        self._place.delete_topics(self._prefix)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _count(self) -> Mapping[str, Flow]:
        """Records since the count before."""
        answer = _ask(self._counter)
        if not answer:
            raise RuntimeError(f"the records could not be counted\n{self._tails()}")
        return answer_of(answer)

    def _report(self, answer: str) -> Report:
        if not answer:
            raise RuntimeError(f"the load generator failed\n{self._tails()}")
        report = msgspec.json.decode(answer, type=Report)
        check_origin(report, self._checkout)
        return report

    def _expect(self, client: subprocess.Popen[str], line: str) -> None:
        assert client.stdout is not None
        if client.stdout.readline().strip() != line:
            raise RuntimeError(f"the load generator failed in its warm-up\n{self._tails()}")

    def _read_requests(self) -> Counts | None:
        return None if self._requests is None else self._requests.read()

    def _cpu_s(self) -> dict[str, float]:
        dead = [role for role, child in self._children.items() if is_dead(child.pid)]
        if dead:
            raise RuntimeError(f"the {' and the '.join(dead)} ended during the measurement\n{self._tails()}")
        pids = {role: child.pid for role, child in self._children.items()}
        if self._place.broker is not None:
            pids["broker"] = self._place.broker.pid
        return {role: total_cpu_s([pid]) for role, pid in pids.items()}

    def _start(self, role: str, *options: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{role}.log").open("wb") as output:
            return subprocess.Popen(
                self._command(role, *options), cwd=self._folder, env=_environment(), stdout=output, stderr=output
            )

    def _talk(self, module: str, *arguments: str) -> subprocess.Popen[str]:
        with (self._folder / f"{module}.log").open("ab") as errors:
            return subprocess.Popen(
                [str(self._checkout.python), "-m", f"bench.{module}", *arguments],
                cwd=self._folder,
                env=_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            command, cwd=self._folder, env=_environment(), capture_output=True, text=True, timeout=END_S, check=False
        )
        if done.returncode:
            raise RuntimeError(f"`{' '.join(command)}` exited with {done.returncode}:\n{done.stdout}{done.stderr}")

    def _command(self, *verb: str) -> list[str]:
        command = [str(self._checkout.python), "-m", "penstock", *verb, *self._modules]
        return [*command, "--log", self._place.url, "--namespace", self._namespace, "--log-level", "warning"]

    def _tails(self) -> str:
        logs = sorted(self._folder.glob("*.log"))
        return "\n".join(f"{path.name}:\n{path.read_text(errors='replace')[-LOG_TAIL:]}" for path in logs)


def check_origin(report: Report, checkout: Checkout) -> None:
    """Raise RuntimeError if the load generator imported another Penstock than the checkout's."""
    if not Path(report.penstock).is_relative_to(checkout.root):
        raise RuntimeError(
            f"penstock was imported from {report.penstock}: install {checkout.root} in {checkout.python} (`make setup`)"
        )


def _ask(process: subprocess.Popen[str]) -> str:
    """Send an empty line; the line that comes back, empty if the process has ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline()


def _environment() -> dict[str, str]:
    """The environment without what would choose another log or another `penstock`."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PENSTOCK_", "PYTHONPATH"))}
