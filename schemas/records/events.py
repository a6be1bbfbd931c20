"""What happened in a run? Facts, in the past tense: the numbered events of its history.

Two sorts. *Facts from outside* (an activity completed, a timer fired, a signal came) wake workflow code; *orders that
the code gave* (an activity was scheduled, a timer started, the run completed) are what it did next. `sequence` numbers
the orders of one run from 1, so that a fact names the order it answers.
"""

from __future__ import annotations

import msgspec

from penstock.schemas.values.failure import Failure


class RetryPolicy(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """When a failed attempt is tried again.

    `retries_max`: further attempts after the first, -1 without end. The n-th retry waits `delays_ms[n-1]`; past the
    end of that list the last delay is multiplied by `factor` each time, up to `delay_ms_max`.
    """

    retries_max: int = -1
    delays_ms: tuple[int, ...] = (1_000,)
    factor: float = 2.0
    delay_ms_max: int = 120_000


class WorkflowStarted(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The run began. `flags` and `python` (minor version) fix what replay must repeat."""

    workflow_type: str
    version: int
    input: bytes
    message_id: str
    parent_workflow_id: str = ""
    parent_run_id: str = ""
    parent_sequence: int = 0
    flags: int = 0
    python: str = ""


class WorkflowCompleted(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Workflow code returned `result` (JSON)."""

    result: bytes


class WorkflowFailed(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Workflow code raised."""

    failure: Failure


class WorkflowCancelled(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Workflow code let a requested cancellation through."""

    reason: str = ""


class WorkflowTerminated(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An operator, or a terminated parent, ended the run at once."""

    reason: str = ""


class WorkflowBlocked(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The run was parked. `reason` is a fixed word, `message` says what is wrong and what helps.

    Reasons: `non_determinism` | `missing_topic` | `too_large` | `engine_error` | `unknown_type`.
    """

    reason: str
    message: str


class WorkflowUnblocked(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The run was tried again; facts recorded while it was parked wake its code now."""

    by: str = ""


class CancelRequested(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Somebody asked the run to stop."""

    reason: str = ""


class ActivityScheduled(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Workflow code called an activity."""

    sequence: int
    activity: str
    input: bytes
    queue: str
    timeout_ms: int = 0
    retry: RetryPolicy = RetryPolicy()


class ActivityAttemptFailed(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An attempt failed and the next one starts at `retry_ms` (epoch)."""

    sequence: int
    attempt: int
    failure: Failure
    retry_ms: int


class ActivityRetried(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The wait was over and attempt `attempt` was handed to the task queue."""

    sequence: int
    attempt: int


class ActivityCompleted(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An attempt returned: the activity is completed."""

    sequence: int
    attempt: int
    result: bytes
    worker: str = ""


class ActivityFailed(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The activity failed for good: no retries left, or its error is not retryable."""

    sequence: int
    attempt: int
    failure: Failure


class ActivityCancelled(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Workflow code no longer waits for the activity; a late result is ignored."""

    sequence: int


class TimerStarted(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Workflow code began to wait until `due_ms` (epoch)."""

    sequence: int
    due_ms: int


class TimerFired(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The moment came."""

    sequence: int


class TimerCancelled(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Workflow code no longer waits for the timer."""

    sequence: int


class SignalReceived(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A signal came; it waits in the run until code asks for it."""

    signal: str
    input: bytes
    message_id: str = ""


class ChildScheduled(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Workflow code called another workflow, to run under an id of its own on that id's shard."""

    sequence: int
    workflow_type: str
    workflow_id: str
    input: bytes


class ChildCompleted(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The child returned `result` (JSON)."""

    sequence: int
    child_run_id: str
    result: bytes


class ChildFailed(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The child failed, was cancelled or terminated, or never started; `status` says which."""

    sequence: int
    child_run_id: str
    status: str
    failure: Failure


class ChildCancelRequested(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Workflow code no longer waits for the child, which is asked to stop."""

    sequence: int
    workflow_id: str


class SideEffectRecorded(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Workflow code ran something once, here or on another machine, and kept its value (JSON)."""

    sequence: int
    value: bytes


class PatchMarked(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Workflow code asked `patched(id)` while running for the first time: yes."""

    sequence: int
    patch: str


class ExternalSignalSent(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Workflow code signalled another run."""

    sequence: int
    workflow_id: str
    signal: str
    input: bytes


class ExternalCancelRequested(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Workflow code asked another run to stop."""

    sequence: int
    workflow_id: str
    reason: str = ""


class InputIgnored(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A record had no effect, and why. It stands on the topic `events` alone and takes no number in a history."""

    record: str
    reason: str


class ResultAwaited(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Somebody wants to be told when the run closes. Unnumbered, like InputIgnored."""

    message_id: str
    reply_to: int


Event = (
    WorkflowStarted
    | WorkflowCompleted
    | WorkflowFailed
    | WorkflowCancelled
    | WorkflowTerminated
    | WorkflowBlocked
    | WorkflowUnblocked
    | CancelRequested
    | ActivityScheduled
    | ActivityAttemptFailed
    | ActivityRetried
    | ActivityCompleted
    | ActivityFailed
    | ActivityCancelled
    | TimerStarted
    | TimerFired
    | TimerCancelled
    | SignalReceived
    | ChildScheduled
    | ChildCompleted
    | ChildFailed
    | ChildCancelRequested
    | SideEffectRecorded
    | PatchMarked
    | ExternalSignalSent
    | ExternalCancelRequested
    | InputIgnored
    | ResultAwaited
)
