"""Record of the topic `completions`, for downstream consumers: one for each closed run."""

from __future__ import annotations

import msgspec

from penstock.schemas.failure import Failure


class WorkflowClosed(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A run closed. `status`: `completed` | `failed` | `cancelled` | `terminated`. `result` is JSON.

    `memo`, `search`: as in StartWorkflow, as the run left them."""

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
    memo: bytes = b""
    search: bytes = b""
