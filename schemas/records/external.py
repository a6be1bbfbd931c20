"""Events of what workflow code sends to other runs."""

from __future__ import annotations

from penstock.schemas.records.kinds import Event


class ExternalSignalSent(Event, frozen=True, gc=False, kw_only=True):
    """Workflow code signalled another run. A request. Empty `run_id`: the id's current run."""

    sequence: int
    workflow_id: str
    signal: str
    input: bytes
    run_id: str = ""


class ExternalCancelRequested(Event, frozen=True, gc=False, kw_only=True):
    """Workflow code asked another run to stop. A request. Empty `run_id`: the id's current run."""

    sequence: int
    workflow_id: str
    reason: str = ""
    run_id: str = ""
