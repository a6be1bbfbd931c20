"""Records of chains: runs of one workflow id that continue each other."""

from __future__ import annotations

from penstock.schemas.records.kinds import Event


class WorkflowContinued(Event, frozen=True, gc=False, kw_only=True):
    """Workflow code ended its run and goes on in a new one, with `input` (JSON) and no history. A request.

    The next run begins in the same transaction; what the code had not read goes along. `version`: of the workflow type,
    0 for that of this run, or for the one that new runs take if the type is another."""

    workflow_type: str
    input: bytes
    version: int = 0
