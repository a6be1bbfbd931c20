"""What a call asks for, before the engine records it as a request of a run."""

from __future__ import annotations

import msgspec

from penstock.schemas.values.retry import RetryPolicy


class ActivityRequest(msgspec.Struct, frozen=True, gc=False):
    """An activity with its input (JSON) and options. `timeout_ms`: start-to-close, 0 for none."""

    activity: str
    input: bytes
    queue: str
    timeout_ms: int
    retry: RetryPolicy


class ChildRequest(msgspec.Struct, frozen=True, gc=False):
    """A workflow with its input (JSON). An empty `workflow_id` is chosen by the engine."""

    workflow_type: str
    input: bytes
    workflow_id: str = ""
