"""Chains of runs: a run that continues as new, or fails with retries left, ends, and the next one of its workflow id
begins in the same transaction.

Commands address the chain by the id of its first run. Signals that the code had not read, updates that were held,
callers that await the result, the link to the parent, memo and search attributes go along. The history of a run that
continued leaves the store at once (it stays on the topic `events`); ids of its messages are kept as long as a closed
run is. A run that failed is kept as any other; the next one has its input, and updates that it had not ended fail."""

from __future__ import annotations

import msgspec

from penstock.engine.core.activation import PROBLEMS, blocked_by
from penstock.engine.core.decision import Decision, RunEvents
from penstock.engine.core.expiry import note_closed
from penstock.engine.core.keys import HISTORY, UPDATE, joined_key
from penstock.engine.core.limits import DELAY_MS_MAX
from penstock.engine.core.machine import Cause, Effects, EventRule, Machine, Table, advance, seed_of
from penstock.engine.core.machines import activity, child, note, update
from penstock.engine.core.machines.run import FLAGS, PYTHON, drop_pending, version_for
from penstock.engine.core.retry import retry_delay_ms
from penstock.engine.core.rows import unpack_update
from penstock.engine.core.statuses import CONTINUED, RUNNING
from penstock.engine.core.view import RunView
from penstock.engine.core.working import WorkingRun
from penstock.schemas.records.chain import WorkflowContinued
from penstock.schemas.records.kinds import NO_REPLY, Event
from penstock.schemas.records.reset import WorkflowForked
from penstock.schemas.records.run import CancelRequested, WorkflowBlocked, WorkflowStarted
from penstock.schemas.records.signal import SignalReceived
from penstock.schemas.records.update import UpdateHeld

TRANSITIONS: Table = {(RUNNING, WorkflowContinued): CONTINUED}


# Decide.


def followed(run: RunView, decision: Decision, now_ms: int) -> Decision:
    """The decision, in which a run continues as new or fails, with the start of the run that follows, if one does."""
    if type(decision.events[-1]) is WorkflowContinued:
        return _continued(run, decision, now_ms)
    return _retried(run, decision, now_ms)


def _continued(run: RunView, decision: Decision, now_ms: int) -> Decision:
    """With the start of the run that a run continues as.

    Its code begins in a decision of its own: one that continues again without a wait must not fill a transaction."""
    request, begun = decision.events[-1], _begun(run, decision)
    version = request.version or begun.version
    if begun.workflow_type != request.workflow_type and not request.version:
        version = version_for(run, request.workflow_type) or version
    definition = run.hosted.workflow(request.workflow_type, version)
    if definition is not None and (begun.workflow_type, begun.version) != (request.workflow_type, version):
        begun = msgspec.structs.replace(
            begun,
            closed_kept_ms=definition.closed_kept_ms,
            closed_kept_by_status=dict(definition.closed_kept_by_status),
        )
    started = msgspec.structs.replace(
        _next(run, decision.run_id, begun),
        workflow_type=request.workflow_type,
        version=version,
        input=request.input,
        begins_ms=now_ms,
        retries=0,
    )
    carried = [_as_awaited(run, event) for event in run.execution().unread()]
    return _with_next(run, decision, decision.events, started, carried, now_ms)


def _as_awaited(run: RunView, event: Event) -> Event:
    """What goes along; an update with all who wait for it now, which may be others than at first."""
    row = run.update(event.message_id) if isinstance(event, UpdateHeld) else None
    if row is None:  # it came in this decision
        return event
    wait_for = "accepted" if row.waits_accepted else "completed"
    return msgspec.structs.replace(
        event,
        reply_to=row.reply_to,
        wait_for=wait_for,
        also_accepted=row.also_accepted,
        also_ended=row.also_ended,
    )


def _retried(run: RunView, decision: Decision, now_ms: int) -> Decision:
    """With the start of the run that tries a failed run again; the decision itself if none does."""
    begun, failed = _begun(run, decision), decision.events[-1]
    delay_ms = _delay_ms(run, decision, begun, now_ms)
    if delay_ms is None:
        return decision
    started = msgspec.structs.replace(
        _next(run, decision.run_id, begun),
        input=begun.input or run.started_input() or b"",
        begins_ms=now_ms + delay_ms,
        retries=begun.retries + 1,
    )
    failed = msgspec.structs.replace(failed, next_run_id=started.message_id)
    return _with_next(run, decision, [*decision.events[:-1], failed], started, _unread_signals(run), now_ms)


def _next(run: RunView, run_id: str, begun: WorkflowStarted) -> WorkflowStarted:
    """The start of the run that follows the run `run_id`, which began so."""
    following = next_run_id(run.workflow_id, run_id)
    return msgspec.structs.replace(
        begun,
        message_id=following,
        seed=seed_of(run.workflow_id, following),
        flags=FLAGS,
        python=PYTHON,
        build=run.hosted.build,
        first_run_id=begun.first_run_id or run_id,
        previous_run_id=run_id,
        chain_length=begun.chain_length + 1,
        reply_to=NO_REPLY,
        awaited_until_ms=0,
    )


def _with_next(
    run: RunView,
    decision: Decision,
    ended: list[Event],
    started: WorkflowStarted,
    carried: list[Event],
    now_ms: int,
) -> Decision:
    """The decision, whose run ends by these events, with the next run, which receives what goes along.

    Handlers begin at once, as in a run whose start is delayed."""
    run.forget()
    if (
        run.hosted.workflow(started.workflow_type, started.version) is None
    ):  # no code has run, of this processor's build and Python
        started = msgspec.structs.replace(started, python="", build="")
    inputs: list[Event] = [started, *carried]
    return Decision(
        run_id=started.message_id,
        events=[*inputs, *_begins(run, started, inputs, now_ms)],
        before=(*decision.before, RunEvents(decision.run_id, ended)),
        reply=decision.reply,
        rejection=decision.rejection,
    )


