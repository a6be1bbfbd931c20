"""Which workflow code keeps its processor from everything else? A look at its thread, now and then, from outside.

Shards decide on one thread, so code that computes for seconds without waiting for anything lets all other runs of the
processor stand still, and from outside nothing tells it from a processor that is away. The thread itself notes nothing,
for it decides thousands of inputs a second: a watching thread looks at its frames, and tells one activation of workflow
code from the next by the list of orders that each one makes for itself.

Code that keeps the interpreter's lock for all of its time (one long call into C) is seen only when it lets go.
"""

from __future__ import annotations

import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, NamedTuple

import structlog

from penstock.engine.execution.program import Program

log = structlog.get_logger(__name__)

SLOW_S = 5.0
LOOK_S_MAX = 1.0
_ACTIVATE = Program.activate.__code__
_LIBRARIES = (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))


class Activation(NamedTuple):
    """Workflow code at work: whose, and `at` which line just now. `orders` is the list that this activation fills."""

    program: Program
    orders: list[Any]
    at: str


class Watch:
    """Warns once of each activation on a thread that takes longer than `slow_s`, and tells when it ends.

    `with Watch(threading.get_ident()):` looks from a thread of its own; a test calls `look` itself."""

    def __init__(self, thread_id: int, slow_s: float = SLOW_S) -> None:
        self._thread_id, self._slow_s = thread_id, slow_s
        self._seen: Activation | None = None
        self._since_s = 0.0
        self._warned = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="penstock-watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def look(self, now_s: float) -> None:
        """See what the thread does at this moment of a monotonic clock."""
        found = activation_on(self._thread_id)
        if self._seen is None or found is None or found.orders is not self._seen.orders:
            self._ended(now_s)
            self._seen, self._since_s = found, now_s
        elif not self._warned and now_s - self._since_s >= self._slow_s:
            self._warned = True
            log.warning(
                "workflow code runs on without waiting, and no other run of this processor gets its turn: "
                "move long work into an activity",
                **self._facts(now_s),
                at=found.at,
            )

    def _ended(self, now_s: float) -> None:
        if self._warned:
            self._warned = False
            log.warning("workflow code came to its end or to a wait; other runs go on", **self._facts(now_s))

    def _facts(self, now_s: float) -> dict[str, Any]:
        assert self._seen is not None
        program = self._seen.program
        return {
            "workflow_type": program.definition.name,
            "workflow_id": program.workflow_id,
            "run_id": program.run_id,
            "running_s": round(now_s - self._since_s, 1),
        }

    def _run(self) -> None:
        while not self._stopping.wait(min(self._slow_s / 4, LOOK_S_MAX)):
            self.look(time.monotonic())
        self._ended(time.monotonic())


def activation_on(thread_id: int) -> Activation | None:
    """The activation of workflow code that the thread is in just now."""
    innermost = sys._current_frames().get(thread_id)  # noqa: SLF001 - the documented way to see another thread
    for frame in _outward(innermost):
        if frame.f_code is _ACTIVATE:
            found = frame.f_locals
            # Between its first lines an activation has no orders yet; the next look finds it.
            return Activation(found["self"], found["orders"], _place(innermost, frame)) if "orders" in found else None
    return None


def _outward(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _place(innermost: FrameType | None, activation: FrameType) -> str:
    """The innermost line of users' own code; else that of a library which it called."""
    theirs: list[FrameType] = []
    for frame in _outward(innermost):
        if frame is activation:
            break
        if not str(frame.f_globals.get("__name__", "")).startswith("penstock."):
            theirs.append(frame)
    own = [frame for frame in theirs if not frame.f_code.co_filename.startswith(_LIBRARIES)]
    chosen = next(iter(own or theirs), activation)
    return f"{chosen.f_code.co_filename}:{chosen.f_lineno} in {chosen.f_code.co_qualname}"
