"""Replies to commands, as values: accepted, refused, closed."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.engine.core.decision import Decision, Rejection
from penstock.engine.core.hosted import UNHOSTED_TYPE
from penstock.engine.core.limits import REASON_CHARS_MAX
from penstock.engine.core.rows import RunRow
from penstock.engine.core.statuses import BLOCKED, CANCELLED, CLOSED, TERMINATED, WAITING
from penstock.engine.core.view import RunView
from penstock.schemas.failure import Failure
from penstock.schemas.records.kinds import Command, Event
from penstock.schemas.records.replies import Accepted, RunClosed


def found_row(run: RunView, run_id: str, *, keep: bool) -> RunRow | Decision:
    """The header of the id's current run, open or closed; else a refusal. `run_id`: as for `open_row`."""
    row = run.row
    if row is None:
        return rejected(Rejection("not_found", f"There is no run with the id {run.workflow_id}.", keep=keep))
    if run_id and run_id not in {row.run_id, row.first_run_id}:
        message = f"{run.workflow_id} has no run {run_id}; its current run is {row.run_id}."
        return rejected(Rejection("not_found", message, row.run_id, keep=keep))
    return row


def open_row(run: RunView, run_id: str, *, keep: bool) -> RunRow | Decision:
    """The header of the id's open run; else the refusal of a command to it. `run_id`: the run that is meant, if any."""
    row = found_row(run, run_id, keep=keep)
    if isinstance(row, RunRow) and row.status in CLOSED:
        message = f"{run.workflow_id} has already closed ({row.status})."
        return rejected(Rejection("already_closed", message, row.run_id, keep=keep))
    return row


def rejected(rejection: Rejection) -> Decision:
    """A decision that only refuses."""
    return Decision(run_id=rejection.run_id, ignored=rejection.message, rejection=rejection)


def refused_read(refusal: Decision | Rejection) -> Decision:
    """A refusal of an input that only reads."""
    decision = refusal if isinstance(refusal, Decision) else rejected(refusal)
    return msgspec.structs.replace(decision, is_read=True)


def accepted(run: RunView, command: Command, events: list[Event], note: str = "") -> Decision:
    """These events of an existing run, and Accepted as the reply."""
    row = run.row
    assert row is not None, f"{run.workflow_id} has no run"
    return Decision(
        run_id=row.run_id, events=events, reply=accepted_reply(run.workflow_id, row, command.message_id, note=note)
    )


def accepted_reply(
    workflow_id: str, row: RunRow, message_id: str, *, run_id: str = "", existing: bool = True, note: str = ""
) -> Accepted:
    """Accepted, about the run that exists. `run_id`: that of an earlier run of the id, if it is meant."""
    return Accepted(
        message_id=message_id,
        workflow_id=workflow_id,
        run_id=run_id or chain_id(row),
        existing=existing,
        status=shown_status(row),
        note=note,
    )


def chain_id(row: RunRow) -> str:
    """The run id by which callers address the run: that of the first run of its chain."""
    return row.first_run_id or row.run_id


def shown_status(row: RunRow) -> str:
    """The run's status as callers and operators see it."""
    return WAITING if row.status == BLOCKED and row.blocked_reason == UNHOSTED_TYPE else row.status


def run_closed(workflow_id: str, row: RunRow, message_id: str) -> RunClosed:
    """RunClosed, about a run that has closed."""
    return RunClosed(
        message_id=message_id,
        workflow_id=workflow_id,
        run_id=chain_id(row),
        status=row.status,
        result=row.result,
        failure=closing_failure(row),
    )


def closing_failure(row: RunRow) -> Failure | None:
    """Why a closed run did not complete; None if it did."""
    if row.status in {CANCELLED, TERMINATED}:
        return Failure(type="", message=row.reason or f"the run was {row.status}", kind=row.status)
    return row.failure


def kept_text(text: str) -> str:
    """As much of a foreign producer's reason or name as rows and replies of any kind take beside other data."""
    return text if len(text) <= REASON_CHARS_MAX else f"{text[: REASON_CHARS_MAX - 1]}…"


def ignored(run_id: str, why: str, **fields: Any) -> Decision:
    """A decision without effect."""
    return Decision(run_id=run_id, ignored=why, **fields)
