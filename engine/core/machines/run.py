"""A run as a whole: started, cancelled, blocked, closed."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from penstock.engine.core.activation import PROBLEMS, activated, blocked_by, released
from penstock.engine.core.answers import (
    accepted,
    accepted_reply,
    closing_failure,
    ignored,
    kept_text,
    open_row,
    rejected,
    run_closed,
    shown_status,
)
from penstock.engine.core.decision import Decision, Rejection, RunEvents, TimeOutRun
from penstock.engine.core.execution import Definition
from penstock.engine.core.expiry import note_closed
from penstock.engine.core.hosted import UNKNOWN_TYPE
from penstock.engine.core.keys import AWAITER, TIMER, TIMER_DUE, awaiter_key, blocked_key, joined_key
from penstock.engine.core.limits import (
    AWAITED_MS,
    AWAITED_MS_MAX,
    AWAITERS_FEW,
    DELAY_MS_MAX,
)
from penstock.engine.core.machine import Cause, Effects, EventRule, InputRule, Machine, Table, advance, seed_of
from penstock.engine.core.machines import activity, child, deadline, delay, kept, note, signal, suspension, update
from penstock.engine.core.messages import CANCEL, START, TERMINATE, UNBLOCK, remember, remember_as, remember_cause
from penstock.engine.core.rows import MessageRow, RunRow, unpack_timer
from penstock.engine.core.statuses import (
    ABSENT,
    BLOCKED,
    CANCELLED,
    CLOSED,
    COMPLETED,
    FAILED,
    OPEN,
    PAUSED,
    RUNNING,
    TERMINATED,
    WAITING,
)
from penstock.engine.core.view import RunView
from penstock.engine.core.working import WorkingRun
from penstock.schemas.ids import SCHEDULE_PREFIX, reserved_id
from penstock.schemas.records.completions import WorkflowClosed
from penstock.schemas.records.kinds import NO_REPLY, Event
from penstock.schemas.records.replies import Accepted, Reply
from penstock.schemas.records.run import (
    AwaitResult,
    CancelRequested,
    CancelWorkflow,
    HistoryExceeded,
    InputIgnored,
    ResultAwaited,
    StartJoined,
    StartWorkflow,
    TerminateWorkflow,
    UnblockWorkflow,
    WorkflowBlocked,
    WorkflowCancelled,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowStarted,
    WorkflowTerminated,
    WorkflowTimedOut,
    WorkflowUnblocked,
)
from penstock.schemas.records.signal import SignalReceived, SignalWorkflow
from penstock.schemas.records.update import UpdateWorkflow

TRANSITIONS: Table = {
    (ABSENT, WorkflowStarted): RUNNING,
    (RUNNING, WorkflowCompleted): COMPLETED,
    (RUNNING, WorkflowFailed): FAILED,
    (RUNNING, WorkflowTimedOut): FAILED,
    (RUNNING, HistoryExceeded): FAILED,
    (BLOCKED, HistoryExceeded): FAILED,
    (PAUSED, HistoryExceeded): FAILED,
    (RUNNING, WorkflowCancelled): CANCELLED,
    (RUNNING, WorkflowTerminated): TERMINATED,
    (RUNNING, WorkflowBlocked): BLOCKED,
    (BLOCKED, WorkflowUnblocked): RUNNING,
    (BLOCKED, WorkflowTimedOut): FAILED,
    (BLOCKED, WorkflowTerminated): TERMINATED,
    (PAUSED, WorkflowTimedOut): FAILED,
    (PAUSED, WorkflowTerminated): TERMINATED,
}
"""How a run is paused and resumed: pause.py."""

FLAGS = 0
"""Engine logic flags recorded in each run: a change of ordering gets a bit, so that older runs replay as they ran."""

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


# Decide: starting.


def _start(run: RunView, command: StartWorkflow, now_ms: int) -> Decision:
    row = run.row
    if row is not None and not _replaces(command, row):
        return _existing(run, row, command, now_ms)
    hosted, type_ = run.hosted, command.workflow_type
    version = command.version or version_for(run, type_)
    definition = hosted.workflow(type_, version)
    if definition is None and version in hosted.versions_elsewhere.get(type_, ()):
        return _held(run, command, version, now_ms)
    if definition is None:
        return rejected(Rejection(UNKNOWN_TYPE, hosted.unknown(type_, version)))
    problem = _problem_beside_input(run, command)
    try:
        definition.check_input(command.input)
    except Exception as error:  # noqa: BLE001 - the user's own validators may raise anything
        problem = f"{command.workflow_type} cannot take this input: {error}"
    if problem:
        return rejected(Rejection("bad_input", problem))
    started = _started(run, command, definition.version, now_ms, definition)
    inputs = [started, *kept.taken(run), *_received(command)]
    try:
        requests = run.new_execution(definition, command.message_id, started.seed).activate(inputs, now_ms)
    except PROBLEMS as error:
        requests = [blocked_by(error)]
    return Decision(
        run_id=command.message_id,
        events=[*inputs, *requests],
        before=_replaced(row, command),
        reply=None if _awaits(command) else _accepted_start(run, command),
    )


def version_for(run: RunView, workflow_type: str) -> int:
    """The version that a new run of the type takes, 0 if no live processor hosts the type."""
    return run.hosted.version_for(workflow_type, run.workflow_id, lambda: run.shares(workflow_type))


def _held(run: RunView, command: StartWorkflow, version: int, now_ms: int) -> Decision:
    """Start a run whose type, or version, only other processors host: it waits until one of them has its shard.

    Its input is checked when it is first activated (`_unblocked`)."""
    problem = _problem_beside_input(run, command)
    if problem:
        return rejected(Rejection("bad_input", problem))
    # No code has run: what runs first on another build, or Python, is not this processor's.
    started = msgspec.structs.replace(_started(run, command, version, now_ms), python="", build="")
    reason, message = run.hosted.missing(command.workflow_type, version)
    return Decision(
        run_id=command.message_id,
        events=[started, *kept.taken(run), *_received(command), WorkflowBlocked(reason=reason, message=message)],
        before=_replaced(run.row, command),
        reply=None if _awaits(command) else _accepted_start(run, command, status=WAITING, note=message),
    )


def _received(command: StartWorkflow) -> list[Event]:
    """The signal that a start hands to its run, if there is one."""
    if not command.signal:
        return []
    return [SignalReceived(signal=command.signal, input=command.handed, message_id=command.message_id)]


def _accepted_start(run: RunView, command: StartWorkflow, **fields: Any) -> Accepted:
    return Accepted(message_id=command.message_id, workflow_id=run.workflow_id, run_id=command.message_id, **fields)


def _awaits(command: StartWorkflow) -> bool:
    """Whether the sender of a start waits for the run's end, not for the answer to the start."""
    return command.await_result and command.reply_to != NO_REPLY and not command.update


