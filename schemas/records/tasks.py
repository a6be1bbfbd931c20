"""Records between shards and workers: the topics `tasks.<queue>` and `results`.

The token of a task is (run_id, sequence, attempt): a result counts once, and only while that attempt is current.
"""

from __future__ import annotations

import msgspec

from penstock.schemas.failure import Failure


class ActivityTask(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One attempt of one activity.

    `shard`: partition of `results` for its result. `timeout_ms`: start-to-close, 0 for none. `seed`: the run's; with
    the workflow id and `sequence` it makes the idempotency key. `headers`: the run's, with those of the call.
    `suspect`: the attempt before ended its worker, so this one runs alone. `returned`: how often workers without the
    activity gave the task back."""

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

    def failed(self, failure: Failure, worker: str = "") -> TaskFailed:
        """The failure of this attempt, with the task's token."""
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
    """The attempt raised an exception, or exceeded its timeout."""

    workflow_id: str
    run_id: str
    sequence: int
    attempt: int
    failure: Failure
    worker: str = ""


Result = TaskCompleted | TaskFailed
