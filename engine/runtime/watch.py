"""Watch for workflow code that runs on without waiting, and so keeps its processor from everything else.

Shards decide on one thread. A second thread looks at its frames at intervals, since the deciding thread handles
thousands of inputs a second and keeps no record for this purpose. Activations are distinguished by the list of requests
that each one creates. Code that holds the interpreter's lock all the time (one long call into C) is seen when it
releases the lock."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple

import structlog

from penstock.engine.core.execution import ActivationOverran
from penstock.engine.execution.program import Program
from penstock.schemas.values.frames import called_by, frame_of, place

logger = structlog.get_logger(__name__)

SLOW_S = 5.0
DEADLINE_S = 30.0
GRACE_S = 20.0
LOOK_S_MAX = 1.0
EXIT_KILLED = 70
_ACTIVATE = Program.activate.__code__


class Activation(NamedTuple):
    """Workflow code that runs now: its program, the list of requests that it fills, and the line it is `at`."""

    program: Program
    requests: list[Any]
    at: str


def end_process(reason: str) -> None:
    """End the process at once: its shards move to another, which finds out what ended this one (suspicion.py)."""
    logger.critical("giving up", reason=reason)
    os._exit(EXIT_KILLED)


class Watch:
    """Logs each activation on a thread that takes longer than `slow_s`, once, and logs its end.

    After `deadline_s` it is interrupted: ActivationOverran is raised in its thread, again at each further look. Code
    that goes on for GRACE_S (a call into C, an `except BaseException` in a loop) ends the process by `kill`.

    `with Watch(threading.get_ident()):` looks from a thread of its own; a test calls `look` itself."""

    def __init__(
        self,
        thread_id: int,
        slow_s: float = SLOW_S,
        deadline_s: float = DEADLINE_S,
        kill: Callable[[str], None] | None = None,
    ) -> None:
        self._thread_id, self._slow_s, self._deadline_s = thread_id, slow_s, deadline_s
        self._kill = kill if kill is not None else end_process
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
        """Look at the thread at this moment of a monotonic clock."""
        found = activation_on(self._thread_id)
        if self._seen is None or found is None or found.requests is not self._seen.requests:
            self._ended(now_s)
            self._seen, self._since_s = found, now_s
        elif now_s - self._since_s >= self._deadline_s:
            self._interrupt(found, now_s - self._since_s)
        elif not self._warned and now_s - self._since_s >= self._slow_s:
            self._warned = True
            logger.warning(
                "workflow code runs without waiting, and blocks all other runs of this processor: "
                "move long work into an activity",
                **self._facts(now_s),
                at=found.at,
            )

    def _interrupt(self, found: Activation, running_s: float) -> None:
        where = f"{found.program.definition.name} of {found.program.workflow_id} at {found.at}"
        if running_s >= self._deadline_s + GRACE_S:
            self._kill(f"workflow code does not return and could not be interrupted: {where}")
        logger.error("workflow code does not return and is interrupted", **self._facts(self._since_s + running_s))
        self._warned = True
        interrupted = type(
            "ActivationOverran",
            (ActivationOverran,),
            {"__str__": lambda error: f"{where} ran for {running_s:.0f} s without a wait"},
        )
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread_id), ctypes.py_object(interrupted))

    def _ended(self, now_s: float) -> None:
        if self._warned:
            self._warned = False
            logger.warning("workflow code ended or waits again; other runs go on", **self._facts(now_s))

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
    """The activation of workflow code that the thread is in; None if it is in none."""
    innermost = frame_of(thread_id)
    frame = called_by(_ACTIVATE, innermost)
    if frame is None:
        return None
    found = frame.f_locals
    if "requests" not in found:  # it has only begun; the next look finds it
        return None
    return Activation(found["self"], found["requests"], place(innermost, frame))
