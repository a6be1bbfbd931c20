"""How is a whole system started for a test? Topics made, a worker in this process, processors as children."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from penstock.topics.admin import apply, declare_namespace, plan
from penstock.topics.catalogue import Topics, specs
from penstock.topics.connect import connect
from penstock.workers.activity import registered
from penstock.workers.worker import Worker

ROOT = Path(__file__).parents[2]
CHILD_WAIT_S = 60.0


class System:
    """A namespace of its own on a log, with one worker that counts what it runs."""

    def __init__(self, url: str, shards: int, data: Path) -> None:
        self.url, self.shards, self.data = url, shards, data
        self.namespace = f"test-{uuid.uuid4().hex[:10]}"
        self.topics = Topics(self.namespace)
        self.log = connect(url)
        self.runs: Counter[str] = Counter()
        self._children: list[subprocess.Popen[bytes]] = []
        self._worker: Worker | None = None
        apply(self.log, plan(self.log, specs(self.topics, shards, ["default"])))
        declare_namespace(self.log, self.topics, shards)

    def start_worker(self, **options: Any) -> Worker:
        """A worker in this process for all activities defined in it."""
        self._worker = Worker(self.log, self.topics, registered(), queues=["default"], **options)
        self._worker.start()
        return self._worker

    def child(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `python -m module …` as a child of this test."""
        with (self.data / f"child-{len(self._children)}.log").open("wb") as output:
            child = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", module, *arguments],
                cwd=ROOT,
                env={**os.environ, "PYTHONHASHSEED": "0"},
                stdout=output,
                stderr=output,
            )
        self._children.append(child)
        return child

    def wait_for_death(self, child: subprocess.Popen[bytes], code: int) -> None:
        """Wait until the child ended with that exit code."""
        try:
            found = child.wait(CHILD_WAIT_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the child did not end within {CHILD_WAIT_S} s\n{self.child_log(child)}") from None
        assert found == code, f"the child ended with {found}, expected {code}\n{self.child_log(child)}"

    def child_log(self, child: subprocess.Popen[bytes]) -> str:
        """The end of what the child wrote."""
        path = self.data / f"child-{self._children.index(child)}.log"
        return path.read_text(errors="replace")[-3_000:]

    def end(self, child: subprocess.Popen[bytes]) -> int:
        """Ask the child to stop and wait for it."""
        child.terminate()
        return child.wait(CHILD_WAIT_S)

    def close(self) -> None:
        """Stop all that was started here."""
        if self._worker is not None:
            self._worker.stop()
        for child in self._children:
            if child.poll() is None:
                child.kill()
                child.wait(10)
        self.log.close()


def wait_until(what: str, test: Any, timeout_s: float = 60.0) -> None:
    """Wait for `test()` to hold; tell what was waited for when it does not."""
    deadline_s = time.monotonic() + timeout_s
    while not test():
        assert time.monotonic() < deadline_s, f"waited {timeout_s} s for {what}"
        time.sleep(0.05)