def _until_ms(run: RunView, timeout_ms: int, now_ms: int) -> int:
    """Until when a caller awaits a result (epoch)."""
    asked_ms = min(timeout_ms, AWAITED_MS_MAX) if timeout_ms > 0 else AWAITED_MS
    return now_ms + (run.hosted.awaited_ms or asked_ms)


def _replaced(row: RunRow | None, command: StartWorkflow) -> tuple[RunEvents, ...]:
    """The end of the open run that a start replaces, if there is one."""
    if row is None or row.status not in OPEN:
        return ()
    return (RunEvents(row.run_id, [WorkflowTerminated(reason=f"replaced by run {command.message_id}")]),)


def _replaces(command: StartWorkflow, row: RunRow) -> bool:
    """Whether the start begins a new run although the id has one."""
    if command.message_id in {row.run_id, row.first_run_id}:
        return False
    if row.status in CLOSED:
        if command.on_existing == "restart_failed":
            return row.status != COMPLETED
        return command.on_existing in {"restart_closed", "terminate_existing"}
    return command.on_existing == "terminate_existing"


def _started(
    run: RunView, command: StartWorkflow, version: int, now_ms: int, definition: Definition | None = None
) -> WorkflowStarted:
    awaits = _awaits(command)
    begins_ms = now_ms + min(command.start_delay_ms, DELAY_MS_MAX) if command.start_delay_ms > 0 else 0
    bound_ms = command.execution_timeout_ms
    return WorkflowStarted(
        workflow_type=command.workflow_type,
        version=version,
        input=command.input,
        message_id=command.message_id,
        seed=seed_of(run.workflow_id, command.message_id),
        parent_workflow_id=command.parent_workflow_id,
        parent_run_id=command.parent_run_id,
        parent_sequence=command.parent_sequence,
        flags=FLAGS,
        python=PYTHON,
        build=run.hosted.build,
        run_timeout_ms=command.run_timeout_ms,
        execution_timeout_ms=command.execution_timeout_ms,
        retry=command.retry,
        headers=command.headers,
        parent_awaits_start=command.parent_awaits_start,
        closed_kept_ms=definition.closed_kept_ms if definition is not None else 0,
        closed_kept_by_status=dict(definition.closed_kept_by_status) if definition is not None else {},
        begins_ms=begins_ms,
        reply_to=command.reply_to if awaits else NO_REPLY,
        awaited_until_ms=_until_ms(run, command.await_ms, now_ms) if awaits else 0,
        execution_until_ms=(begins_ms or now_ms) + min(bound_ms, DELAY_MS_MAX) if bound_ms > 0 else 0,
        memo=command.memo,
        search=command.search,
    )


