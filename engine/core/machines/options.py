"""Options of an activity that an operator changes while its run waits for it: its queue, its times and its retries.

The times that the shard watches change at once. What a worker was given with the present attempt (start-to-close, the
queue) changes from the next attempt on, which may begin at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec

from penstock.engine.core.answers import accepted, kept_text, open_row, rejected
from penstock.engine.core.decision import Decision, Rejection
from penstock.engine.core.keys import RETRY_DUE
from penstock.engine.core.limits import DELAY_MS_MAX
from penstock.engine.core.machine import Cause, EventRule, InputRule, Machine, Table, advance
from penstock.engine.core.machines import attempt
from penstock.engine.core.machines.activity import STOPPING, WAITING, WITH_WORKERS, state_of, tell_workers, unknown
from penstock.engine.core.messages import OPTIONS, remember_cause
from penstock.engine.core.rows import ActivityRow, Watch
from penstock.engine.core.statuses import PAUSED
from penstock.engine.core.view import RunView
from penstock.engine.core.working import WorkingRun
from penstock.schemas.class_names import class_name
from penstock.schemas.errors import ActivityError
from penstock.schemas.failure import Failure
from penstock.schemas.ids import QUEUE
from penstock.schemas.records.activity import ActivityChanged, ChangeActivity
from penstock.schemas.values.bounds import ActivityBounds
from penstock.schemas.values.retry import RetryPolicy

TRANSITIONS: Table = {
    (WITH_WORKERS, ActivityChanged): WITH_WORKERS,
    (WAITING, ActivityChanged): WAITING,
}
"""One with a `retry_ms` leads to `waiting`."""

QUEUE_CHARS_MAX = 100

_OVER = Failure(type=class_name(ActivityError), message="an operator began the next attempt", kind="cancelled")


# Decide.


def _change(run: RunView, command: ChangeActivity, now_ms: int) -> Decision:
    row = open_row(run, command.run_id, keep=False)
    if isinstance(row, Decision):
        return row
    pending = run.activity(command.sequence)
    problem = next(_problems(run, pending, command), "")
    if problem or pending is None:
        return rejected(Rejection("bad_input", problem, row.run_id, keep=False))
    changed = ActivityChanged(
        sequence=command.sequence,
        queue=command.queue or pending.queue,
        timeout_ms=_given(command.timeout_ms, pending.timeout_ms),
        retry=_policy(pending.retry, command),
        bounds=_bounds(pending, command),
        retry_ms=now_ms + 1 if command.now else 0,
        by=kept_text(command.by),
        reason=kept_text(command.reason),
    )
    return accepted(run, command, [changed])


def _problems(run: RunView, pending: ActivityRow | None, command: ChangeActivity) -> Iterator[str]:
    """Why options cannot be changed like this, the most telling reason first; none if they can."""
    if pending is None:
        yield unknown(run, command.sequence)
        return
    if state_of(pending) == STOPPING:
        yield f"{run.workflow_id} gave up activity {pending.activity}, and waits until it has ended."
    times = (command.timeout_ms, command.schedule_to_start_ms, command.schedule_to_close_ms, command.heartbeat_ms)
    retries = (command.retries_max, command.delays)
    if not (command.queue or command.now) and all(given is None for given in (*times, *retries)):
        yield "The command changes no option; give at least one."
    if command.queue and not (len(command.queue) <= QUEUE_CHARS_MAX and QUEUE.fullmatch(command.queue)):
        yield f"{command.queue[:60]!r} cannot name a task queue: give up to {QUEUE_CHARS_MAX} letters, digits, - and _."
    if any(given is not None and not 0 <= given <= DELAY_MS_MAX for given in times):
        yield f"Times are milliseconds from 0 (none) to {DELAY_MS_MAX:,}."
    if command.retries_max is not None and command.retries_max < -1:
        yield "The number of retries is 0 or more, or -1 for any number."
    if command.delays is not None and not _are_delays(command.delays):
        yield "The delays of a retry are 0 or more, and grow by a factor of at least 1."
    is_unwatched = state_of(pending) == WITH_WORKERS and pending.watch is None and not command.now
    if is_unwatched and (command.schedule_to_start_ms or command.heartbeat_ms):
        yield (
            f"Attempt {pending.attempt} of activity {pending.activity} reports neither its start nor heartbeats; "
            "change these options together with `now`, so that another attempt begins."
        )


def _are_delays(policy: RetryPolicy) -> bool:
    delays = (*policy.delays_ms, policy.delay_ms_max)
    return 1 <= policy.factor < math.inf and all(0 <= delay <= DELAY_MS_MAX for delay in delays)


def _given(value: int | None, before: int) -> int:
    return before if value is None else value


def _policy(before: RetryPolicy, command: ChangeActivity) -> RetryPolicy:
    policy = command.delays or before
    return msgspec.structs.replace(policy, retries_max=_given(command.retries_max, before.retries_max))


def _bounds(pending: ActivityRow, command: ChangeActivity) -> ActivityBounds | None:
    before = pending.watch.bounds if pending.watch is not None else ActivityBounds()
    after = msgspec.structs.replace(
        before,
        schedule_to_start_ms=_given(command.schedule_to_start_ms, before.schedule_to_start_ms),
        schedule_to_close_ms=_given(command.schedule_to_close_ms, before.schedule_to_close_ms),
        heartbeat_ms=_given(command.heartbeat_ms, before.heartbeat_ms),
    )
    return None if pending.watch is None and after == before else after


# Evolve.


def _on_changed(run: WorkingRun, event: ActivityChanged, cause: Cause) -> None:
    pending = run.activity(event.sequence)
    advance(TRANSITIONS, state_of(pending), event, run.workflow_id)
    assert pending is not None, "the table allows this event for pending activities alone"
    if event.retry_ms:
        pending = _waiting_anew(run, pending, event.retry_ms)
    watch = pending.watch
    if event.bounds is not None:
        watch = msgspec.structs.replace(watch or Watch(queued_ms=pending.scheduled_ms), bounds=event.bounds)
    changed = msgspec.structs.replace(
        pending, queue=event.queue, timeout_ms=event.timeout_ms, retry=event.retry, watch=watch
    )
    attempt.put(run, changed)
    remember_cause(run, cause, OPTIONS)


def _waiting_anew(run: WorkingRun, pending: ActivityRow, retry_ms: int) -> ActivityRow:
    """The activity, whose next attempt begins then; one that runs is cancelled."""
    if pending.retry_ms:
        run.drop_due(pending.retry_ms, RETRY_DUE, pending.sequence)
        pending = msgspec.structs.replace(pending, retry_ms=retry_ms)
    else:
        attempt.cancel(run, pending)
        pending = attempt.waiting(pending, retry_ms, _OVER, b"")
    if run.header.status != PAUSED:
        run.put_due(retry_ms, RETRY_DUE, pending.sequence)
    return pending


MACHINE = Machine(
    name="options",
    transitions=TRANSITIONS,
    inputs={ChangeActivity: InputRule(_change, deduplicates=True)},
    events={ActivityChanged: EventRule(evolve=_on_changed, effects=tell_workers)},
)
