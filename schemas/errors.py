"""Which errors does Penstock raise? One tree.

PenstockError
├── UserError                      something the caller can mend; one sentence says how
│   ├── BadDuration · BadName · BadInput · PayloadTooLarge
│   ├── CallNotAwaited             a Call or a wait was made and dropped; names the line
│   ├── NotInWorkflow              a workflow was awaited, or workflow API used, outside of one
│   ├── NotInActivity              activity API used where no worker runs an activity
│   ├── NonDeterministicCall       workflow code asked the real clock, chance, files or network
│   ├── EndlessWorkflow            workflow code went on and on without waiting
│   ├── ModuleNotLoaded            a module named on the command line cannot be imported
│   ├── SettingsError              a setting has no meaning
│   ├── NotAnswered · StillRunning a processor, or a run, took longer than the caller waits (both TimeoutError)
│   └── CommandRejected            a processor refused a command
│       ├── WorkflowAlreadyExists · WorkflowNotFound · WorkflowAlreadyClosed
│       └── UnknownWorkflowType
├── WorkflowError                  what workflow code and result() see
│   ├── WorkflowFailed             raised by workflow code to fail its run; by result() when a run failed
│   ├── WorkflowCancelled · WorkflowTerminated      (from result())
│   ├── ActivityFailed             an activity failed for good: .type .message .attempts .is_(T)
│   └── ChildWorkflowFailed        a child workflow did not complete
├── LogError                       the log (Kafka or embedded)
│   ├── LogUnavailable             nobody answers there
│   ├── UnknownTopic · RecordTooLarge · OffsetOutOfRange · TopicMismatch
│   ├── TransactionAborted         nothing of it is visible; it may be tried again
│   ├── OutcomeUnknown             it may or may not have committed; recover before going on
│   └── Fenced                     somebody newer owns this: stop
├── StoreError
│   ├── StoreLocked · StoreCorrupt
│   └── StoreAheadOfLog            the log lost what the store has seen
├── NonDeterminism                 replay asked for something else than history holds
└── Undecodable                    bytes that are no known record; names topic, partition, offset
"""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.schemas.values.failure import Cause, Failure


class PenstockError(Exception):
    """The root of every error that Penstock raises."""


class UserError(PenstockError):
    """Something the caller can mend; the message is one sentence that says how."""


class BadDuration(UserError, ValueError):
    """A duration or moment that cannot be read."""


class BadName(UserError, ValueError):
    """A workflow id, queue, signal or type name that breaks the rules."""


class BadInput(UserError, ValueError):
    """A value that does not fit the declared type."""


class PayloadTooLarge(UserError, ValueError):
    """An encoded value beyond the limit; names size, limit and call."""


class CallNotAwaited(UserError):
    """A Call, or a wait such as `sleep`, that was made but never awaited, started or handed over; names its line."""


class NotInWorkflow(UserError):
    """A workflow was awaited, or workflow API used, outside of a workflow."""


class NotInActivity(UserError):
    """Activity API was used where no worker runs an activity."""


class NonDeterministicCall(UserError):
    """Workflow code asked the real clock, chance, a file or the network; names the replacement."""


class EndlessWorkflow(UserError):
    """Workflow code went on and on without waiting for anything."""


class ModuleNotLoaded(UserError):
    """A module or file that cannot be imported."""


class SettingsError(UserError):
    """A setting that has no meaning."""


class NotAnswered(UserError, TimeoutError):
    """No processor answered in time. A command that was published stands in the log and is carried out all the same."""


class StillRunning(UserError, TimeoutError):
    """The run did not close within the time that `result()` was told to wait; it goes on."""


class CommandRejected(UserError):
    """A processor refused a command. `reason` is the fixed word of `Rejected`, `run_id` the run concerned, if any."""

    def __init__(self, message: str, *, reason: str = "", run_id: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.run_id = run_id


class WorkflowAlreadyExists(CommandRejected):
    """The id is taken and the start asked to be refused then."""


class WorkflowNotFound(CommandRejected):
    """No run has that id."""


class WorkflowAlreadyClosed(CommandRejected):
    """The run has ended."""


class UnknownWorkflowType(CommandRejected):
    """No processor hosts that workflow type."""


class WorkflowError(PenstockError):
    """What workflow code and `result()` see."""


class _FromFailure(WorkflowError):
    """Shared by the errors that carry a Failure: readable text, and the same facts as attributes."""

    def __init__(self, message: str = "", *, failure: Failure | None = None) -> None:
        super().__init__(message or (failure.message if failure else ""))
        self.failure = failure

    @property
    def type(self) -> str:
        """The original exception's qualified name, empty when raised by hand."""
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
        """How many attempts were made."""
        return self.failure.attempts if self.failure else 0

    @property
    def causes(self) -> tuple[Cause, ...]:
        """The chain of causes, nearest first."""
        return self.failure.causes if self.failure else ()

    def is_(self, error: builtins.type[BaseException]) -> bool:
        """Whether the original exception was of that very class (by qualified name)."""
        return self.type in (f"{error.__module__}.{error.__qualname__}", error.__qualname__)


class WorkflowFailed(_FromFailure):
    """Raised by workflow code to fail its run with a readable cause, and by `result()` for a run that failed."""


class WorkflowCancelled(_FromFailure):
    """Raised by `result()`: the run was cancelled."""


class WorkflowTerminated(_FromFailure):
    """Raised by `result()`: the run was terminated."""


class ActivityFailed(_FromFailure):
    """An activity failed for good; `type`, `message`, `traceback`, `attempts`, `is_(SomeError)` say how."""


class ChildWorkflowFailed(_FromFailure):
    """A child workflow failed, was cancelled or terminated, or could not start."""


class LogError(PenstockError):
    """The log, Kafka or embedded, could not do what was asked."""


class LogUnavailable(LogError):
    """Nobody answers at the log's address."""


class UnknownTopic(LogError):
    """A topic that does not exist."""


class TopicMismatch(LogError):
    """A topic whose partitions or settings are not what they must be."""


class RecordTooLarge(LogError):
    """A record beyond the topic's limit."""


class OffsetOutOfRange(LogError):
    """The offset to read from is no longer, or not yet, in the log."""


class TransactionAborted(LogError):
    """Nothing of the transaction is visible; the same work may be tried again."""


class OutcomeUnknown(LogError):
    """The transaction may or may not have committed: recover before going on."""


class Fenced(LogError):
    """A newer owner has taken over."""


class StoreError(PenstockError):
    """The local store could not do what was asked."""


class StoreLocked(StoreError):
    """Another process has the store open."""


class StoreCorrupt(StoreError):
    """The store's files cannot be read."""


class StoreAheadOfLog(StoreError):
    """The store has seen what the log no longer holds."""


class NonDeterminism(PenstockError):
    """Replay asked for something else than the history holds."""


class Undecodable(PenstockError):
    """Bytes that are no known record."""

    def __init__(self, detail: str, *, topic: str = "", partition: int = -1, offset: int = -1) -> None:
        where = f"{topic}[{partition}]@{offset}: " if topic else ""
        super().__init__(f"{where}{detail}")
        self.detail = detail
        self.topic = topic
        self.partition = partition
        self.offset = offset
