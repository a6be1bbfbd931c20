"""Events of what workflow code sends out: to other runs, and to topics."""

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


class RecordPublished(Event, frozen=True, gc=False, kw_only=True):
    """Workflow code wrote a record to a topic of its users. A request.

    No `key`: the record has none, and the workflow id chooses its partition. `deletes`: the record has no value, which
    deletes its key in a compacted topic. `raw`: the value was given as bytes; else it is JSON."""

    sequence: int
    topic: str
    value: bytes
    key: str | None = None
    deletes: bool = False
    raw: bool = False
