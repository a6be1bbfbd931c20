"""Events that record a choice of workflow code, so that replay repeats it."""

from __future__ import annotations

from penstock.schemas.records.kinds import Event


class SideEffectRecorded(Event, frozen=True, gc=False, kw_only=True):
    """Workflow code ran a function once and kept its value (JSON). A request."""

    sequence: int
    value: bytes


class PatchMarked(Event, frozen=True, gc=False, kw_only=True):
    """Workflow code called `patched(id)` for the first time, and the answer was yes; or its saga met a bug and undid
    nothing, and code caught the error. A request."""

    sequence: int
    patch: str