def _problem_beside_input(run: RunView, command: StartWorkflow) -> str:
    """Why a start is refused whatever its input: headers, memo, search attributes, signal; empty if it is not."""
    if run.workflow_id.startswith(SCHEDULE_PREFIX):
        return reserved_id(run.workflow_id)
    problem = note.problem_of(command)
    return signal.problem_of(run, command.signal, command.handed) if command.signal and not problem else problem


def _existing(run: RunView, row: RunRow, command: StartWorkflow, now_ms: int) -> Decision:
    """Decide a start whose id has a run that is not replaced: join the run or refuse the start."""
    is_own = command.message_id in {row.run_id, row.first_run_id}
    if command.parent_workflow_id and not is_own:
        message = f"{run.workflow_id} is taken by another run ({row.run_id})."
        return rejected(Rejection("already_exists", message, row.run_id))
    if row.workflow_type != command.workflow_type:
        message = (
            f"{run.workflow_id} is taken by a run of {row.workflow_type} (run {row.run_id}, {shown_status(row)}), so "
            f"{command.workflow_type} cannot be started under this id: choose another one."
        )
        rejection = Rejection("already_exists", message, row.run_id)
        return ignored(row.run_id, "the workflow id is taken by another type", rejection=rejection)
    if command.on_existing == "reject" and not is_own:
        message = (
            f"{run.workflow_id} was started before (run {row.run_id}, {shown_status(row)}); choose another id, "
            "or start it without `reject` to join it."
        )
        rejection = Rejection("already_exists", message, row.run_id)
        return ignored(row.run_id, "the workflow id is taken", rejection=rejection)
    if command.signal and not is_own:
        return signal.decide(run, _handed_signal(command), now_ms)
    joined: list[Event] = []
    if command.on_existing in {"restart_closed", "restart_failed"} and not is_own:
        joined.append(StartJoined(message_id=command.message_id))
    reply: Reply | None = None
    if not _awaits(command):
        note = "" if is_own or command.reply_to == NO_REPLY else _note_of_input(run, command)
        reply = accepted_reply(run.workflow_id, row, command.message_id, existing=not is_own, note=note)
    elif row.status in CLOSED:
        reply = run_closed(run.workflow_id, row, command.message_id)
    else:
        until_ms = _until_ms(run, command.await_ms, now_ms)
        joined.append(ResultAwaited(message_id=command.message_id, reply_to=command.reply_to, until_ms=until_ms))
    if joined:
        return Decision(run_id=row.run_id, events=joined, unnumbered=True, reply=reply)
    return ignored(row.run_id, "started before", reply=reply)


def _handed_signal(command: StartWorkflow) -> SignalWorkflow:
    return SignalWorkflow(
        workflow_id=command.workflow_id,
        message_id=command.message_id,
        reply_to=command.reply_to,
        signal=command.signal,
        input=command.handed,
    )


