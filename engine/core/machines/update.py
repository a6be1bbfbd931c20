"""Updates: calls of a run's code that may change it, and are answered by it.

An update passes the handler's validator before anything is recorded; one that comes before its handler is held. Its
row is kept as long as its run, so that a repeated command is answered from it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from penstock.engine.core import messages
from penstock.engine.core.activation import PROBLEMS, activated, instead_of_requests
from penstock.engine.core.answers import accepted_reply, chain_id, ignored, open_row, rejected
from penstock.engine.core.decision import Decision, Rejection
from penstock.engine.core.execution import UnknownHandler
from penstock.engine.core.hosted import UNHOSTED_TYPE
from penstock.engine.core.keys import UPDATE, update_key
from penstock.engine.core.limits import CALLER_MS, CALLER_MS_MAX, REASON_CHARS_MAX, UPDATE_CALLERS_MAX, UPDATES_MAX
from penstock.engine.core.machine import Cause, Effects, EventRule, InputRule, Machine, Table, advance
from penstock.engine.core.messages import content_of, id_taken, remember
from penstock.engine.core.rows import RunRow, UpdateRow, pack, unpack_update
from penstock.engine.core.statuses import BLOCKED, CLOSED, HALTED
from penstock.engine.core.view import RunView
from penstock.engine.core.working import WorkingRun
from penstock.schemas.errors import BadInput, UnknownWorkflowType
from penstock.schemas.failure import Failure
from penstock.schemas.records.kinds import NO_REPLY, Event
from penstock.schemas.records.replies import Accepted, Rejected, UpdateClosed
from penstock.schemas.records.update import (
    UpdateAccepted,
    UpdateAwaited,
    UpdateCompleted,
    UpdateFailed,
    UpdateHeld,
    UpdateTaken,
    UpdateWorkflow,
)

ABSENT, HELD, ACCEPTED, COMPLETED, FAILED, REJECTED = "absent", "held", "accepted", "completed", "failed", "rejected"

TRANSITIONS: Table = {
    (ABSENT, UpdateAccepted): ACCEPTED,
    (ABSENT, UpdateHeld): HELD,
    (HELD, UpdateTaken): ACCEPTED,
    (ACCEPTED, UpdateCompleted): COMPLETED,
    (ACCEPTED, UpdateFailed): FAILED,
    (ACCEPTED, UpdateAwaited): ACCEPTED,
    (HELD, UpdateAwaited): HELD,
}
"""UpdateTaken with a problem leads to `rejected` instead."""

OPEN = frozenset({HELD, ACCEPTED})


# Decide.


def _update(run: RunView, command: UpdateWorkflow, now_ms: int) -> Decision:
    known = run.update(command.message_id)
    if known is not None and run.row is not None:
        return _repeated(run, run.row, known, command)
    other = run.message(command.message_id)
    if other is not None and other.what != messages.START:  # a start may hand this update over
        return rejected(Rejection("bad_input", id_taken(command.message_id, other), run.row.run_id if run.row else ""))
    row = open_row(run, command.run_id, keep=True)
    if isinstance(row, Decision):
        return row
    if row.status == BLOCKED and row.blocked_reason != UNHOSTED_TYPE:
        message = f"{run.workflow_id} is BLOCKED ({row.blocked_reason}), so it takes no update: {row.blocked_message}"
        return rejected(Rejection("blocked", message[:REASON_CHARS_MAX], row.run_id))
    if row.pending_updates >= UPDATES_MAX:
        message = f"{run.workflow_id} has {row.pending_updates:,} updates that have not ended; send it again later."
        return rejected(Rejection("too_many", message, row.run_id))
    if row.status in HALTED:  # paused, or its code arrives with another owner
        return Decision(run_id=row.run_id, events=[_held(command, now_ms)])
    try:
        has_handler = run.execution().check_update(command.update, command.input)
    except PROBLEMS as problem:
        blocked = instead_of_requests(run, problem, None, now_ms)
        if isinstance(problem, UnknownWorkflowType) and problem.reason == UNHOSTED_TYPE:
            return Decision(run_id=row.run_id, events=[*blocked, _held(command, now_ms)])
        message = f"the code of {run.workflow_id} cannot go on, so it takes no update: {problem}"
        return Decision(
            run_id=row.run_id, events=blocked, rejection=Rejection("blocked", message[:REASON_CHARS_MAX], row.run_id)
        )
    except UnknownHandler as error:
        return rejected(Rejection("unknown_update", str(error), row.run_id))
    except BadInput as error:
        return rejected(Rejection("bad_input", str(error), row.run_id))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's validator may raise anything
        run.forget()
        message = f"{type(error).__name__}: {error}" if not isinstance(error, ValueError) else str(error)
        return rejected(Rejection("update_rejected", message[:REASON_CHARS_MAX], row.run_id, keep=False))
    if has_handler:
        return _accepted(run, row, command, now_ms)
    return Decision(run_id=row.run_id, events=activated(run, row, [_held(command, now_ms)], now_ms))


def _accepted(run: RunView, row: RunRow, command: UpdateWorkflow, now_ms: int) -> Decision:
    waits = command.wait_for == "completed"
    event = UpdateAccepted(
        message_id=command.message_id,
        update=command.update,
        input=command.input,
        reply_to=command.reply_to if waits else NO_REPLY,
    )
    reply = None if waits else accepted_reply(run.workflow_id, row, command.message_id)
    return Decision(run_id=row.run_id, events=activated(run, row, [event], now_ms), reply=reply)


def _held(command: UpdateWorkflow, now_ms: int) -> UpdateHeld:
    return UpdateHeld(
        message_id=command.message_id,
        update=command.update,
        input=command.input,
        reply_to=command.reply_to,
        wait_for=command.wait_for,
        until_ms=now_ms + min(command.timeout_ms or CALLER_MS, CALLER_MS_MAX),
    )


def _repeated(run: RunView, row: RunRow, known: UpdateRow, command: UpdateWorkflow) -> Decision:
    """Answer a command that repeats a message id from what is known of its update."""
    if known.update != command.update or known.content != content_of(command.update, command.input):
        other = known.update if known.update != command.update else f"{known.update} with other arguments"
        message = f"The id {command.message_id} is that of the update {other}; give this one an id of its own."
        return rejected(Rejection("bad_input", message, row.run_id))
    if known.state == REJECTED:
        rejection = Rejection("update_rejected", known.failure.message if known.failure else "", row.run_id, keep=False)
        return ignored(row.run_id, "this update was rejected before", rejection=rejection)
    if known.state in OPEN and (command.wait_for == "completed" or known.state == HELD):
        waits_accepted = command.wait_for == "accepted"
        if command.reply_to == NO_REPLY or command.reply_to in _callers(known, accepted=waits_accepted):
            return ignored(row.run_id, "this update was accepted before")
        awaited = UpdateAwaited(message_id=command.message_id, reply_to=command.reply_to, waits_accepted=waits_accepted)
        return Decision(run_id=row.run_id, events=[awaited], unnumbered=True)
    if command.wait_for == "accepted" and not _is_dropped(known):
        reply: Any = accepted_reply(run.workflow_id, row, command.message_id)
    else:
        reply = _closed(run.workflow_id, row, known)
    return ignored(row.run_id, "this update was accepted before", reply=reply)


def _callers(row: UpdateRow, *, accepted: bool) -> list[int]:
    """Where the callers wait that await its acceptance alone, or its end."""
    first = [row.reply_to] if row.reply_to != NO_REPLY and row.waits_accepted == accepted else []
    return [*first, *(row.also_accepted if accepted else row.also_ended)]


def awaited_again(row: UpdateRow) -> list[Event]:
    """Its callers, for a run that goes on in place of the one that has the update; none if it has ended."""
    waits = {HELD: (True, False), ACCEPTED: (False,)}.get(row.state, ())
    return [
        UpdateAwaited(message_id=row.message_id, reply_to=reply_to, waits_accepted=accepted)
        for accepted in waits
        for reply_to in _callers(row, accepted=accepted)
    ]


def _is_dropped(row: UpdateRow) -> bool:
    """Whether the run's end has ended the update, which may not have been accepted by then."""
    return row.state == FAILED and row.failure is not None and row.failure.kind in CLOSED


