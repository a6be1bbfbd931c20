"""Events of a timer."""

from __future__ import annotations

from penstock.schemas.records.kinds import Event


class TimerStarted(Event, frozen=True, gc=False, kw_only=True):
    """Workflow code waits until `due_ms` (epoch). A request."""

    sequence: int
    due_ms: int


class TimerFired(Event, frozen=True, gc=False, kw_only=True):
    """The timer's moment came."""

    sequence: int


class TimerCancelled(Event, frozen=True, gc=False, kw_only=True):
    """Workflow code no longer waits for the timer. A request."""

    sequence: int
