"""Resets: a run goes on from an earlier point of its history, in a new run of its id.

The run ends, if it is open, and the new one begins in the same transaction. Its history is that of the base up to the
cut, copied row by row, and its rows are those that these events leave (evolve.py). Then follow, in one decision,
WorkflowForked, what becomes of each request that is open at the cut, and what arrived after it:

    activities   an attempt that the workers have goes on, and its result counts; otherwise another one begins
    children     learn of their new parent; one that has ended reports again
    timers       stay, and fire at their times
    afterwards   signals, updates and answers to these requests are received again, in their order

Requests keep the seed of the run that made them, and with it their idempotency keys; what follows has another seed.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from penstock.engine.core.activation import PROBLEMS, blocked_by
from penstock.engine.core.answers import chain_id, kept_text, rejected
from penstock.engine.core.decision import Decision, Rejection, RunEvents
from penstock.engine.core.expiry import note_closed
from penstock.engine.core.failed_step import CannotRetry, failed_step
from penstock.engine.core.keys import AWAITER, awaiter_key, blocked_key
from penstock.engine.core.limits import DELAY_MS_MAX
from penstock.engine.core.machine import Cause, Effects, EventRule, InputRule, Machine, Table, advance, seed_of
from penstock.engine.core.machines import activity, child, deadline, update
from penstock.engine.core.machines.run import FLAGS, PYTHON, drop_pending
from penstock.engine.core.messages import RESET, remember_cause
from penstock.engine.core.past import Open, OpenActivity, PastDecision, received_again
from penstock.engine.core.rows import Watch
from penstock.engine.core.statuses import BLOCKED, OPEN, PAUSED, RUNNING
from penstock.engine.core.statuses import RESET as RESET_STATUS
from penstock.engine.core.view import RunView
from penstock.engine.core.working import WorkingRun
from penstock.schemas.failure import Failure
from penstock.schemas.records.activity import ActivityAdopted
from penstock.schemas.records.child import ChildAdopted
from penstock.schemas.records.kinds import NO_REPLY, Event
from penstock.schemas.records.pause import WorkflowPaused
from penstock.schemas.records.replies import Accepted
from penstock.schemas.records.reset import ResetWorkflow, RetryWorkflow, WorkflowForked, WorkflowReset
from penstock.schemas.records.run import WorkflowStarted
from penstock.schemas.records.update import UpdateAccepted, UpdateCompleted, UpdateFailed, UpdateHeld, UpdateTaken

TRANSITIONS: Table = {
    (RUNNING, WorkflowReset): RESET_STATUS,
    (BLOCKED, WorkflowReset): RESET_STATUS,
    (PAUSED, WorkflowReset): RESET_STATUS,
    (RUNNING, WorkflowForked): RUNNING,
    (BLOCKED, WorkflowForked): RUNNING,
    (PAUSED, WorkflowForked): RUNNING,
}
"""A run that goes on from a point at which its base was BLOCKED or paused is neither."""

LOST_ATTEMPT = Failure(type="", message="the outcome of its last attempt was lost when its run closed", kind="lost")
"""Failure of an activity that the code has given up, if nothing is known of its end."""


class _Base(NamedTuple):
    """The run whose history is taken."""

    run_id: str
    past: list[PastDecision]
    is_current: bool
    is_open: bool

    @property
    def started(self) -> WorkflowStarted:
        started: WorkflowStarted = self.past[0].events[0]
        return started

    @property
    def length(self) -> int:
        return self.past[-1].last


# Decide.


def _reset(run: RunView, command: ResetWorkflow, now_ms: int) -> Decision:
    base = _base(run, command.run_id, command.base_run_id)
    if isinstance(base, Decision):
        return base
    if not 0 <= command.to_event <= base.length:
        message = f"The history of {run.workflow_id} has {base.length} events, so it has no event {command.to_event}."
        return rejected(Rejection("bad_input", message, base.run_id, keep=False))
    cut = max((decision.last for decision in base.past if decision.last <= command.to_event), default=0)
    if cut == base.length and not base.is_open:
        message = f"Event {cut} closed the run {base.run_id} of {run.workflow_id}: reset it to an earlier one."
        return rejected(Rejection("bad_input", message, base.run_id, keep=False))
    return _forked(run, base, command, cut, 0, now_ms)


def _retry(run: RunView, command: RetryWorkflow, now_ms: int) -> Decision:
    base = _base(run, command.run_id, "")
    if isinstance(base, Decision):
        return base
    try:
        step = failed_step(run.workflow_id, base.past, force=command.force)
    except CannotRetry as error:
        return rejected(Rejection(error.reason, str(error), base.run_id, keep=False))
    return _forked(run, base, command, step.cut, step.again, now_ms)


def _base(run: RunView, run_id: str, base_run_id: str) -> _Base | Decision:
    """The run that a command means; else its refusal."""
    row, wanted = run.row, base_run_id or run_id
    if row is not None and (not wanted or wanted == row.run_id or (wanted == row.first_run_id and not base_run_id)):
        wanted = row.run_id
    if row is None and not wanted:
        message = f"There is no run with the id {run.workflow_id}."
        return rejected(Rejection("not_found", message, keep=False))
    is_current = row is not None and wanted == row.run_id
    is_open = row is not None and row.status in OPEN
    if is_open and not is_current and row is not None:
        message = (
            f"{run.workflow_id} has an open run ({row.run_id}, {row.status}), which another one cannot take the place "
            "of: terminate it first, or reset that one."
        )
        return rejected(Rejection("already_exists", message, row.run_id, keep=False))
    past = run.past(wanted)
    if not past:
        message = (
            f"The history of the run {wanted} of {run.workflow_id} is not kept: it continued as new, has expired, or "
            "never was."
        )
        return rejected(Rejection("not_found", message, keep=False))
    return _Base(wanted, past, is_current, is_open)


def _forked(
    run: RunView, base: _Base, command: ResetWorkflow | RetryWorkflow, cut: int, again: int, now_ms: int
) -> Decision:
    """The end of the base, if it is open, and the run that goes on from the cut."""
    kept = [decision for decision in base.past if decision.last <= cut]
    open = Open(kept)
    last_sequence, row = open.last, run.row
    inputs = [_as_awaited(run, base, event) for event in received_again(open, base.past[len(kept) :], again)]
    forked = _event(run, base, command, cut, now_ms)
    adopted = [*_activities(run, base, open, again, now_ms), *_children(open, again), *_callers(run, base, kept)]
    first: list[Event] = [forked] if cut else [_started_anew(run, base, forked, now_ms), forked]
    ended: tuple[RunEvents, ...] = ()
    if base.is_open:
        reset = WorkflowReset(
            next_run_id=forked.run_id,
            to_event=cut,
            last_sequence=last_sequence,
            by=kept_text(command.by),
            reason=kept_text(command.reason),
        )
        ended = (RunEvents(base.run_id, [reset]),)
    try:
        requests = _requests(run, base, forked, [*first, *inputs], now_ms)
    except _CannotRepeat as problem:
        return rejected(Rejection("blocked", str(problem), base.run_id, keep=False))
    reply = Accepted(
        message_id=command.message_id,
        workflow_id=run.workflow_id,
        run_id=chain_id(row) if row is not None and base.is_current else base.run_id,
        existing=True,
        status=RUNNING,
    )
    return Decision(run_id=forked.run_id, events=[*first, *adopted, *inputs, *requests], before=ended, reply=reply)


class _CannotRepeat(Exception):
    """Today's code cannot be brought to the cut. Its text is the refusal."""


