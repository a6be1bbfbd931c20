"""Signals to a run."""

from __future__ import annotations

from penstock.engine.core.activation import PROBLEMS, activated
from penstock.engine.core.answers import accepted, open_row, rejected
from penstock.engine.core.decision import Decision, Rejection
from penstock.engine.core.limits import SIGNALS_UNREAD_MAX
from penstock.engine.core.machine import Cause, EventRule, InputRule, Machine, Table, advance
from penstock.engine.core.messages import SIGNAL, content_of, remember
from penstock.engine.core.rows import RunRow
from penstock.engine.core.statuses import HALTED
from penstock.engine.core.view import RunView
from penstock.engine.core.working import WorkingRun
from penstock.schemas.errors import BadInput
from penstock.schemas.records.kinds import NO_REPLY
from penstock.schemas.records.signal import SignalReceived, SignalWorkflow

ABSENT, RECEIVED = "absent", "received"

TRANSITIONS: Table = {(ABSENT, SignalReceived): RECEIVED}


def problem_of(run: RunView, name: str, value: bytes) -> str:
    """Why the declared signal does not take the value; empty if it does, or if it is not declared."""
    problem = run.hosted.signal_problem(name, value)
    return f"Signal {name} cannot take this value: {problem}" if problem else ""


def _problem_of_handler(run: RunView, row: RunRow, command: SignalWorkflow) -> str:
    """Why the run's own handler does not take the value, which another declaration may take; empty if it does."""
    if row.status in HALTED:
        return ""
    try:
        run.execution().check_signal(command.signal, command.input)
    except PROBLEMS:  # the activation meets it again, and blocks the run
        return ""
    except BadInput as error:
        return str(error)
    return ""


def decide(run: RunView, command: SignalWorkflow, now_ms: int) -> Decision:
    """What a signal causes."""
    row = open_row(run, command.run_id, keep=True)
    if isinstance(row, Decision):
        return row
    unread = sum(row.listening.unread.values()) if row.listening is not None and row.listening.unread else 0
    if unread >= SIGNALS_UNREAD_MAX:
        message = (
            f"{run.workflow_id} has {unread:,} signals that its code has not read; at most {SIGNALS_UNREAD_MAX:,} are "
            "kept, so send this one again later."
        )
        return rejected(Rejection("too_many", message, row.run_id))
    problem = problem_of(run, command.signal, command.input) or _problem_of_handler(run, row, command)
    if problem:
        return rejected(Rejection("bad_input", problem, row.run_id))
    received = SignalReceived(signal=command.signal, input=command.input, message_id=command.message_id)
    note = run.hosted.signal_note(command.signal) if command.reply_to != NO_REPLY else ""
    return accepted(run, command, activated(run, row, [received], now_ms), note)


def _on_received(run: WorkingRun, event: SignalReceived, cause: Cause) -> None:
    advance(TRANSITIONS, ABSENT, event, run.workflow_id)
    if event.message_id:  # one that went along with its chain is known by the run that received it
        remember(run, event.message_id, SIGNAL, content_of(event.signal, event.input))


MACHINE = Machine(
    name="signal",
    transitions=TRANSITIONS,
    inputs={SignalWorkflow: InputRule(decide, deduplicates=True)},
    events={
        SignalReceived: EventRule(
            evolve=_on_received, deliver=lambda code, event: code.signal(event.signal, event.input)
        )
    },
)
