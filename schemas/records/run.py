"""Records of a run as a whole: its start, its end, cancellation, blocking, and waiting for its result."""

from __future__ import annotations

from typing import ClassVar, Literal

from penstock.schemas.failure import Failure
from penstock.schemas.records.kinds import NO_REPLY, Command, Event
from penstock.schemas.values.retry import RetryPolicy

OnExisting = Literal["use_existing", "reject", "restart_closed", "terminate_existing", "restart_failed"]
"""What a start does when its workflow id is taken."""


class StartWorkflow(Command, frozen=True, gc=False, kw_only=True):
    """Start a run.

    `on_existing`, for an id that already has a run: `use_existing` joins it, unless it is of another type; `reject`
    refuses the start; `restart_closed` starts a new run if the current one has closed and joins it otherwise;
    `terminate_existing` terminates an open run and starts a new one; `restart_failed` starts a new run if the current
    one has closed without completing and joins it otherwise. `run_timeout_ms` bounds one run and
    `execution_timeout_ms` a chain of runs (0: no bound), both from the moment at which the code begins; `retry`: a
    run that fails, or is over its own time, is followed by another with the same input (null: never). `headers`
    travel on to the run's activities and children. `start_delay_ms`: how long after the start its code begins.
    `await_result`: answer with RunClosed, as for AwaitResult, in place of Accepted; `await_ms` is its `timeout_ms`.
    `signal`, `update`: a signal, or an update, of that name for the run that is started or joined, with `handed` as
    its value (JSON); the update's id is the message id. `await_result` then means that the sender of the update waits
    until it has completed. `memo`: a JSON object that goes along with the run and its chain. `search`: typed search
    attributes, a JSON object of texts, numbers, true, false, lists of texts, and moments as {"datetime": "…"}.
    `parent_awaits_start`: its parent waits until it has started. `version`: of the workflow type, 0 for the one that
    new runs take."""

    INTERNAL: ClassVar[frozenset[str]] = frozenset(
        {"parent_workflow_id", "parent_run_id", "parent_sequence", "parent_awaits_start"}
    )

    workflow_type: str
    input: bytes = b""
    on_existing: OnExisting = "use_existing"
    parent_workflow_id: str = ""
    parent_run_id: str = ""
    parent_sequence: int = 0
    run_timeout_ms: int = 0
    execution_timeout_ms: int = 0
    retry: RetryPolicy | None = None
    headers: dict[str, str] = {}
    start_delay_ms: int = 0
    await_result: bool = False
    await_ms: int = 0
    signal: str = ""
    update: str = ""
    handed: bytes = b""
    memo: bytes = b""
    search: bytes = b""
    parent_awaits_start: bool = False
    version: int = 0


class CancelWorkflow(Command, frozen=True, gc=False, kw_only=True):
    """Ask a run to stop: its code receives `CancelledError` and may clean up. Empty `run_id`: the current run."""

    reason: str = ""
    run_id: str = ""


class TerminateWorkflow(Command, frozen=True, gc=False, kw_only=True):
    """End a run at once, without running its code. Empty `run_id`: the current run."""

    reason: str = ""
    run_id: str = ""


class UnblockWorkflow(Command, frozen=True, gc=False, kw_only=True):
    """Let a BLOCKED run go on after its code or its topics were corrected. Empty `run_id`: the current run.

    `by`, `reason`: who asks for it, and why."""

    run_id: str = ""
    by: str = ""
    reason: str = ""


class AwaitResult(Command, frozen=True, gc=False, kw_only=True):
    """Answer with RunClosed when the run closes, at once if it has closed. Empty `run_id`: the current run.

    `timeout_ms`: how long the caller waits (0: an hour; at most a day). One that asks again under the same message id
    extends it, and is answered once."""

    run_id: str = ""
    timeout_ms: int = 0