def _begins(run: RunView, started: WorkflowStarted, inputs: list[Event], now_ms: int) -> list[Event]:
    """What the next run requests before its code begins: its object is made, and its handlers take the inputs."""
    definition = run.hosted.workflow(started.workflow_type, started.version)
    if definition is None:
        reason, message = run.hosted.missing(started.workflow_type, started.version)
        return [WorkflowBlocked(reason=reason, message=message)]
    try:
        return run.new_execution(definition, started.message_id, started.seed).activate(inputs, now_ms)
    except PROBLEMS as problem:
        return [blocked_by(problem)]


def _delay_ms(run: RunView, decision: Decision, begun: WorkflowStarted, now_ms: int) -> int | None:
    """How long after its failure a run is tried again; None if it is not.

    One that was asked to stop is not, nor one whose chain would be over its time."""
    if begun.retry is None or (run.row is not None and run.row.run_id == decision.run_id and run.row.cancel_requested):
        return None
    if any(type(event) is CancelRequested for event in decision.events):
        return None
    delay_ms = retry_delay_ms(begun.retry, decision.events[-1].failure, begun.retries + 1)
    if delay_ms is None:
        return None
    delay_ms = min(delay_ms, DELAY_MS_MAX)
    return None if 0 < begun.execution_until_ms <= now_ms + delay_ms else delay_ms


def _unread_signals(run: RunView) -> list[Event]:
    """The signals that a failed run had not read; none if its code cannot be brought to its end."""
    try:
        return [event for event in run.execution().unread() if isinstance(event, SignalReceived)]
    except PROBLEMS:
        return []


def _begun(run: RunView, decision: Decision) -> WorkflowStarted:
    """The start of the run that the decision ends, but for its input if that was decided before."""
    first = decision.events[0]
    if isinstance(first, WorkflowForked):
        begun = _started_by_base(run, first)
    else:
        begun = first if isinstance(first, WorkflowStarted) else _started_by_row(run)
    return msgspec.structs.replace(begun, search=note.search_of(begun.search, decision.events))


def _started_by_base(run: RunView, forked: WorkflowForked) -> WorkflowStarted:
    """What the next run takes over of a run that goes on from an earlier point, in the decision that ends it."""
    events = [event for past in run.past(forked.base_run_id) if past.last <= forked.to_event for event in past.events]
    started: WorkflowStarted = events[0]
    return msgspec.structs.replace(
        started,
        first_run_id=forked.first_run_id,
        chain_length=forked.chain_length,
        parent_run_id=forked.parent_run_id,
        execution_until_ms=forked.execution_until_ms,
        search=note.search_of(started.search, events),
    )


def next_run_id(workflow_id: str, run_id: str) -> str:
    """Id of the run that continues this one (32 hexadecimal digits)."""
    return seed_of(workflow_id, f"{run_id}/next", size=16)


def _started_by_row(run: RunView) -> WorkflowStarted:
    """What the next run takes over of the start of the current one."""
    row = run.row
    assert row is not None, "a run that continues has a header"
    return WorkflowStarted(
        workflow_type=row.workflow_type,
        version=row.version,
        input=b"",
        message_id="",
        seed="",
        parent_workflow_id=row.parent_workflow_id,
        parent_run_id=row.parent_run_id,
        parent_sequence=row.parent_sequence,
        first_run_id=row.first_run_id,
        chain_length=row.chain_length,
        run_timeout_ms=row.run_timeout_ms,
        execution_until_ms=row.execution_until_ms,
        retry=row.retry,
        retries=row.retries,
        headers=row.headers,
        closed_kept_ms=row.closed_kept_ms,
        closed_kept_by_status=row.closed_kept_by_status,
        memo=run.memo(),
        search=row.search,
    )


# Evolve.


def _on_continued(run: WorkingRun, event: WorkflowContinued, cause: Cause) -> None:
    row = run.header
    row.status = advance(TRANSITIONS, row.status, event, run.workflow_id)
    row.closed_ms = cause.now_ms
    row.awaiters = 0  # their rows go over to the next run when it starts
    note.drop_memo(run)
    _drop_held(run)
    drop_pending(run, row)
    _drop_history(run, cause)
    note_closed(run, cause)


def _drop_held(run: WorkingRun) -> None:
    """Remove updates that wait for a handler: the next run holds them."""
    if not run.header.pending_updates:
        return
    for key, value in run.rows(UPDATE):
        if unpack_update(value).state == update.HELD:
            run.writes[key] = None
            run.header.pending_updates -= 1


def _drop_history(run: WorkingRun, cause: Cause) -> None:
    """Remove the history; ids of its messages stay findable for the time when they expire."""
    for _, value in run.drop_rows(HISTORY):
        _keep_message(run, run.message_of(value))
    _keep_message(run, cause.message_id)


def _keep_message(run: WorkingRun, message_id: str) -> None:
    if message_id:
        run.writes[joined_key(run.workflow_id, run.run_id, message_id)] = b""


# Effects.


def _end(found: Effects, run: WorkingRun, event: WorkflowContinued, shard: int) -> None:
    activity.tell_workers(found, run, event, shard)
    child.end_dropped(found, run)
    update.answer_dropped(found, run)


MACHINE = Machine(
    name="chain",
    transitions=TRANSITIONS,
    inputs={},
    events={
        WorkflowContinued: EventRule(
            evolve=_on_continued,
            effects=_end,
            is_request=True,
            subject=lambda event: event.workflow_type,
            payload=lambda event: event.input,
        ),
    },
)
