"""Recognition of commands that took effect before."""

from __future__ import annotations

from typing import Any

from penstock.engine.core.answers import accepted_reply
from penstock.engine.core.catalogue import INPUTS
from penstock.engine.core.decision import Decision
from penstock.engine.core.messages import run_of_message
from penstock.engine.core.rows import RunRow
from penstock.engine.core.view import RowReader
from penstock.schemas.records.run import StartWorkflow

DEDUPLICATED = frozenset(kind for kind, rule in INPUTS.items() if rule.deduplicates)


def repetition(rows: RowReader, row: RunRow | None, command: Any) -> Decision | None:
    """The decision about a command whose message took effect before; None for a new one.

    `command`: of a type in DEDUPLICATED. `row`: header of the id's current run."""
    if row is None or not command.message_id:
        return None
    run_id = _first_run(rows, row, command)
    if run_id is None:
        return None
    is_start = isinstance(command, StartWorkflow)
    if is_start and command.await_result and run_id == row.run_id:
        return None  # it is decided as a start that meets its own run
    reply = accepted_reply(
        command.workflow_id,
        row,
        command.message_id,
        run_id=run_id,
        existing=not is_start or run_id != command.message_id,
    )
    return Decision(run_id=run_id, ignored="this message took effect before", reply=reply)


def _first_run(rows: RowReader, row: RunRow, command: Any) -> str | None:
    if isinstance(command, StartWorkflow) and command.message_id == row.run_id:
        return row.run_id
    return run_of_message(rows.get, command.workflow_id, command.message_id)