class WorkflowStarted(Event, frozen=True, gc=False, kw_only=True):
    """The run began.

    `seed`: source of the run's randomness, default child ids and idempotency keys; a forked run keeps it. `flags`
    (engine logic), `python` (minor version) and `build` (of the processor's application) describe what replay must
    repeat. `closed_kept_by_status`: how long the run is kept after it has closed with that status (milliseconds);
    `closed_kept_ms`: with another one, 0 for as long as the processors' setting says. `begins_ms`: when its code begins
    (epoch), 0 for at once. `reply_to`: who awaits its result since its start, until `awaited_until_ms` (epoch).
    `first_run_id` and `previous_run_id` name the chain of runs that this one continues, empty if it begins one;
    `chain_length`: number of runs before it. `execution_until_ms`: when the chain is over its time (epoch), 0 for
    never; `retries`: number of runs with the same input that failed before it. `memo`, `search`: as in StartWorkflow;
    of a run that follows another, as that one left them.
    `parent_awaits_start`: as in StartWorkflow."""

    workflow_type: str
    version: int
    input: bytes
    message_id: str
    seed: str
    parent_workflow_id: str = ""
    parent_run_id: str = ""
    parent_sequence: int = 0
    flags: int = 0
    python: str = ""
    build: str = ""
    first_run_id: str = ""
    previous_run_id: str = ""
    run_timeout_ms: int = 0
    execution_timeout_ms: int = 0
    retry: RetryPolicy | None = None
    headers: dict[str, str] = {}
    closed_kept_ms: int = 0
    begins_ms: int = 0
    reply_to: int = NO_REPLY
    awaited_until_ms: int = 0
    chain_length: int = 0
    execution_until_ms: int = 0
    retries: int = 0
    memo: bytes = b""
    search: bytes = b""
    parent_awaits_start: bool = False
    closed_kept_by_status: dict[str, int] = {}


class StartDelayEnded(Event, frozen=True, gc=False, kw_only=True):
    """The delay of the start is over: the run's code begins, as was due at `begins_ms` (epoch)."""

    begins_ms: int


class WorkflowCompleted(Event, frozen=True, gc=False, kw_only=True):
    """Workflow code returned `result` (JSON). A request."""

    result: bytes


class WorkflowFailed(Event, frozen=True, gc=False, kw_only=True):
    """Workflow code raised an exception. A request. `next_run_id`: the run that tries it again, empty if none does."""

    failure: Failure
    next_run_id: str = ""


class WorkflowTimedOut(Event, frozen=True, gc=False, kw_only=True):
    """The run did not close in time and has failed, as `failure` says. `next_run_id`: as in WorkflowFailed."""

    failure: Failure
    next_run_id: str = ""


class HistoryExceeded(Event, frozen=True, gc=False, kw_only=True):
    """The run's history had as many events as are allowed, and the run has failed, as `failure` says."""

    failure: Failure


class WorkflowCancelled(Event, frozen=True, gc=False, kw_only=True):
    """Workflow code ended with the cancellation that was requested. A request."""

    reason: str = ""


class WorkflowTerminated(Event, frozen=True, gc=False, kw_only=True):
    """The run was ended at once, by an operator, a terminated parent or a start that replaced it."""

    reason: str = ""


class WorkflowBlocked(Event, frozen=True, gc=False, kw_only=True):
    """The run is BLOCKED until an operator unblocks it, its code is corrected or a missing topic is created; inputs are
    recorded meanwhile.

    `reason`: `non_determinism` | `code_error` | `missing_topic` | `too_large` | `engine_error` | `unknown_type` |
    `unknown_version` | `unhosted_type` (shown as waiting: another live processor hosts its type and version). `message`
    says what is wrong and what to do; the traceback of a `code_error` follows on lines of its own."""

    reason: str
    message: str


class WorkflowUnblocked(Event, frozen=True, gc=False, kw_only=True):
    """The run continues; inputs recorded while it was BLOCKED reach its code now. `by`: operator or processor;
    `reason`: the operator's."""

    by: str = ""
    reason: str = ""


class CancelRequested(Event, frozen=True, gc=False, kw_only=True):
    """The run was asked to stop."""

    reason: str = ""


class ResultAwaited(Event, frozen=True, gc=False, kw_only=True):
    """A caller waits for the run's end, until `until_ms` (epoch).

    On the topic `events` alone: it takes no number in the history."""

    message_id: str
    reply_to: int
    until_ms: int


class StartJoined(Event, frozen=True, gc=False, kw_only=True):
    """A start joined the id's existing run. Recorded so that a repetition of the message does not start another run.

    On the topic `events` alone: it takes no number in the history."""

    message_id: str


class InputIgnored(Event, frozen=True, gc=False, kw_only=True):
    """An input had no effect. `record`: its message id, else its topic. Unnumbered."""

    record: str
    reason: str
