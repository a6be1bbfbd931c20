"""Recognition of commands that took effect before."""

from __future__ import annotations

from typing import Any

from penstock.engine.core.answers import accepted_reply, rejected, run_closed
from penstock.engine.core.catalogue import INPUTS
from penstock.engine.core.decision import Decision, Rejection
from penstock.engine.core.messages import (
    CANCEL,
    OPTIONS,
    PAUSE,
    RESET,
    RESUME,
    SIGNAL,
    SKIP,
    START,
    TERMINATE,
    UNBLOCK,
    UPDATE,
    content_of,
    id_taken,
    is_another,
    run_of_message,
)
from penstock.engine.core.rows import MessageRow, RunRow
from penstock.engine.core.statuses import CLOSED
from penstock.engine.core.view import RowReader
from penstock.schemas.records.activity import ChangeActivity, SkipActivity
from penstock.schemas.records.pause import PauseWorkflow, ResumeWorkflow
from penstock.schemas.records.reset import ResetWorkflow, RetryWorkflow
from penstock.schemas.records.run import CancelWorkflow, StartWorkflow, TerminateWorkflow, UnblockWorkflow
from penstock.schemas.records.signal import SignalWorkflow

DEDUPLICATED = frozenset(kind for kind, rule in INPUTS.items() if rule.deduplicates)

_KINDS: dict[type, str] = {
    CancelWorkflow: CANCEL,
    TerminateWorkflow: TERMINATE,
    UnblockWorkflow: UNBLOCK,
    PauseWorkflow: PAUSE,
    ResumeWorkflow: RESUME,
    SkipActivity: SKIP,
    ChangeActivity: OPTIONS,
    ResetWorkflow: RESET,
    RetryWorkflow: RESET,
}


def repetition(rows: RowReader, row: RunRow | None, command: Any) -> Decision | None:
    """The decision about a command whose message took effect before, or whose id another message has; None for a new
    one.

    `command`: of a type in DEDUPLICATED. `row`: header of the id's current run."""
    if row is None or not command.message_id:
        return None
    known = _known(rows, row, command)
    if known is None:
        return None
    if all(is_another(known, *shape) for shape in _shapes(command)):
        return rejected(Rejection("bad_input", id_taken(command.message_id, known), row.run_id))
    is_start = isinstance(command, StartWorkflow)
    if is_start and command.await_result and not command.update and known.chain_id in {row.run_id, row.first_run_id}:
        if row.status not in CLOSED:
            return None  # it is decided as a start that meets its own run
        closed = run_closed(command.workflow_id, row, command.message_id)
        return Decision(run_id=row.run_id, ignored="this message took effect before", reply=closed)
    reply = accepted_reply(
        command.workflow_id,
        row,
        command.message_id,
        run_id=known.chain_id,
        existing=not is_start or known.chain_id != command.message_id,
    )
    return Decision(run_id=known.run_id, ignored="this message took effect before", reply=reply)


def _known(rows: RowReader, row: RunRow, command: Any) -> MessageRow | None:
    if isinstance(command, StartWorkflow) and command.message_id == row.run_id:
        return MessageRow(row.run_id, row.first_run_id or row.run_id, START)
    return run_of_message(rows.get, command.workflow_id, command.message_id)


def _shapes(command: Any) -> list[tuple[str, ...]]:
    """What a row may say of a command that took effect: a start may be known by what it handed over."""
    if isinstance(command, SignalWorkflow):
        return [(SIGNAL, content_of(command.signal, command.input))]
    if not isinstance(command, StartWorkflow):
        return [(_KINDS[type(command)],)]
    shapes: list[tuple[str, ...]] = [(START,)]
    if command.signal:
        shapes.append((SIGNAL, content_of(command.signal, command.handed)))
    if command.update:
        shapes.append((UPDATE, content_of(command.update, command.handed)))
    return shapes
