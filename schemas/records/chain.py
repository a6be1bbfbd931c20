"""Records of chains: runs of one workflow id that continue each other."""

from __future__ import annotations

from penstock.schemas.records.kinds import Event


class WorkflowContinued(Event, frozen=True, gc=False, kw_only=True):
    """Workflow code ended its run and goes on in a new one, with `input` (JSON) and no history. A request.

    The next run begins in the same transaction; what the code had not read goes along."""

    workflow_type: str
    input: bytes