def _requests(run: RunView, base: _Base, forked: WorkflowForked, inputs: list[Event], now_ms: int) -> list[Event]:
    """What the code requests when it receives these inputs at the cut. Raises _CannotRepeat."""
    row, started = run.row, base.started
    definition = run.hosted.workflow(started.workflow_type, started.version)
    if definition is None:
        _, message = run.hosted.missing(started.workflow_type, started.version)
        raise _CannotRepeat(f"{run.workflow_id} cannot be reset now: {message}.")
    if base.is_open and row is not None and row.pause is not None:  # an operator halted it, and lets it go on
        return [WorkflowPaused(by=row.pause.by, reason=row.pause.reason)]
    try:
        if forked.to_event:
            execution, unread = run.forked_execution(definition, base.run_id, forked.to_event, forked.run_id)
        else:
            execution, unread = run.new_execution(definition, forked.run_id, forked.seed), []
    except PROBLEMS as problem:
        raise _CannotRepeat(
            f"the code of {run.workflow_id} cannot repeat the history up to event {forked.to_event}: {problem}"
        ) from problem
    try:
        return execution.activate([*unread, *inputs], now_ms)
    except PROBLEMS as problem:
        run.forget()
        return [blocked_by(problem)]


def _event(run: RunView, base: _Base, command: ResetWorkflow | RetryWorkflow, cut: int, now_ms: int) -> WorkflowForked:
    row, started = run.row, base.started
    run_id = seed_of(run.workflow_id, f"{base.run_id}/{command.message_id}/reset", size=16)
    is_current = row is not None and base.is_current
    return WorkflowForked(
        run_id=run_id,
        base_run_id=base.run_id,
        to_event=cut,
        seed=seed_of(run.workflow_id, run_id),
        first_run_id=chain_id(row) if row is not None and is_current else started.first_run_id or base.run_id,
        chain_length=(row.chain_length if row is not None and is_current else started.chain_length) + 1,
        parent_run_id=row.parent_run_id if row is not None and is_current else started.parent_run_id,
        execution_until_ms=_execution_until_ms(started, now_ms),
        by=kept_text(command.by),
        reason=kept_text(command.reason),
    )


