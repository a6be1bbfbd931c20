"""Time of an activity and of its attempts: what the shard's clock bounds, and the entry of the due index for it.

    in the queue ─ schedule-to-start ─→ running ─ heartbeat, timeout ─→ ended       all attempts: schedule-to-close

An activity with such a bound has one entry, at the earliest of them. Whatever changes the activity moves it. So does a
heartbeat, since a worker sends one at most for most of a heartbeat's time (decision 0025).
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import msgspec

from penstock.engine.core.keys import NEVER_MS, TIMEOUT_DUE
from penstock.engine.core.limits import DELAY_MS_MAX, WORKER_GRACE_MS
from penstock.engine.core.retry import retry_delay_ms
from penstock.engine.core.rows import ActivityRow, Watch
from penstock.engine.core.working import WorkingRun
from penstock.schemas.failure import Cause, Failure
from penstock.schemas.records.activity import ActivityAdopted
from penstock.schemas.records.tasks import AttemptsCancelled, TaskFailed
from penstock.schemas.values.bounds import ActivityBounds

TO_START, TO_CLOSE, HEARTBEAT, START_TO_CLOSE = "schedule_to_start", "schedule_to_close", "heartbeat", "timeout"
"""The options by which an activity's time is bounded."""


class Deadline(NamedTuple):
    """When time is over (epoch), and by which option."""

    at_ms: int
    option: str


NO_DEADLINE = Deadline(NEVER_MS, "")


def deadline_of(pending: ActivityRow) -> Deadline:
    """The earliest end of the activity's time that the shard knows of; NO_DEADLINE without any."""
    watch = pending.watch
    if watch is None:
        return NO_DEADLINE
    bounds, found = watch.bounds, NO_DEADLINE
    if bounds.schedule_to_close_ms:
        found = Deadline(close_by_ms(pending), TO_CLOSE)
    if pending.retry_ms:
        return found
    if not watch.started_ms:
        if bounds.schedule_to_start_ms:
            found = _earlier(found, watch.queued_ms + bounds.schedule_to_start_ms, TO_START)
        return found
    if bounds.heartbeat_ms:
        found = _earlier(found, max(watch.started_ms, watch.beat_ms) + bounds.heartbeat_ms, HEARTBEAT)
    if pending.timeout_ms:
        grace_ms = 0 if watch.outside else WORKER_GRACE_MS
        found = _earlier(found, watch.started_ms + pending.timeout_ms + grace_ms, START_TO_CLOSE)
    return found


def _earlier(found: Deadline, at_ms: int, option: str) -> Deadline:
    """The earlier of two; at the same time the one that was found, which ends more."""
    return Deadline(at_ms, option) if at_ms < found.at_ms else found


def close_by_ms(pending: ActivityRow) -> int:
    """When the activity with all its attempts is over its time (epoch), 0 for never."""
    watch = pending.watch
    if watch is None or not watch.bounds.schedule_to_close_ms:
        return 0
    return pending.scheduled_ms + watch.bounds.schedule_to_close_ms


def ends_activity(option: str) -> bool:
    """Whether no attempt follows when the time of that option is over: the next one would wait in the same queue, or
    be too late."""
    return option in {TO_START, TO_CLOSE}


def timed_out(pending: ActivityRow, option: str) -> Failure:
    """The failure of an activity, or of its attempt, that is over the time of that option."""
    watch = pending.watch
    assert watch is not None, "the shard bounds the time of activities that it watches"
    bounds, last = watch.bounds, pending.failure
    limit_ms = {
        TO_START: bounds.schedule_to_start_ms,
        TO_CLOSE: bounds.schedule_to_close_ms,
        HEARTBEAT: bounds.heartbeat_ms,
        START_TO_CLOSE: pending.timeout_ms,
    }[option]
    message = f"{_WORDS[option].format(name=pending.activity)} within its {option} of {limit_ms / 1000:g} s."
    return Failure(
        type="TimeoutError",
        message=message,
        kind="timeout",
        non_retryable=bounds.timeouts_final or ends_activity(option),
        attempts=pending.attempt,
        causes=() if last is None else (Cause(type=last.type, message=last.message),),
    )


_WORDS = {
    TO_START: "No worker began activity {name}",
    TO_CLOSE: "Activity {name}, with all its attempts, did not end",
    HEARTBEAT: "Activity {name} sent no heartbeat",
    START_TO_CLOSE: "Activity {name} did not end",
}


def next_attempt_ms(pending: ActivityRow, failure: Failure, seed: str, now_ms: int, retry_after_ms: int) -> int:
    """When the attempt after one that failed like this begins (epoch); 0 if none does.

    `retry_after_ms`: as in TaskFailed. `seed`: the run's, from which the jitter follows."""
    delay_ms = None if pending.stopping else retry_delay_ms(pending.retry, failure, pending.attempt)
    if delay_ms is None:
        return 0
    bounds = pending.watch.bounds if pending.watch is not None else None
    if retry_after_ms > 0:
        delay_ms = min(retry_after_ms, DELAY_MS_MAX)
    elif bounds is not None and bounds.jitter:
        delay_ms = round(delay_ms * (1 + bounds.jitter * _fraction(f"{seed}/{pending.sequence}/{pending.attempt}")))
    retry_ms = now_ms + max(delay_ms, 1)
    return retry_ms if retry_ms < (close_by_ms(pending) or NEVER_MS) else 0


