"""What do downstream consumers read? One record for each closed run, on the topic `completions`."""

from __future__ import annotations

import msgspec

from penstock.schemas.values.failure import Failure


class WorkflowClosed(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A run ended. `status`: `completed` | `failed` | `cancelled` | `terminated`. `result` is JSON."""

    workflow_id: str
    run_id: str
    workflow_type: str
    version: int
    status: str
    result: bytes
    failure: Failure | None
    started_ms: int
    closed_ms: int
    parent_workflow_id: str = ""
    parent_run_id: str = ""