def _execution_until_ms(started: WorkflowStarted, now_ms: int) -> int:
    """Until when the chain may go on (epoch): anew if its length is known, else as before unless that is over."""
    if started.execution_timeout_ms > 0 and not started.previous_run_id:
        return now_ms + min(started.execution_timeout_ms, DELAY_MS_MAX)
    return started.execution_until_ms if started.execution_until_ms > now_ms else 0


def _started_anew(run: RunView, base: _Base, forked: WorkflowForked, now_ms: int) -> WorkflowStarted:
    """The start of a run that begins anew, since nothing of its base is kept."""
    started = base.started
    return msgspec.structs.replace(
        started,
        message_id=forked.run_id,
        seed=forked.seed,
        flags=FLAGS,
        python=PYTHON,
        build=run.hosted.build,
        first_run_id=forked.first_run_id,
        previous_run_id=base.run_id,
        chain_length=forked.chain_length,
        parent_run_id=forked.parent_run_id,
        execution_until_ms=forked.execution_until_ms,
        begins_ms=started.begins_ms if started.begins_ms > now_ms else 0,
        reply_to=NO_REPLY,
        awaited_until_ms=0,
    )


def _as_awaited(run: RunView, base: _Base, event: Event) -> Event:
    """An update with the callers that wait for it now: all of those of a closed run were answered, and so were those
    that awaited the acceptance of one that was accepted."""
    if not isinstance(event, UpdateHeld):
        return event
    row = run.update(event.message_id) if base.is_open else None
    if row is None or row.state not in update.OPEN:
        return msgspec.structs.replace(event, reply_to=NO_REPLY, also_accepted=(), also_ended=())
    was_accepted = row.state == update.ACCEPTED
    return msgspec.structs.replace(
        event,
        reply_to=NO_REPLY if was_accepted and row.waits_accepted else row.reply_to,
        wait_for="accepted" if row.waits_accepted else "completed",
        also_accepted=() if was_accepted else row.also_accepted,
        also_ended=row.also_ended,
    )


def _callers(run: RunView, base: _Base, kept: list[PastDecision]) -> list[Event]:
    """Those who wait for the updates that are open at the cut: all of a closed run's were answered."""
    open_ids: list[str] = []
    for event in (event for decision in kept for event in decision.events) if base.is_open else ():
        if isinstance(event, UpdateAccepted | UpdateHeld):
            open_ids.append(event.message_id)
        elif isinstance(event, UpdateCompleted | UpdateFailed) or (isinstance(event, UpdateTaken) and event.problem):
            open_ids.remove(event.message_id)
    rows = [row for message_id in open_ids if (row := run.update(message_id)) is not None]
    return [event for row in rows for event in update.awaited_again(row)]