def update_of(command: StartWorkflow) -> UpdateWorkflow:
    """The update that a start hands to the run that it starts or joins."""
    return UpdateWorkflow(
        workflow_id=command.workflow_id,
        message_id=command.message_id,
        reply_to=command.reply_to,
        update=command.update,
        input=command.handed,
        wait_for="completed" if command.await_result else "accepted",
        timeout_ms=command.await_ms,
    )


def _note_of_input(run: RunView, command: StartWorkflow) -> str:
    """A note for a start that joins a run with another input; empty if the inputs agree."""
    recorded, given = run.started_input(), command.input
    definition = run.hosted.workflow(command.workflow_type, run.row.version if run.row is not None else 0)
    if recorded is None or recorded == given:
        return ""
    try:
        if msgspec.json.decode(recorded or b"null") == msgspec.json.decode(given or b"null"):
            return ""
        if definition is not None and definition.canonical_input(recorded) == definition.canonical_input(given):
            return ""
    except Exception:  # noqa: BLE001, S110 - an input that its type cannot take is another one
        pass
    return "the run that was joined has another input than this start"


# Decide: an existing run.


def _cancel(run: RunView, command: CancelWorkflow, now_ms: int) -> Decision:
    row = open_row(run, command.run_id, keep=False)
    if isinstance(row, Decision):
        return row
    if row.cancel_requested:
        reply = accepted_reply(run.workflow_id, row, command.message_id)
        return ignored(row.run_id, "cancelled before", reply=reply)
    return accepted(run, command, activated(run, row, [CancelRequested(reason=kept_text(command.reason))], now_ms))


def _terminate(run: RunView, command: TerminateWorkflow, now_ms: int) -> Decision:
    row = open_row(run, command.run_id, keep=False)
    if isinstance(row, Decision):
        return row
    return accepted(run, command, [WorkflowTerminated(reason=kept_text(command.reason))])


def _unblock(run: RunView, command: UnblockWorkflow, now_ms: int) -> Decision:
    row = open_row(run, command.run_id, keep=False)
    if isinstance(row, Decision):
        return row
    if row.status == PAUSED:
        message = f"{run.workflow_id} is paused; `penstock resume` lets it go on, and tries it again if it was BLOCKED."
        return rejected(Rejection("not_blocked", message, row.run_id, keep=False))
    if row.status != BLOCKED:
        message = f"{run.workflow_id} is {row.status}; only a BLOCKED run can be unblocked."
        return rejected(Rejection("not_blocked", message, row.run_id, keep=False))
    by = (kept_text(command.by) or "an operator") if command.message_id else "the processor"
    unblocked = WorkflowUnblocked(by=by, reason=kept_text(command.reason))
    return accepted(run, command, [unblocked, *released(run, row, now_ms)])


def _await_result(run: RunView, command: AwaitResult, now_ms: int) -> Decision:
    row = run.row
    if row is not None and row.status in CLOSED and command.run_id in {"", row.run_id, row.first_run_id}:
        return ignored(row.run_id, "answered at once", reply=run_closed(run.workflow_id, row, command.message_id))
    row_or_refusal = open_row(run, command.run_id, keep=False)
    if isinstance(row_or_refusal, Decision):
        return row_or_refusal
    if command.reply_to == NO_REPLY:
        return ignored(row_or_refusal.run_id, "no reply was asked for")
    until_ms = _until_ms(run, command.timeout_ms, now_ms)
    awaited = ResultAwaited(message_id=command.message_id, reply_to=command.reply_to, until_ms=until_ms)
    return Decision(run_id=row_or_refusal.run_id, events=[awaited], unnumbered=True)


# Evolve.


