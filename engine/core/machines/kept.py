"""Commands that come before the start of their run: kept for some seconds, and taken by the run when it starts.

A producer with another partitioner writes a start to a wrong shard, which forwards it, and at once a signal, perhaps to
the right one. Without a run they would be refused. Only commands whose sender asked for no answer are kept: any other
sender receives the refusal at once, and can repeat the command."""

from __future__ import annotations

from penstock.engine.core.answers import found_row, ignored, rejected
from penstock.engine.core.decision import Decision, GiveUpCommand, KeepCommand, Rejection
from penstock.engine.core.keys import KEPT_DUE, due_key, joined_key, kept_key
from penstock.engine.core.limits import KEPT_BYTES_MAX, KEPT_COMMAND_BYTES_MAX, KEPT_MAX, KEPT_MS
from penstock.engine.core.machine import Cause, Effects, EventRule, InputRule, Machine, Table, advance
from penstock.engine.core.machines import signal
from penstock.engine.core.messages import CANCEL, remember, remember_as
from penstock.engine.core.rows import KeptRow, MessageRow, pack
from penstock.engine.core.view import RunView
from penstock.engine.core.working import WorkingRun
from penstock.schemas.records.kept import CommandGivenUp, CommandKept, CommandTaken
from penstock.schemas.records.kinds import Event
from penstock.schemas.records.run import CancelRequested, CancelWorkflow
from penstock.schemas.records.signal import SignalReceived, SignalWorkflow

ABSENT, KEPT, TAKEN, GIVEN_UP = "absent", "kept", "taken", "given_up"

TRANSITIONS: Table = {
    (ABSENT, CommandKept): KEPT,
    (KEPT, CommandTaken): TAKEN,
    (KEPT, CommandGivenUp): GIVEN_UP,
}

KEPT_KINDS = frozenset({SignalWorkflow, CancelWorkflow})


# Decide.


def _keep(run: RunView, input: KeepCommand, now_ms: int) -> Decision:
    command, size = input.command, len(input.value)
    is_signal = isinstance(command, SignalWorkflow)
    refusal = found_row(run, command.run_id, keep=is_signal)
    assert isinstance(refusal, Decision), f"{run.workflow_id} has a run"
    problem = signal.problem_of(run, command.signal, command.input) if isinstance(command, SignalWorkflow) else ""
    if problem:
        return rejected(Rejection("bad_input", problem))
    count, total = run.kept_size()
    if size > KEPT_COMMAND_BYTES_MAX or count >= KEPT_MAX or total + size > KEPT_BYTES_MAX:
        return refusal
    kept = CommandKept(
        message_id=command.message_id,
        until_ms=now_ms + KEPT_MS,
        partition=input.partition,
        offset=input.offset,
        key=input.key,
        value=input.value,
        signal=getattr(command, "signal", ""),
        input=getattr(command, "input", b""),
        reason=getattr(command, "reason", ""),
    )
    return Decision(run_id="", events=[kept], unnumbered=True)


def _give_up(run: RunView, due: GiveUpCommand, now_ms: int) -> Decision:
    if run.kept(due.sequence) is None:
        return ignored("", "its run has taken it")
    return Decision(run_id="", events=[CommandGivenUp(offset=due.sequence)], unnumbered=True)


def taken(run: RunView) -> list[Event]:
    """The commands that were kept for an id, as events of the run that starts now, in the order in which they came."""
    events: list[Event] = []
    message_ids: set[str] = set()
    for row in run.all_kept():
        events.append(CommandTaken(offset=row.offset, message_id=row.message_id))
        if row.message_id in message_ids:  # a repetition
            continue
        message_ids.add(row.message_id)
        if row.signal:
            events.append(SignalReceived(signal=row.signal, input=row.input, message_id=row.message_id))
        elif not any(type(event) is CancelRequested for event in events):
            events.append(CancelRequested(reason=row.reason))
    return events


# Evolve.


def _on_kept(run: WorkingRun, event: CommandKept, cause: Cause) -> None:
    advance(TRANSITIONS, ABSENT if run.kept(event.offset) is None else KEPT, event, run.workflow_id)
    row = KeptRow(
        message_id=event.message_id,
        until_ms=event.until_ms,
        partition=event.partition,
        offset=event.offset,
        key=event.key,
        value=event.value,
        signal=event.signal,
        input=event.input,
        reason=event.reason,
    )
    run.writes[kept_key(run.workflow_id, event.offset)] = pack(row)
    run.put_due(event.until_ms, KEPT_DUE, event.offset)


def _on_taken(run: WorkingRun, event: CommandTaken, cause: Cause) -> None:
    if not _drop(run, event).signal:  # a signal is remembered by SignalReceived
        remember(run, event.message_id, CANCEL)
    run.writes[joined_key(run.workflow_id, run.run_id, event.message_id)] = b""  # so that both expire with the run


def take_again(run: WorkingRun, event: CommandTaken) -> None:
    """As `_on_taken`, in a run that begins with the history of the one that took the command. For evolve functions."""
    known, row = run.message(event.message_id), run.header
    if known is not None:
        remember_as(run, event.message_id, MessageRow(row.run_id, row.first_run_id, known.what, known.content))
        run.writes[joined_key(run.workflow_id, run.run_id, event.message_id)] = b""


def _on_given_up(run: WorkingRun, event: CommandGivenUp, cause: Cause) -> None:
    run.given_up = (_drop(run, event),)


def _drop(run: WorkingRun, event: CommandTaken | CommandGivenUp) -> KeptRow:
    row = run.kept(event.offset)
    advance(TRANSITIONS, ABSENT if row is None else KEPT, event, run.workflow_id)
    assert row is not None, "the table allows these events for commands that are kept alone"
    run.writes[kept_key(run.workflow_id, event.offset)] = None
    run.writes[due_key(row.until_ms, KEPT_DUE, run.workflow_id, "", event.offset)] = None  # it came before any run
    return row


# Effects.


def _report(found: Effects, run: WorkingRun, event: CommandGivenUp, shard: int) -> None:
    found.given_up.extend(row for row in run.given_up if row.signal)  # a refused request to stop is no dead letter
    run.given_up = ()


MACHINE = Machine(
    name="kept",
    transitions=TRANSITIONS,
    inputs={KeepCommand: InputRule(_keep), GiveUpCommand: InputRule(_give_up)},
    events={
        CommandKept: EventRule(evolve=_on_kept),
        CommandTaken: EventRule(evolve=_on_taken),
        CommandGivenUp: EventRule(evolve=_on_given_up, effects=_report),
    },
)
"""No event reaches the code: SignalReceived and CancelRequested follow those of the commands that a run takes."""