def _activities(run: RunView, base: _Base, open: Open, again: int, now_ms: int) -> list[Event]:
    """What becomes of the activities that stay open."""
    return [_adopted(run, base, sequence, found, again, now_ms) for sequence, found in sorted(open.activities.items())]


def _adopted(run: RunView, base: _Base, sequence: int, found: OpenActivity, again: int, now_ms: int) -> ActivityAdopted:
    """An activity as its base has it now; if nothing waits for its attempt any more, another one begins."""
    row = run.activity(sequence) if base.is_open and sequence != again else None
    if row is None:
        return ActivityAdopted(
            sequence=sequence,
            attempt=found.attempt,
            retry_ms=now_ms + 1,
            failure=found.failure or LOST_ATTEMPT,
            seed=found.seed,
            restarts=True,
        )
    watch = row.watch or Watch()
    return ActivityAdopted(
        sequence=sequence,
        attempt=row.attempt,
        retry_ms=row.retry_ms,
        failure=row.failure,
        run_id="" if row.retry_ms else row.run_id or base.run_id,
        seed=found.seed,
        started_ms=watch.started_ms,
        worker=watch.worker,
        outside=watch.outside,
        details=watch.details,
    )


def _children(open: Open, again: int) -> list[Event]:
    """What becomes of the children that stay open."""
    return [
        ChildAdopted(sequence=sequence, awaits_start=sequence in open.unstarted, restarts=sequence == again)
        for sequence in sorted(open.children)
    ]


# Evolve.


def _on_reset(run: WorkingRun, event: WorkflowReset, cause: Cause) -> None:
    row = run.header
    if row.status == BLOCKED:
        run.writes[blocked_key(run.workflow_id)] = None
    row.status = advance(TRANSITIONS, row.status, event, run.workflow_id)
    row.closed_ms, row.reason = cause.now_ms, event.reason
    row.pause, row.blocked_reason, row.blocked_message = None, "", ""
    row.awaiters = 0  # their rows go over to the next run
    update.leave_open(run)
    activity.hand_over(run, event.last_sequence)
    drop_pending(run, row)
    note_closed(run, cause)


def _on_forked(run: WorkingRun, event: WorkflowForked, cause: Cause) -> None:
    """Let a run that was copied go on as one of its own."""
    row = run.header
    if row.status == BLOCKED:
        run.writes[blocked_key(run.workflow_id)] = None
    if row.status == PAUSED:
        activity.release_attempts(run)
    row.status = advance(TRANSITIONS, row.status, event, run.workflow_id)
    row.pause, row.blocked_reason, row.blocked_message = None, "", ""
    row.seed, row.started_ms, row.parent_run_id = event.seed, cause.now_ms, event.parent_run_id
    row.first_run_id, row.chain_length = event.first_run_id, event.chain_length
    row.reset_from, row.reset_to = event.base_run_id, event.to_event
    deadline.restart(run, event.execution_until_ms, cause.now_ms)
    for key, value in run.drop_rows(AWAITER, event.base_run_id):
        run.writes[awaiter_key(run.workflow_id, run.run_id, key.rsplit(b"\x00", 1)[1].decode())] = value
        row.awaiters += 1
    remember_cause(run, cause, RESET)


# Effects.


def _end(found: Effects, run: WorkingRun, event: WorkflowReset, shard: int) -> None:
    child.end_dropped(found, run, adopted=event.last_sequence)
    activity.tell_workers(found, run, event, shard)


MACHINE = Machine(
    name="reset",
    transitions=TRANSITIONS,
    inputs={
        ResetWorkflow: InputRule(_reset, deduplicates=True),
        RetryWorkflow: InputRule(_retry, deduplicates=True),
    },
    events={
        WorkflowReset: EventRule(evolve=_on_reset, effects=_end),
        WorkflowForked: EventRule(evolve=_on_forked, deliver=lambda code, event: code.fork(event.run_id, event.seed)),
    },
)
