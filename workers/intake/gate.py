"""Gate before the start of tasks: while a suspect runs alone, no other task begins in this worker (suspects.py)."""

from __future__ import annotations

from typing import Protocol


class Candidate(Protocol):
    """A task that is about to start. `suspicion`: None for all but suspects."""

    @property
    def suspicion(self) -> Suspicion | None: ...


class Suspicion:
    """Why a task runs alone. `level`: how many workers ended while it ran beside others. `marked`: whether a commit
    says that it runs, so that it may start."""

    __slots__ = ("level", "marked")

    def __init__(self, level: int) -> None:
        self.level, self.marked = level, False


class Gate:
    """Admission of tasks, shared by the consumers of a worker.

    `alone` is the suspect that is about to begin alone, or runs alone; it is set by the event loop's thread when there
    is room for it, or by the polling thread, and reset by the polling thread of its consumer."""

    __slots__ = ("alone",)

    def __init__(self) -> None:
        self.alone: Candidate | None = None

    def admits(self, candidate: Candidate) -> bool:
        """Whether the task may start now. The first suspect that is refused closes the gate to all others, and starts
        once it is marked. Called in the event loop's thread."""
        suspicion = candidate.suspicion
        if suspicion is None:
            return self.alone is None
        if self.alone is None:
            self.alone = candidate
        return self.alone is candidate and suspicion.marked

    def open(self, candidate: Candidate) -> None:
        """Admit others again, if `candidate` closed the gate."""
        if self.alone is candidate:
            self.alone = None
