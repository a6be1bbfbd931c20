"""Processors and workers that run the workflows, as processes or as threads of this one.

Processes are started with `penstock processor` and `penstock worker`, so that they can be killed and started again.
Their output goes to files in the run's folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from examples.flights import workflow
from penstock.config import Settings, environment_name
from penstock.hosting.namespace import Namespace
from penstock.hosting.parts import Part, processor_part, start_parts, stop_parts, worker_part
from penstock.workers.activity.decorator import registered

MODULE = workflow.__name__
ROOT = Path(__file__).parents[2]
STOP_TIMEOUT_S = 20.0
LINES_SHOWN = 15


class StageError(Exception):
    """A processor or worker ended by itself; the message has its name and its last output."""


class Stage(Protocol):
    """Running processors and workers."""

    def start(self) -> None:
        """Start all of them; returns before they are ready."""

    def check(self) -> None:
        """Raise StageError if one of them ended by itself."""

    def stop(self) -> None:
        """Stop them; running work may finish within a bound."""


class Processes:
    """Processors and workers as processes. `names`: such as `processor-1`, `worker-2`."""

    def __init__(self, settings: Settings, folder: Path, *, processors: int, workers: int) -> None:
        self._folder = folder
        self._environment = _environment(settings)
        counts = {"processor": processors, "worker": workers}
        self.names = [f"{kind}-{number}" for kind, count in counts.items() for number in range(1, count + 1)]
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        for name in self.names:
            self._start(name)

    def kill_and_restart(self, name: str) -> None:
        """Kill the process with SIGKILL, which it cannot handle, and start it again."""
        process = self._running[name]
        process.kill()
        process.wait()
        self._start(name)

    def check(self) -> None:
        for name, process in self._running.items():
            if process.poll() is not None:
                output = _last_lines(self._file(name))
                raise StageError(
                    f"{name} ended by itself with exit code {process.returncode}; its last output:\n{output}"
                )

    def stop(self) -> None:
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()

    def _start(self, name: str) -> None:
        command = [sys.executable, "-m", "penstock", name.partition("-")[0], MODULE]
        with self._file(name).open("ab") as file:
            self._running[name] = subprocess.Popen(
                command, env=self._environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.log"


class Threads:
    """One processor and one worker as threads of this process, on its open log."""

    def __init__(self, settings: Settings, namespace: Namespace) -> None:
        processor = processor_part(namespace, settings, {workflow.flight.name: workflow.flight})
        activities = {name: one for name, one in registered().items() if one.fn.__module__ == MODULE}
        self._parts: list[Part] = [worker_part(namespace, activities, settings), processor]

    def start(self) -> None:
        start_parts(self._parts)

    def check(self) -> None:
        for part in self._parts:
            if part.ended:
                raise StageError(f"the {part.name} ended by itself") from part.error

    def stop(self) -> None:
        stop_parts(self._parts)


def _environment(settings: Settings) -> dict[str, str]:
    """Return the environment with the settings; flags would show a password in a log's URL to other users."""
    state = settings.state_path
    values = {"log": settings.log, "namespace": settings.namespace, "prefix": settings.prefix, "data": str(state or "")}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, **{environment_name(name): value for name, value in values.items()}, "PYTHONPATH": path}


def _last_lines(file: Path) -> str:
    return "\n".join(file.read_text(encoding="utf-8", errors="replace").splitlines()[-LINES_SHOWN:])
