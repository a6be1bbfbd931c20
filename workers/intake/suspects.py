"""Suspects: tasks that may be the reason why the earlier owner of their partition ended. They run one at a time.

An earlier owner that did not release a partition in order had begun some of its tasks (holding.py). One of them may
have ended its process: `os._exit`, a crash in C code, memory. Each is a suspect now. Before a suspect begins, a commit
says so, and while it runs no other task begins in this worker. If this worker ends as well, the next owner knows the
reason and reports the attempt as failed, so that the activity's retry policy counts it.

A suspect that runs on is soon let run beside others, which a commit says first. If the worker ends then, the suspects
that were running run alone for longer: those of level 1 for 2 s, of level 4 for 64 s. After that they are counted
although they were not alone.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from penstock.schemas.failure import Failure
from penstock.schemas.records.tasks import ActivityTask, TaskFailed
from penstock.workers.intake.gate import Gate, Suspicion
from penstock.workers.intake.holding import ALONE, BESIDE, LEVEL_MAX, WAITING, Mark
from penstock.workers.intake.partition import HeldTask, Partition

ALONE_S = (0.5, 2.0, 8.0, 32.0, 64.0)
"""How long a suspect of each level runs before others may begin beside it."""

RETRIED_LEVEL = 2
"""Level of a task whose previous attempt ended its worker."""

assert len(ALONE_S) == LEVEL_MAX + 1


class Suspects:
    """Suspects of a consumer, in the order of their delivery. Used by the polling thread.

    `commit` commits a partition with its marks, and returns False if it was refused; `dispatch` hands a task to the
    event loop, before all that wait there.
    """

    def __init__(self, gate: Gate, commit: Callable[[Partition], bool], dispatch: Callable[[HeldTask], None]) -> None:
        self._gate, self._commit, self._dispatch = gate, commit, dispatch
        self._waiting: deque[HeldTask] = deque()
        self._current: HeldTask | None = None
        self._alone_until_s = 0.0

    def __bool__(self) -> bool:
        return bool(self._waiting) or self._current is not None

    def add(self, held: HeldTask, level: int) -> None:
        """Run the task when its turn comes."""
        held.suspicion = Suspicion(min(level, LEVEL_MAX))
        held.partition.marks[held.offset] = Mark(held.suspicion.level, WAITING)
        self._waiting.append(held)

    def finished(self, held: HeldTask) -> None:
        """Note that a task is done; no effect for others than suspects."""
        if held.suspicion is None:
            return
        held.partition.marks.pop(held.offset, None)
        if held is self._current:
            self._end_current(held)

    def drop(self, partition: Partition) -> None:
        """Forget the suspects of a released partition. One that runs goes on."""
        self._waiting = deque(held for held in self._waiting if held.partition is not partition)
        if self._current is not None and self._current.partition is partition:
            self._end_current(self._current)

    def advance(self) -> None:
        """Start the next suspect, mark the one for which there is room, or let others begin beside the running one."""
        held = self._current
        if held is None:
            if self._waiting:
                self._current = self._waiting.popleft()
                self._dispatch(self._current)
            return
        suspicion = held.suspicion
        assert suspicion is not None, "only suspects run alone"
        if not suspicion.marked:
            if self._gate.alone is held:
                suspicion.marked = self._mark(held, ALONE)
                if suspicion.marked:
                    self._dispatch(held)
        elif held.started and not self._alone_until_s:
            self._alone_until_s = time.monotonic() + ALONE_S[suspicion.level]
        elif held.started and time.monotonic() >= self._alone_until_s and self._mark(held, BESIDE):
            self._end_current(held)

    def _mark(self, held: HeldTask, state: str) -> bool:
        """Commit that the suspect runs like this from now on."""
        assert held.suspicion is not None, "only suspects are marked"
        held.partition.marks[held.offset] = Mark(held.suspicion.level, state)
        return self._commit(held.partition)

    def _end_current(self, held: HeldTask) -> None:
        self._current, self._alone_until_s = None, 0.0
        self._gate.open(held)


def worker_died(task: ActivityTask) -> TaskFailed:
    """Failure of an attempt that ended its worker."""
    message = (
        f"The process of a worker ended while it ran attempt {task.attempt} of activity {task.activity}, and began no "
        "other task: it crashed, ran out of memory, or was killed."
    )
    return task.failed(Failure(type="WorkerDied", message=message, kind="worker_died", attempts=task.attempt))
