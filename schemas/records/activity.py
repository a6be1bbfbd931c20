"""Events of an activity."""

from __future__ import annotations

from penstock.schemas.failure import Failure
from penstock.schemas.records.kinds import Command, Event
from penstock.schemas.values.bounds import ActivityBounds
from penstock.schemas.values.retry import RetryPolicy


class SkipActivity(Command, frozen=True, gc=False, kw_only=True):
    """Give an activity that a run waits for a result by hand. Empty `run_id`: the current run.

    `sequence`: number of the request. `result`: any JSON value (empty: null), as if an attempt had returned it. `by`,
    `reason`: who asks for it, and why."""

    sequence: int
    result: bytes = b""
    run_id: str = ""
    by: str = ""
    reason: str = ""


class ChangeActivity(Command, frozen=True, gc=False, kw_only=True):
    """Change options of an activity that a run waits for. Empty `run_id`: the current run.

    `sequence`: number of the request. What is null, or an empty `queue`, stays as it is. Times in milliseconds, 0 for
    none: `timeout_ms` (start-to-close) of attempts that begin from now on, the others at once. `retries_max`: attempts
    after the first, -1 without bound. `delays`: between attempts, whose number of retries is not looked at. `now`: the
    next attempt begins at once, in place of one that runs. `by`, `reason`: who asks for it, and why."""

    sequence: int
    queue: str = ""
    timeout_ms: int | None = None
    schedule_to_start_ms: int | None = None
    schedule_to_close_ms: int | None = None
    heartbeat_ms: int | None = None
    retries_max: int | None = None
    delays: RetryPolicy | None = None
    now: bool = False
    run_id: str = ""
    by: str = ""
    reason: str = ""


class CompleteActivity(Command, frozen=True, gc=False, kw_only=True):
    """End an activity with `result` (JSON), from outside of its worker.

    `sequence`: its number in the history. `attempt`: the one that ended, which must be the present one; 0 for
    whichever it is. Empty `run_id`: the current run."""

    sequence: int
    attempt: int = 0
    result: bytes = b""
    run_id: str = ""


class FailActivity(Command, frozen=True, gc=False, kw_only=True):
    """Fail the present attempt of an activity, from outside of its worker; its options say whether another follows.

    `sequence`, `attempt`, `run_id`: as in CompleteActivity. `type`: name of the error. `retry_after_ms`: how long
    after this the next attempt begins, 0 for the delay of the retry policy."""

    sequence: int
    message: str = ""
    type: str = ""
    non_retryable: bool = False
    retry_after_ms: int = 0
    attempt: int = 0
    run_id: str = ""


class HeartbeatActivity(Command, frozen=True, gc=False, kw_only=True):
    """Report that the present attempt of an activity goes on, outside of its worker. `details`: any JSON.

    `sequence`, `attempt`, `run_id`: as in CompleteActivity. Refused if no run waits for the attempt any more."""

    sequence: int
    details: bytes = b""
    attempt: int = 0
    run_id: str = ""


class ActivityScheduled(Event, frozen=True, gc=False, kw_only=True):
    """Workflow code called an activity. A request.

    `timeout_ms`: start-to-close of each attempt, 0 for none. `headers` are added to those of the run. `bounds`: options
    that few activities have, null for none."""

    sequence: int
    activity: str
    input: bytes
    queue: str
    timeout_ms: int = 0
    retry: RetryPolicy = RetryPolicy()
    headers: dict[str, str] = {}
    bounds: ActivityBounds | None = None


class ActivityChanged(Event, frozen=True, gc=False, kw_only=True):
    """An operator changed options of an activity; these are all of them as they are now.

    `retry_ms`: when the next attempt begins (epoch), 0 if that stays as it was; an attempt that runs is over."""

    sequence: int
    queue: str
    timeout_ms: int
    retry: RetryPolicy
    bounds: ActivityBounds | None = None
    retry_ms: int = 0
    by: str = ""
    reason: str = ""


class ActivityStarted(Event, frozen=True, gc=False, kw_only=True):
    """A worker began an attempt, or left it to be completed from outside. Recorded for activities that report it."""

    sequence: int
    attempt: int
    worker: str = ""
    outside: bool = False


class ActivityHeartbeat(Event, frozen=True, gc=False, kw_only=True):
    """A running attempt reported that it goes on. `details` (JSON): how far it has come, empty for nothing new."""

    sequence: int
    attempt: int
    details: bytes = b""


class ActivityAttemptFailed(Event, frozen=True, gc=False, kw_only=True):
    """An attempt failed; the next one starts at `retry_ms` (epoch).

    `details` (JSON): of its last heartbeat, empty for nothing new."""

    sequence: int
    attempt: int
    failure: Failure
    retry_ms: int
    details: bytes = b""


class ActivityRetried(Event, frozen=True, gc=False, kw_only=True):
    """The delay was over: attempt `attempt` went to the task queue."""

    sequence: int
    attempt: int


class ActivityCompleted(Event, frozen=True, gc=False, kw_only=True):
    """An attempt returned `result` (JSON)."""

    sequence: int
    attempt: int
    result: bytes
    worker: str = ""


class ActivityFailed(Event, frozen=True, gc=False, kw_only=True):
    """The activity failed for good: no retries are left, or its error is not retryable."""

    sequence: int
    attempt: int
    failure: Failure


class ActivitySkipped(Event, frozen=True, gc=False, kw_only=True):
    """An operator gave the activity `result` (JSON); no attempt follows, and the result of one that runs is ignored."""

    sequence: int
    result: bytes
    by: str = ""
    reason: str = ""


class ActivityAdopted(Event, frozen=True, gc=False, kw_only=True):
    """A run that goes on from an earlier point of another one's history took over an activity that is open there.

    The attempt `attempt` is with the workers, under the run `run_id`; or, if `retry_ms` is set, the next one starts at
    that time (epoch) and `failure` is that of this one. `seed`: of the run that requested it, with which it keeps its
    idempotency key. `started_ms`, `worker`, `outside`, `details`: what is known of the attempt, as in ActivityStarted
    and ActivityHeartbeat. `restarts`: the time for all of its attempts begins anew."""

    sequence: int
    attempt: int
    retry_ms: int = 0
    failure: Failure | None = None
    run_id: str = ""
    seed: str = ""
    started_ms: int = 0
    worker: str = ""
    outside: bool = False
    details: bytes = b""
    restarts: bool = False


class ActivityStopRequested(Event, frozen=True, gc=False, kw_only=True):
    """Workflow code gave up the activity, and waits until its running attempt has ended: none follows. A request."""

    sequence: int


class ActivityCancelled(Event, frozen=True, gc=False, kw_only=True):
    """Workflow code no longer waits for the activity; a later result is ignored. A request."""

    sequence: int
