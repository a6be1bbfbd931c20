"""Records between shards and workers: the topics `tasks.<queue>`, `results` and `cancellations`.

The token of a task is (run_id, sequence, attempt): a result counts once, and only while that attempt is current.
"""

from __future__ import annotations

import msgspec

from penstock.schemas.failure import Failure
from penstock.schemas.values.bounds import ActivityBounds


class ActivityTask(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One attempt of one activity.

    `shard`: partition of `results` for its result. `timeout_ms`: start-to-close, 0 for none. `seed`: the run's; with
    the workflow id and `sequence` it makes the idempotency key. `headers`: the run's, with those of the call.
    `suspect`: the attempt before ended its worker, so this one runs alone. `returned`: how often workers without the
    activity gave the task back. `bounds`: as in ActivityScheduled. `details` (JSON): of the last heartbeat of earlier
    attempts, empty for none. `close_by_ms`: when the activity is over its time (epoch), 0 for never."""

    workflow_id: str
    run_id: str
    sequence: int
    attempt: int
    activity: str
    input: bytes
    queue: str
    shard: int
    timeout_ms: int = 0
    workflow_type: str = ""
    seed: str = ""
    headers: dict[str, str] = {}
    suspect: bool = False
    returned: int = 0
    bounds: ActivityBounds | None = None
    details: bytes = b""
    close_by_ms: int = 0

    @property
    def idempotency_key(self) -> str:
        """`workflow id/seed/sequence`: the same for every attempt, and for a fork of the run that adopts it."""
        return f"{self.workflow_id}/{self.seed}/{self.sequence}"

    def completed(self, result: bytes, worker: str = "") -> TaskCompleted:
        """The result of this attempt, with the task's token. `result`: JSON."""
        return TaskCompleted(
            workflow_id=self.workflow_id,
            run_id=self.run_id,
            sequence=self.sequence,
            attempt=self.attempt,
            result=result,
            worker=worker,
        )

    def failed(
        self, failure: Failure, worker: str = "", *, details: bytes = b"", retry_after_ms: int = 0
    ) -> TaskFailed:
        """The failure of this attempt, with the task's token. `details`, `retry_after_ms`: as in TaskFailed."""
        return TaskFailed(
            workflow_id=self.workflow_id,
            run_id=self.run_id,
            sequence=self.sequence,
            attempt=self.attempt,
            failure=failure,
            worker=worker,
            details=details,
            retry_after_ms=retry_after_ms,
        )

    def started(self, worker: str = "", *, outside: bool = False) -> TaskStarted:
        """The start of this attempt, with the task's token. `outside`: as in TaskStarted."""
        return TaskStarted(
            workflow_id=self.workflow_id,
            run_id=self.run_id,
            sequence=self.sequence,
            attempt=self.attempt,
            worker=worker,
            outside=outside,
        )

    def heartbeat(self, details: bytes) -> TaskHeartbeat:
        """A heartbeat of this attempt, with the task's token. `details`: JSON."""
        return TaskHeartbeat(
            workflow_id=self.workflow_id,
            run_id=self.run_id,
            sequence=self.sequence,
            attempt=self.attempt,
            details=details,
        )


class TaskCompleted(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The attempt returned `result` (JSON)."""

    workflow_id: str
    run_id: str
    sequence: int
    attempt: int
    result: bytes
    worker: str = ""


class TaskFailed(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The attempt raised an exception, or exceeded its timeout.

    `details` (JSON): of its last heartbeat, empty if nothing is new. `retry_after_ms`: how long after this the next
    attempt begins, 0 for the delay of the retry policy."""

    workflow_id: str
    run_id: str
    sequence: int
    attempt: int
    failure: Failure
    worker: str = ""
    details: bytes = b""
    retry_after_ms: int = 0


class TaskStarted(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A worker began the attempt of an activity with a heartbeat or a bound on its time in the queue.

    `outside`: the worker has ended the attempt, which will be completed from outside."""

    workflow_id: str
    run_id: str
    sequence: int
    attempt: int
    worker: str = ""
    outside: bool = False


class TaskHeartbeat(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The attempt goes on. `details` (JSON): how far it has come, empty for nothing new."""

    workflow_id: str
    run_id: str
    sequence: int
    attempt: int
    details: bytes = b""


class AttemptsCancelled(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """No run waits for these attempts any more: of activity `sequence` up to `attempt`, or of the whole run (both 0).

    `awaited`: the run waits until the attempt has ended, and gets no other result than that."""

    workflow_id: str
    run_id: str
    sequence: int = 0
    attempt: int = 0
    awaited: bool = False


Result = TaskCompleted | TaskFailed
Report = TaskStarted | TaskHeartbeat
"""What a running attempt says of itself."""