def _on_started(run: WorkingRun, event: WorkflowStarted, cause: Cause) -> None:
    before = run.row
    if before is not None:
        assert before.status in CLOSED, f"{run.workflow_id} was started while it ran"
        # A start is recognised by the run id in the header; both starts need rows once another run may be there.
        if not before.first_run_id:  # the id of a run that continues another is no message's
            remember_as(run, before.run_id, MessageRow(before.run_id, before.run_id, START))
    run.row = RunRow(
        run_id=run.run_id,
        seed=event.seed,
        workflow_type=event.workflow_type,
        version=event.version,
        status=advance(TRANSITIONS, ABSENT, event, run.workflow_id),
        next_number=1,
        started_ms=cause.now_ms,
        parent_workflow_id=event.parent_workflow_id,
        parent_run_id=event.parent_run_id,
        parent_sequence=event.parent_sequence,
        headers=event.headers,
        closed_kept_ms=event.closed_kept_ms,
        closed_kept_by_status=event.closed_kept_by_status,
        search=event.search,
    )
    note.put_memo(run, event.memo)
    run.header.first_run_id, run.header.chain_length = event.first_run_id, event.chain_length
    if before is not None and not event.previous_run_id:  # what let a run continue took effect in that one
        remember_cause(run, cause, START)
    if event.begins_ms:
        delay.put(run, event.begins_ms)
    if event.run_timeout_ms > 0 or event.execution_until_ms or event.retry is not None:
        deadline.put(run, event, event.begins_ms or cause.now_ms)
    awaiters: dict[str, bytes] = {}
    if event.previous_run_id:  # its awaiters go on waiting
        moved = run.drop_rows(AWAITER, event.previous_run_id)
        awaiters.update((key.rsplit(b"\x00", 1)[1].decode(), value) for key, value in moved)
    if event.reply_to != NO_REPLY:
        awaiters[event.message_id] = b"%d %d" % (event.reply_to, event.awaited_until_ms)
    for message_id, value in awaiters.items():
        run.writes[awaiter_key(run.workflow_id, run.run_id, message_id)] = value
    run.header.awaiters = len(awaiters)


def _on_closed(run: WorkingRun, event: Any, cause: Cause) -> None:
    row = run.header
    if row.status == BLOCKED:
        run.writes[blocked_key(run.workflow_id)] = None
    row.status = advance(TRANSITIONS, row.status, event, run.workflow_id)
    row.closed_ms = cause.now_ms
    row.result = getattr(event, "result", b"")
    row.failure = getattr(event, "failure", None)
    row.reason = getattr(event, "reason", "")
    row.blocked_reason = row.blocked_message = ""
    row.pause = None
    note_closed(run, cause)
    if _is_followed(row, event):
        row.awaiters = 0  # their rows go over to the next run when it starts
    drop_pending(run, row)


def _is_followed(row: RunRow, event: Any) -> bool:
    """Whether another run of its chain takes the place of one that failed."""
    return row.retry is not None and bool(getattr(event, "next_run_id", ""))


def _on_terminated(run: WorkingRun, event: WorkflowTerminated, cause: Cause) -> None:
    _on_closed(run, event, cause)
    remember_cause(run, cause, TERMINATE)


def drop_pending(run: WorkingRun, row: RunRow) -> None:
    """Remove everything that was pending in a run that closes, each kind of row scanned once."""
    suspension.drop(run)
    delay.drop(run)
    deadline.drop(run)
    if row.pending_activities:
        activity.drop_all(run)
    if row.pending_timers:
        for _, value in run.drop_rows(TIMER):
            timer = unpack_timer(value)
            run.drop_due(timer.due_ms, TIMER_DUE, timer.sequence)
    if row.pending_children:
        child.drop_all(run)
    if row.awaiters:
        found = [(key.rsplit(b"\x00", 1)[1].decode(), *_awaiter(value)) for key, value in run.drop_rows(AWAITER)]
        run.dropped_awaiters = [(message_id, to) for message_id, to, until_ms in found if until_ms >= row.closed_ms]
    update.drop_open(run, row.status)
    row.pending_activities = row.pending_timers = row.pending_children = row.awaiters = 0


def _on_blocked(run: WorkingRun, event: WorkflowBlocked, cause: Cause) -> None:
    row = run.header
    row.status = advance(TRANSITIONS, row.status, event, run.workflow_id)
    row.blocked_reason, row.blocked_message = event.reason, event.message
    run.writes[blocked_key(run.workflow_id)] = event.reason.encode()


def _on_unblocked(run: WorkingRun, event: WorkflowUnblocked, cause: Cause) -> None:
    row = run.header
    row.status = advance(TRANSITIONS, row.status, event, run.workflow_id)
    row.blocked_reason = row.blocked_message = ""
    run.writes[blocked_key(run.workflow_id)] = None
    remember_cause(run, cause, UNBLOCK)