# Evolve.


def _on_accepted(run: WorkingRun, event: UpdateAccepted, cause: Cause) -> None:
    state = advance(TRANSITIONS, ABSENT, event, run.workflow_id)
    row = UpdateRow(message_id=event.message_id, state=state, reply_to=event.reply_to, update=event.update)
    _begin(run, row, event)


def _on_held(run: WorkingRun, event: UpdateHeld, cause: Cause) -> None:
    row = UpdateRow(
        message_id=event.message_id,
        state=advance(TRANSITIONS, ABSENT, event, run.workflow_id),
        reply_to=event.reply_to,
        waits_accepted=event.wait_for == "accepted",
        until_ms=event.until_ms,
        update=event.update,
        also_accepted=event.also_accepted,
        also_ended=event.also_ended,
    )
    _begin(run, row, event)


def _on_taken(run: WorkingRun, event: UpdateTaken, cause: Cause) -> None:
    row = _row(run, event.message_id)
    state = advance(TRANSITIONS, row.state, event, run.workflow_id)
    if event.problem:
        failure = Failure(type="", message=event.problem)
        run.header.pending_updates -= 1
        _put(run, msgspec.structs.replace(row, state=REJECTED, failure=failure))
    else:
        _put(run, msgspec.structs.replace(row, state=state))


def _on_ended(run: WorkingRun, event: Any, cause: Cause) -> None:
    row = _row(run, event.message_id)
    run.header.pending_updates -= 1
    state = advance(TRANSITIONS, row.state, event, run.workflow_id)
    result, failure = getattr(event, "result", b""), getattr(event, "failure", None)
    _put(run, msgspec.structs.replace(row, state=state, result=result, failure=failure))


