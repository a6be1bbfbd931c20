"""Records of a child workflow, as its parent knows it."""

from __future__ import annotations

from typing import ClassVar

from penstock.schemas.failure import Failure
from penstock.schemas.records.kinds import Command, Event
from penstock.schemas.values.retry import RetryPolicy


class ResolveChild(Command, frozen=True, gc=False, kw_only=True):
    """Report a child's end from the child's shard to the parent's.

    `status`: `completed` | `failed` | `cancelled` | `terminated` | `rejected` (it never started). `failure`: null for
    `completed`."""

    FROM_SHARDS: ClassVar[bool] = True

    run_id: str
    sequence: int
    child_workflow_id: str
    child_run_id: str
    status: str
    result: bytes = b""
    failure: Failure | None = None


class ConfirmChild(Command, frozen=True, gc=False, kw_only=True):
    """Report from the child's shard to the parent's that a child has started whose start the parent awaits."""

    FROM_SHARDS: ClassVar[bool] = True

    run_id: str
    sequence: int
    child_run_id: str


class AdoptChild(Command, frozen=True, gc=False, kw_only=True):
    """Report from the parent's shard to the child's that another run of the parent's id now waits for the child.

    `run_id`: the child's. `awaits_start`: that run waits for the child's start as well."""

    FROM_SHARDS: ClassVar[bool] = True

    run_id: str
    parent_workflow_id: str
    parent_run_id: str
    parent_sequence: int
    awaits_start: bool = False


class ChildScheduled(Event, frozen=True, gc=False, kw_only=True):
    """Workflow code called another workflow, which runs under `workflow_id` on that id's shard. A request.

    `headers` are added to those of the run. The timeouts and `retry` are those of StartWorkflow. `parent_close`: what
    the end of the run does to a child that is still open: `terminate` | `cancel` | `abandon`; empty: cancel it, and
    terminate it if the run was terminated. `awaits_start`: the code waits until the child has started. `memo`,
    `search`: those of the child, as in StartWorkflow; `version` too."""

    sequence: int
    workflow_type: str
    workflow_id: str
    input: bytes
    headers: dict[str, str] = {}
    run_timeout_ms: int = 0
    execution_timeout_ms: int = 0
    retry: RetryPolicy | None = None
    parent_close: str = ""
    awaits_start: bool = False
    memo: bytes = b""
    search: bytes = b""
    version: int = 0


class ChildStarted(Event, frozen=True, gc=False, kw_only=True):
    """The child, whose start the code awaits, has started."""

    sequence: int
    child_run_id: str


class ChildCompleted(Event, frozen=True, gc=False, kw_only=True):
    """The child returned `result` (JSON)."""

    sequence: int
    child_run_id: str
    result: bytes


class ChildFailed(Event, frozen=True, gc=False, kw_only=True):
    """The child failed, was cancelled or terminated, or never started; `status` as in ResolveChild."""

    sequence: int
    child_run_id: str
    status: str
    failure: Failure


class ChildCancelRequested(Event, frozen=True, gc=False, kw_only=True):
    """Workflow code no longer waits for the child, which is asked to stop. A request."""

    sequence: int
    workflow_id: str


class ChildStopRequested(Event, frozen=True, gc=False, kw_only=True):
    """Workflow code gave up the child, which is asked to stop, and waits until it has closed. A request."""

    sequence: int
    workflow_id: str


class ChildAdopted(Event, frozen=True, gc=False, kw_only=True):
    """A run that goes on from an earlier point of another one's history took over a child that is open there.

    `awaits_start`: its code waits for the child's start. `restarts`: the child is started again, since it had
    failed."""

    sequence: int
    awaits_start: bool = False
    restarts: bool = False


class ParentChanged(Event, frozen=True, gc=False, kw_only=True):
    """Another run of the parent's id waits for this run. `awaits_start`: also for its start, which is reported again.

    On the topic `events` alone: it takes no number in the history."""

    parent_run_id: str
    awaits_start: bool = False