def _on_cancel_requested(run: WorkingRun, event: CancelRequested, cause: Cause) -> None:
    run.header.cancel_requested = True
    if run.header.next_number > 1:  # one that came before the run is known by CommandTaken
        remember_cause(run, cause, CANCEL)


def _on_awaited(run: WorkingRun, event: ResultAwaited, cause: Cause) -> None:
    row, key = run.header, awaiter_key(run.workflow_id, run.run_id, event.message_id)
    row.awaiters += run.get(key) is None
    run.writes[key] = b"%d %d" % (event.reply_to, event.until_ms)
    if row.awaiters > row.awaiters_max:
        _drop_late_awaiters(run, row, cause.now_ms)


def _drop_late_awaiters(run: WorkingRun, row: RunRow, now_ms: int) -> None:
    """Remove the callers that no longer wait; again when there are twice as many, so that the search stays cheap."""
    for key, value in run.rows(AWAITER):
        if _awaiter(value)[1] < now_ms:
            run.writes[key] = None
            row.awaiters -= 1
    row.awaiters_max = max(AWAITERS_FEW, 2 * row.awaiters)


def _awaiter(value: bytes) -> tuple[int, int]:
    """Partition of `replies`, and until when the caller waits."""
    reply_to, until_ms = value.split()
    return int(reply_to), int(until_ms)


def _on_joined(run: WorkingRun, event: StartJoined, cause: Cause) -> None:
    remember(run, event.message_id, START)
    run.writes[joined_key(run.workflow_id, run.run_id, event.message_id)] = b""


# Effects.


def _close(found: Effects, run: WorkingRun, event: Any, shard: int) -> None:
    row = run.header
    activity.tell_workers(found, run, event, shard)
    if _is_followed(row, event):  # the next run goes on in its place
        update.answer_dropped(found, run)
        child.end_dropped(found, run)
        return
    found.completions.append(
        WorkflowClosed(
            workflow_id=run.workflow_id,
            run_id=row.run_id,
            workflow_type=row.workflow_type,
            version=row.version,
            status=row.status,
            result=row.result,
            failure=closing_failure(row),
            started_ms=row.started_ms,
            closed_ms=row.closed_ms,
            parent_workflow_id=row.parent_workflow_id,
            parent_run_id=row.parent_run_id,
            memo=run.memo(),
            search=row.search,
        )
    )
    for message_id, reply_to in run.dropped_awaiters:
        found.replies.append((reply_to, run_closed(run.workflow_id, row, message_id)))
    run.dropped_awaiters = ()
    update.answer_dropped(found, run)
    child.report_to_parent(found, run)
    child.end_dropped(found, run)


MACHINE = Machine(
    name="run",
    transitions=TRANSITIONS,
    inputs={
        StartWorkflow: InputRule(_start, deduplicates=True),
        CancelWorkflow: InputRule(_cancel, deduplicates=True),
        TerminateWorkflow: InputRule(_terminate, deduplicates=True),
        UnblockWorkflow: InputRule(_unblock, deduplicates=True),
        AwaitResult: InputRule(_await_result),
        TimeOutRun: InputRule(deadline.time_out),
    },
    events={
        WorkflowStarted: EventRule(
            evolve=_on_started, effects=child.confirm_to_parent, deliver=lambda code, event: code.start(event)
        ),
        WorkflowCompleted: EventRule(evolve=_on_closed, effects=_close, is_request=True),
        WorkflowFailed: EventRule(evolve=_on_closed, effects=_close, is_request=True),
        WorkflowTimedOut: EventRule(evolve=_on_closed, effects=_close),
        HistoryExceeded: EventRule(evolve=_on_closed, effects=_close),
        WorkflowCancelled: EventRule(evolve=_on_closed, effects=_close, is_request=True),
        WorkflowTerminated: EventRule(evolve=_on_terminated, effects=_close),
        WorkflowBlocked: EventRule(evolve=_on_blocked),
        WorkflowUnblocked: EventRule(evolve=_on_unblocked),
        CancelRequested: EventRule(evolve=_on_cancel_requested, deliver=lambda code, event: code.cancel(event.reason)),
        ResultAwaited: EventRule(evolve=_on_awaited),
        StartJoined: EventRule(evolve=_on_joined),
        InputIgnored: EventRule(),
    },
)