def _on_awaited(run: WorkingRun, event: UpdateAwaited, cause: Cause) -> None:
    row = _row(run, event.message_id)
    state = advance(TRANSITIONS, row.state, event, run.workflow_id)
    row = msgspec.structs.replace(row, state=state)
    if event.waits_accepted:
        _put(run, msgspec.structs.replace(row, also_accepted=_with(row.also_accepted, event.reply_to)))
    else:
        _put(run, msgspec.structs.replace(row, also_ended=_with(row.also_ended, event.reply_to)))


def _with(callers: tuple[int, ...], reply_to: int) -> tuple[int, ...]:
    """The callers and one more; the last ones, if they are too many."""
    return (*callers, reply_to)[-UPDATE_CALLERS_MAX:]


def drop_open(run: WorkingRun, status: str) -> None:
    """End the updates of a run that closes with `status`. For evolve functions."""
    if not run.header.pending_updates:
        return
    failure = Failure(type="", message=f"the run {status} before the update had completed", kind=status)
    ended = []
    for _, value in run.rows(UPDATE):
        row = unpack_update(value)
        if row.state in OPEN:
            ended.append(msgspec.structs.replace(row, state=FAILED, failure=failure))
            _put(run, ended[-1])
    run.dropped_updates = ended
    run.header.pending_updates = 0


def leave_open(run: WorkingRun) -> None:
    """Remove the updates that have not ended from a run that another goes on for: they go over. For evolve
    functions."""
    if not run.header.pending_updates:
        return
    for key, value in run.rows(UPDATE):
        if unpack_update(value).state in OPEN:
            run.writes[key] = None
    run.header.pending_updates = 0


def _begin(run: WorkingRun, row: UpdateRow, event: UpdateAccepted | UpdateHeld) -> None:
    run.header.pending_updates += 1
    content = content_of(event.update, event.input)
    _put(run, msgspec.structs.replace(row, content=content))
    remember(run, row.message_id, messages.UPDATE, content)


def _put(run: WorkingRun, row: UpdateRow) -> None:
    run.writes[update_key(run.workflow_id, run.run_id, row.message_id)] = pack(row)


def _row(run: WorkingRun, message_id: str) -> UpdateRow:
    row = run.update(message_id)
    assert row is not None, f"{run.workflow_id} has no update {message_id}"
    return row


# Effects.


def _answer_taken(found: Effects, run: WorkingRun, event: UpdateTaken, shard: int) -> None:
    row = _row(run, event.message_id)
    if event.problem:
        _reply(found, {*_callers(row, accepted=True), *_callers(row, accepted=False)}, _rejected(run, row))
    else:
        reply = accepted_reply(run.workflow_id, run.header, event.message_id)
        _reply(found, _callers(row, accepted=True), reply)


def _answer_ended(found: Effects, run: WorkingRun, event: Any, shard: int) -> None:
    row = _row(run, event.message_id)
    _reply(found, _callers(row, accepted=False), _closed(run.workflow_id, run.header, row))


def answer_dropped(found: Effects, run: WorkingRun) -> None:
    """Answer those who wait for updates that the run's end has ended."""
    for row in run.dropped_updates:
        callers = {*_callers(row, accepted=True), *_callers(row, accepted=False)}
        _reply(found, callers, _closed(run.workflow_id, run.header, row))
    run.dropped_updates = ()


def _reply(found: Effects, callers: Iterable[int], reply: Accepted | Rejected | UpdateClosed) -> None:
    found.replies.extend((reply_to, reply) for reply_to in sorted(callers))


def _closed(workflow_id: str, run: RunRow, row: UpdateRow) -> UpdateClosed:
    return UpdateClosed(
        message_id=row.message_id, workflow_id=workflow_id, run_id=chain_id(run), result=row.result, failure=row.failure
    )


def _rejected(run: WorkingRun, row: UpdateRow) -> Rejected:
    return Rejected(
        message_id=row.message_id,
        workflow_id=run.workflow_id,
        reason="update_rejected",
        message=row.failure.message if row.failure is not None else "",
        run_id=chain_id(run.header),
    )


MACHINE = Machine(
    name="update",
    transitions=TRANSITIONS,
    inputs={UpdateWorkflow: InputRule(_update)},
    events={
        UpdateAccepted: EventRule(
            evolve=_on_accepted, deliver=lambda code, event: code.update(event.message_id, event.update, event.input)
        ),
        UpdateHeld: EventRule(
            evolve=_on_held,
            deliver=lambda code, event: code.hold(event),
        ),
        UpdateTaken: EventRule(
            evolve=_on_taken, effects=_answer_taken, is_request=True, subject=lambda event: event.message_id
        ),
        UpdateCompleted: EventRule(
            evolve=_on_ended, effects=_answer_ended, is_request=True, subject=lambda event: event.message_id
        ),
        UpdateFailed: EventRule(
            evolve=_on_ended, effects=_answer_ended, is_request=True, subject=lambda event: event.message_id
        ),
        UpdateAwaited: EventRule(evolve=_on_awaited),
    },
)
