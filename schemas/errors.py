"""Exceptions raised by Penstock.

PenstockError
├── UserError                      mistake of the caller; the message says how to correct it
│   ├── BadDuration · BadName · BadInput · BadToken · PayloadTooLarge
│   ├── CallNotAwaited             a call or wait was created but never awaited; names the line
│   ├── NotInWorkflow              workflow API used outside of a workflow
│   ├── NotInActivity              activity API used outside of an activity
│   ├── NonDeterministicCall       workflow code used the real clock, random numbers, files or the network
│   ├── EndlessWorkflow            workflow code ran too long without waiting
│   ├── ModuleNotLoaded            a module named on the command line cannot be imported
│   ├── SettingsError              invalid setting
│   ├── NotAdmitted                this process does not belong to the namespace's application, or is too old for it
│   ├── NotAnswered · StillRunning a processor, or a run, took longer than the caller waits (both TimeoutError)
│   └── CommandRejected            a processor rejected a command
│       ├── WorkflowAlreadyExists · WorkflowNotFound · WorkflowAlreadyClosed
│       ├── UnknownWorkflowType · UnknownQuery · UnknownUpdate
│       ├── ActivityNotPending      the attempt that a token names is over
│       ├── ScheduleAlreadyExists · ScheduleNotFound
│       └── UpdateRejected         an update's validator rejected it; nothing is recorded
├── WorkflowError                  raised to workflow code and by result()
│   ├── WorkflowFailedError        raised by workflow code to fail its run; by result() if a run failed
│   ├── WorkflowCancelledError · WorkflowTerminatedError   (by result())
│   ├── WorkflowBlockedError        (by result(), in tests with TestEngine)
│   ├── QueryFailedError · UpdateFailedError   (by query() and update()) the handler raised an exception
│   ├── ActivityFailedError        an activity failed permanently: .type .message .attempts .is_(T)
│   └── ChildWorkflowFailed        a child workflow did not complete
├── ActivityError                  raised by an activity's code about its attempt
│   ├── RetryableError             the attempt failed; may say when the next one begins
│   ├── FatalError                 the activity failed; no other attempt is made
│   ├── CompleteLater              the attempt goes on outside of its worker, and is completed by its token
│   └── ActivityCancelledError     raised in a sync activity whose end no run awaits any more
├── LogError                       error of the log (Kafka or embedded)
│   ├── LogUnavailable             the log cannot be reached
│   ├── OffsetOutOfRange · TopicMismatch
│   ├── TopicRefused               a topic, or a partition of it, accepts no records for now
│   │   └── UnknownTopic
│   ├── RecordRefused              a record would be refused again
│   │   └── RecordTooLarge
│   ├── TransactionAborted         no part of the transaction is visible; it can be repeated
│   ├── OutcomeUnknown             the transaction may or may not have been committed; recover before continuing
│   └── Fenced                     a newer owner has taken over; stop
├── StoreError                     error of the local store
│   ├── StoreLocked · StoreCorrupt
│   └── StateMismatch              store, changelog and offsets of a shard do not belong together; the shard stops
│       └── StoreAheadOfLog        the store contains records that the log has lost
├── StopTimedOut                   a processor or a worker did not come to an orderly end in time
├── ActivitiesHang                 so many sync activities go on after their timeout that a worker has to be restarted
├── NonDeterminism                 a replay requested something other than its history contains
└── Undecodable                    bytes that are not a known record; names topic, partition, offset
    └── UnknownSchema              a record that a newer program may have written
"""

from __future__ import annotations

import builtins
from datetime import datetime, timedelta

from penstock.schemas.class_names import is_named
from penstock.schemas.failure import Cause, Failure


class PenstockError(Exception):
    """Base of all errors that Penstock raises."""


class UserError(PenstockError):
    """Mistake of the caller; the message says how to correct it."""


class BadDuration(UserError, ValueError):
    """Invalid duration or moment."""


class BadName(UserError, ValueError):
    """Invalid workflow id, queue, signal or type name."""


class BadInput(UserError, ValueError):
    """Value that does not fit the declared type."""


