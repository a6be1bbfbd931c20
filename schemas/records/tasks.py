"""What does a worker get, and what does it answer? The records of `tasks.<queue>` and of `results`.

A task's token is (run_id, sequence, attempt): a result counts once for it, and only while that attempt is current.
"""

from __future__ import annotations

import msgspec

from penstock.schemas.values.failure import Failure


class ActivityTask(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One attempt of one activity. `timeout_ms` is start-to-close, 0 for none; `shard` is where the result belongs."""

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

    def completed(self, result: bytes, worker: str = "") -> TaskCompleted:
        """What tells that this attempt returned `result` (JSON): it carries the task's token."""
        return TaskCompleted(
            workflow_id=self.workflow_id,
            run_id=self.run_id,
            sequence=self.sequence,
            attempt=self.attempt,
            result=result,
            worker=worker,
        )

    def failed(self, failure: Failure, worker: str = "") -> TaskFailed:
        """What tells that this attempt failed: it carries the task's token."""
        return TaskFailed(
            workflow_id=self.workflow_id,
            run_id=self.run_id,
            sequence=self.sequence,
            attempt=self.attempt,
            failure=failure,
            worker=worker,
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
    """The attempt raised, or exceeded its timeout."""

    workflow_id: str
    run_id: str
    sequence: int
    attempt: int
    failure: Failure
    worker: str = ""


Result = TaskCompleted | TaskFailed
