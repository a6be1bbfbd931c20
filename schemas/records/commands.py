"""What can be asked of a workflow? Orders, in the imperative: the records of the topic `commands`.

Each carries `message_id` (empty: the processor derives one from where the record lay), `reply_to` (the partition of
`replies` that wants an answer, -1: nobody does) and `origin` (where a record lay that was forwarded to its right
shard: `topic/partition/offset`, otherwise empty).
"""

from __future__ import annotations

import msgspec

NO_REPLY = -1


class StartWorkflow(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Begin a run. `on_existing`: `use_existing` | `reject` | `restart_closed`, for an id that is already taken."""

    workflow_id: str
    workflow_type: str
    input: bytes = b""
    message_id: str = ""
    reply_to: int = NO_REPLY
    origin: str = ""
    on_existing: str = "use_existing"
    parent_workflow_id: str = ""
    parent_run_id: str = ""
    parent_sequence: int = 0


class SignalWorkflow(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Hand a value to the run's signal of that name. An empty `run_id` means the current run."""

    workflow_id: str
    signal: str
    input: bytes = b""
    run_id: str = ""
    message_id: str = ""
    reply_to: int = NO_REPLY
    origin: str = ""


class CancelWorkflow(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Ask the run to stop: its code sees `CancelledError` and may clean up."""

    workflow_id: str
    reason: str = ""
    run_id: str = ""
    message_id: str = ""
    reply_to: int = NO_REPLY
    origin: str = ""


class TerminateWorkflow(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """End the run at once: its code sees nothing and undoes nothing."""

    workflow_id: str
    reason: str = ""
    run_id: str = ""
    message_id: str = ""
    reply_to: int = NO_REPLY
    origin: str = ""


class RetryWorkflow(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Try a BLOCKED run again, now that its code or its topics were mended."""

    workflow_id: str
    run_id: str = ""
    message_id: str = ""
    reply_to: int = NO_REPLY
    origin: str = ""


class AwaitResult(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Answer `reply_to` with RunClosed when the run closes, at once when it has."""

    workflow_id: str
    run_id: str = ""
    message_id: str = ""
    reply_to: int = NO_REPLY
    origin: str = ""


class ResolveChild(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Tell a parent run how its child ended: from the child's shard to the parent's.

    `status` is `completed` | `failed` | `cancelled` | `terminated` | `rejected` (it never started).
    `failure` is an encoded `Failure`, empty when completed.
    """

    workflow_id: str
    run_id: str
    sequence: int
    child_workflow_id: str
    child_run_id: str
    status: str
    result: bytes = b""
    failure: bytes = b""
    message_id: str = ""
    reply_to: int = NO_REPLY
    origin: str = ""


Command = (
    StartWorkflow | SignalWorkflow | CancelWorkflow | TerminateWorkflow | RetryWorkflow | AwaitResult | ResolveChild
)