class BadToken(UserError, ValueError):
    """Text that is no token of an activity's attempt, or was signed with another key."""


class PayloadTooLarge(UserError, ValueError):
    """Encoded value beyond the limit; names size, limit and call."""


class CallNotAwaited(UserError):
    """A call, or a wait such as `sleep`, was created but never awaited, started or passed on; names the line."""


class NotInWorkflow(UserError):
    """A workflow was awaited, or workflow API was used, outside of a workflow."""


class NotInActivity(UserError):
    """Activity API was used outside of an activity."""


class NonDeterministicCall(UserError):
    """Workflow code used the real clock, random numbers, a file or the network; names the replacement."""


class EndlessWorkflow(UserError):
    """Workflow code ran too long without waiting."""


class ModuleNotLoaded(UserError):
    """A module or file cannot be imported."""


class SettingsError(UserError):
    """Invalid setting."""


class NotAdmitted(UserError):
    """The process does not belong to the namespace: another application runs there, or its feature level is higher."""


class NotAnswered(UserError, TimeoutError):
    """No processor answered in time. A published command remains in the log and will still be processed."""


class StillRunning(UserError, TimeoutError):
    """The run did not close within the timeout of `result()`; it continues."""


class CommandRejected(UserError):
    """A processor rejected a command. `reason` is the fixed word of `Rejected`, `run_id` the run concerned, if any."""

    def __init__(self, message: str, *, reason: str = "", run_id: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.run_id = run_id


class WorkflowAlreadyExists(CommandRejected):
    """The workflow id is in use: by a run of another type, or the start was to be rejected in that case."""


class WorkflowNotFound(CommandRejected):
    """No run has this workflow id."""


class WorkflowAlreadyClosed(CommandRejected):
    """The run is closed."""


class UnknownWorkflowType(CommandRejected):
    """No processor hosts this workflow type."""


class UnknownQuery(CommandRejected):
    """The run answers no query of this name."""


class UnknownUpdate(CommandRejected):
    """The run takes no update of this name."""


class ScheduleAlreadyExists(CommandRejected):
    """There is a schedule of this name."""


class ScheduleNotFound(CommandRejected):
    """There is no schedule of this name."""


class ActivityNotPending(CommandRejected):
    """The attempt that was to be completed from outside is over, or its activity has ended."""


class UpdateRejected(CommandRejected):
    """The update's validator rejected it; the run is as it was."""


class WorkflowError(PenstockError):
    """Base of errors raised to workflow code and by `result()`."""


class _FromFailure(WorkflowError):
    """Base of errors that carry a Failure: a readable message, and the failure's fields as attributes."""

    def __init__(self, message: str = "", *, failure: Failure | None = None) -> None:
        super().__init__(message or (failure.message if failure else ""))
        self.failure = failure

    @property
    def type(self) -> str:
        """The original exception's qualified name; empty if there is none."""
        return self.failure.type if self.failure else ""

    @property
    def message(self) -> str:
        """The original exception's text."""
        return self.failure.message if self.failure else str(self)

    @property
    def traceback(self) -> str:
        """The original traceback as text."""
        return self.failure.traceback if self.failure else ""

    @property
    def attempts(self) -> int:
        """The number of attempts made."""
        return self.failure.attempts if self.failure else 0

    @property
    def causes(self) -> tuple[Cause, ...]:
        """The chain of causes, the closest one first."""
        return self.failure.causes if self.failure else ()

    def is_(self, error: builtins.type[BaseException]) -> bool:
        """Whether the original exception was of exactly this class (compared by qualified name; the same file may be
        loaded under another module's name elsewhere)."""
        return is_named(error, self.type)


class WorkflowFailedError(_FromFailure):
    """Raised by workflow code to fail its run, and by `result()` for a failed run."""


class WorkflowCancelledError(_FromFailure):
    """Raised by `result()` for a cancelled run."""


class WorkflowTerminatedError(_FromFailure):
    """Raised by `result()` for a terminated run."""


class WorkflowBlockedError(WorkflowError):
    """Raised by `result()` of a TestEngine for a run that is BLOCKED, or awaits a BLOCKED child; says why.

    Elsewhere `result()` waits: an operator retries the run, or new code frees it."""


class QueryFailedError(_FromFailure):
    """Raised by `query()` if the query's handler raised an exception."""


class UpdateFailedError(_FromFailure):
    """Raised by `update()` if the update's handler raised an exception, or the run closed before it had completed."""


class ActivityFailedError(_FromFailure):
    """An activity failed permanently; see `type`, `message`, `traceback`, `attempts`, `is_(SomeError)`."""


class ChildWorkflowFailed(_FromFailure):
    """A child workflow failed, was cancelled or terminated, or could not be started."""


class ActivityError(PenstockError):
    """Base of errors by which the code of an activity says what follows its attempt."""


class RetryableError(ActivityError):
    """The attempt failed, and is retried as the activity's options say.

    `retry_after`: when the next attempt begins, as a duration or an aware datetime; by default after the activity's
    delay. `raise RetryableError("the service is busy", retry_after="30s")`."""

    def __init__(self, message: str = "", *, retry_after: timedelta | datetime | str | float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class FatalError(ActivityError):
    """The activity failed: no other attempt is made."""


class CompleteLater(ActivityError):
    """The function has ended, and its attempt goes on outside of the worker: `raise CompleteLater`.

    The attempt's token (`activity_info().token`) completes it, fails it and sends its heartbeats."""


class ActivityCancelledError(ActivityError):
    """No run waits for the attempt any more: clean up and let it through. Raised by `heartbeat()` in a sync activity;
    an async one receives `asyncio.CancelledError` instead."""


class LogError(PenstockError):
    """Error of the log (Kafka or embedded)."""


class LogUnavailable(LogError):
    """The log cannot be reached."""


class TopicRefused(LogError):
    """A topic accepts no records for now: it is offline, or this program may not write it. `partition`: -1 for all."""

    def __init__(self, message: str, *, topic: str = "", partition: int = -1) -> None:
        super().__init__(message)
        self.topic = topic
        self.partition = partition


class UnknownTopic(TopicRefused):
    """A topic, or a partition of it, does not exist."""


class TopicMismatch(LogError):
    """A topic's partitions or settings differ from the required ones."""


class RecordRefused(LogError):
    """A record that its topic does not accept: it would be refused again."""


class RecordTooLarge(RecordRefused):
    """A record exceeds the topic's limit."""


class OffsetOutOfRange(LogError):
    """The offset to read from is below the first offset kept or beyond the end."""


class TransactionAborted(LogError):
    """No part of the transaction is visible; it can be repeated."""


class OutcomeUnknown(LogError):
    """The transaction may or may not have been committed; recover before continuing."""


class Fenced(LogError):
    """A newer owner has taken over."""


class StoreError(PenstockError):
    """Error of the local store."""


class StoreLocked(StoreError):
    """The store is open in another process."""


class StoreCorrupt(StoreError):
    """The store's files cannot be read."""


class StateMismatch(StoreError):
    """Store, changelog and the group's offsets of a shard do not belong together; the shard is not opened."""


class StoreAheadOfLog(StateMismatch):
    """The store contains records that the log has lost."""


class StopTimedOut(PenstockError):
    """A processor or a worker did not come to an orderly end in time."""


class ActivitiesHang(PenstockError):
    """So many sync activities go on after their timeout that a worker has to be restarted."""


class NonDeterminism(PenstockError):
    """A replay requested something other than its history contains."""


class Undecodable(PenstockError):
    """Bytes that are not a known record."""

    def __init__(self, detail: str, *, topic: str = "", partition: int = -1, offset: int = -1) -> None:
        where = f"{topic}[{partition}]@{offset}: " if topic else ""
        super().__init__(f"{where}{detail}")
        self.detail = detail
        self.topic = topic
        self.partition = partition
        self.offset = offset


class UnknownSchema(Undecodable):
    """A record with a schema fingerprint that this program does not know: a newer one may have written it."""