def _fraction(text: str) -> float:
    """A number from -1 to 1 that follows from the text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") / 0x7FFF_FFFF - 1


def retry_after_ms(result: TaskFailed) -> int:
    """The delay that a failure asks for, 0 for none: another program may have written any number."""
    return max(result.retry_after_ms, 0)


# For evolve functions.


def watched(bounds: ActivityBounds | None, now_ms: int) -> Watch | None:
    """What is known of an activity that was just scheduled; None for one without bounds."""
    return None if bounds is None else Watch(bounds=bounds, queued_ms=now_ms)


def put(run: WorkingRun, pending: ActivityRow) -> None:
    """Store a pending activity, with its entry of the due index at the end of its time."""
    watch = pending.watch
    if watch is not None:
        at_ms = deadline_of(pending).at_ms
        due_ms = 0 if at_ms == NEVER_MS else at_ms
        if due_ms != watch.due_ms:
            drop_due(run, pending)
            if due_ms:
                run.put_due(due_ms, TIMEOUT_DUE, pending.sequence)
            pending = msgspec.structs.replace(pending, watch=msgspec.structs.replace(watch, due_ms=due_ms))
    run.put_activity(pending)


def drop_due(run: WorkingRun, pending: ActivityRow) -> None:
    """Remove the activity's entry of the due index, if it has one."""
    if pending.watch is not None and pending.watch.due_ms:
        run.drop_due(pending.watch.due_ms, TIMEOUT_DUE, pending.sequence)


def begun(pending: ActivityRow, now_ms: int, worker: str, *, outside: bool) -> ActivityRow:
    """The activity, the start of whose present attempt is known. What is completed from outside began when it began."""
    watch = pending.watch or Watch(queued_ms=pending.scheduled_ms)
    started_ms = watch.started_ms if outside and watch.started_ms else now_ms
    return msgspec.structs.replace(
        pending,
        watch=msgspec.structs.replace(
            watch, started_ms=started_ms, beat_ms=now_ms if outside else 0, worker=worker, outside=outside
        ),
    )


def beaten(pending: ActivityRow, now_ms: int, details: bytes) -> ActivityRow:
    """The activity, whose present attempt goes on."""
    watch = pending.watch or Watch(queued_ms=pending.scheduled_ms)
    return msgspec.structs.replace(
        pending,
        watch=msgspec.structs.replace(
            watch, started_ms=watch.started_ms or now_ms, beat_ms=now_ms, details=details or watch.details
        ),
    )


def waiting(pending: ActivityRow, retry_ms: int, failure: Failure, details: bytes) -> ActivityRow:
    """The activity, whose next attempt waits for its time."""
    watch = pending.watch
    if watch is not None or details:
        watch = watch or Watch()
        watch = msgspec.structs.replace(
            watch, started_ms=0, beat_ms=0, worker="", outside=False, details=details or watch.details
        )
    return msgspec.structs.replace(pending, retry_ms=retry_ms, failure=failure, watch=watch)


def queued(pending: ActivityRow, attempt: int, now_ms: int) -> ActivityRow:
    """The activity, whose next attempt is in its queue."""
    watch = pending.watch
    if watch is not None:
        watch = msgspec.structs.replace(watch, queued_ms=now_ms)
    return msgspec.structs.replace(pending, retry_ms=0, attempt=attempt, watch=watch, run_id="")


def adopted(pending: ActivityRow, event: ActivityAdopted, now_ms: int) -> ActivityRow:
    """The activity as the run that took it over has it. The time of its present attempt begins anew."""
    watch = pending.watch or (Watch() if event.started_ms else None)
    if watch is not None:
        watch = msgspec.structs.replace(
            watch,
            queued_ms=now_ms,
            started_ms=now_ms if event.started_ms else 0,
            beat_ms=now_ms if event.started_ms else 0,
            worker=event.worker,
            outside=event.outside,
            details=event.details or watch.details,
        )
    return msgspec.structs.replace(
        pending,
        attempt=event.attempt,
        retry_ms=event.retry_ms,
        failure=event.failure,
        run_id=event.run_id,
        seed=event.seed,
        scheduled_ms=now_ms if event.restarts else pending.scheduled_ms,
        watch=watch,
    )


def is_with_worker(pending: ActivityRow) -> bool:
    """Whether the activity's present attempt is in its queue or with a worker."""
    return not pending.retry_ms and (pending.watch is None or not pending.watch.outside)


def cancel(run: WorkingRun, pending: ActivityRow, *, awaited: bool = False) -> None:
    """Cancel the activity's present attempt, if there is one. `awaited`: as in AttemptsCancelled."""
    if is_with_worker(pending):
        cancelled = AttemptsCancelled(
            workflow_id=run.workflow_id,
            run_id=pending.run_id or run.run_id,
            sequence=pending.sequence,
            attempt=pending.attempt,
            awaited=awaited,
        )
        run.cancelled = (*run.cancelled, cancelled)


def cancel_if_timed_out(run: WorkingRun, pending: ActivityRow, now_ms: int) -> None:
    """Cancel the activity's present attempt if the shard ends it: its worker does not know."""
    if pending.watch is not None and 0 < pending.watch.due_ms <= now_ms:
        cancel(run, pending)
