"""Records of queries: a caller reads the state of a run. They leave no event: a read has no place in a history."""

from __future__ import annotations

from penstock.schemas.records.kinds import Command


class QueryWorkflow(Command, frozen=True, gc=False, kw_only=True):
    """Answer the run's query of that name. Empty `run_id`: the current run.

    `timeout_ms`: how long the caller waits (0: 30 s); a query that is read later is dropped."""

    query: str
    input: bytes = b""
    run_id: str = ""
    timeout_ms: int = 0
