"""Deletion of what is kept of a workflow id: its closed run, and all earlier runs, at once.

The event stands on the topic `events` beside the histories, which stay there as long as the topic keeps them. The ids
of messages are forgotten with the runs, so that the id begins anew; the id of the command that deleted is remembered,
so that the same command does not delete what begins afterwards."""

from __future__ import annotations

from itertools import groupby

from penstock.engine.core.answers import found_row, kept_text, rejected
from penstock.engine.core.decision import Decision, Rejection, RunEvents
from penstock.engine.core.expiry import index_key
from penstock.engine.core.keys import HISTORY, JOINED, MEMO, MESSAGE, UPDATE, message_key, parse_message_of, run_of_row
from penstock.engine.core.machine import Cause, EventRule, InputRule, Machine, Table, advance
from penstock.engine.core.messages import BESIDE_RUNS, DELETE, id_taken, remember_change
from penstock.engine.core.rows import unpack_message
from penstock.engine.core.statuses import ABSENT, CLOSED, OPEN
from penstock.engine.core.view import RunView
from penstock.engine.core.working import WorkingRun
from penstock.schemas.ids import SCHEDULE_PREFIX
from penstock.schemas.records.replies import Accepted
from penstock.schemas.records.retention import DeleteWorkflow, WorkflowDeleted
from penstock.schemas.records.run import WorkflowTerminated

KEPT = "kept"

TRANSITIONS: Table = {(KEPT, WorkflowDeleted): ABSENT}
"""`kept`: no run of the id is open, and rows of one or several are kept."""


# Decide.


def _delete(run: RunView, command: DeleteWorkflow, now_ms: int) -> Decision:
    known = run.message(command.message_id) if command.message_id else None
    if known is not None and known.what == DELETE:
        return Decision(run_id="", ignored="deleted before", reply=_reply(command, ""))
    if known is not None:
        return rejected(Rejection("bad_input", id_taken(command.message_id, known), keep=False))
    if run.workflow_id.startswith(SCHEDULE_PREFIX):
        message = f"{run.workflow_id} is the id of a schedule; `penstock schedule delete` deletes it."
        return rejected(Rejection("bad_input", message, keep=False))
    deleted = WorkflowDeleted(by=kept_text(command.by), reason=kept_text(command.reason))
    if run.row is None and not command.run_id and run.has_past():  # rows of an earlier run that is kept for longer
        return Decision(run_id="", events=[deleted], unnumbered=True, reply=_reply(command, ""))
    row = found_row(run, command.run_id, keep=False)
    if isinstance(row, Decision):
        return row
    ended: tuple[RunEvents, ...] = ()
    if row.status in OPEN:
        if not command.force:
            message = (
                f"{run.workflow_id} is {row.status}, and only closed runs are deleted: terminate it first, or delete "
                "it with --force (`force=True`), which does both."
            )
            return rejected(Rejection("still_open", message, row.run_id, keep=False))
        ended = (RunEvents(row.run_id, [WorkflowTerminated(reason=deleted.reason or "deleted")]),)
    return Decision(
        run_id=row.run_id, events=[deleted], before=ended, unnumbered=True, reply=_reply(command, row.run_id)
    )


def _reply(command: DeleteWorkflow, run_id: str) -> Accepted:
    return Accepted(
        message_id=command.message_id,
        workflow_id=command.workflow_id,
        run_id=run_id,
        existing=True,
        status="deleted",
    )


# Evolve.


def _on_deleted(run: WorkingRun, event: WorkflowDeleted, cause: Cause) -> None:
    row = run.row
    advance(TRANSITIONS, KEPT if row is None or row.status in CLOSED else row.status, event, run.workflow_id)
    _drop_histories(run)
    for kind in (UPDATE, MEMO):
        for key, _ in run.rows_of_id(kind):
            run.writes[key] = None
    for key, _ in run.rows_of_id(JOINED):
        found = run.get(message_key(run.workflow_id, parse_message_of(key)))
        if found is None or unpack_message(found).what not in BESIDE_RUNS:
            run.writes[key] = None
    for key, value in run.rows_of_id(MESSAGE):
        if unpack_message(value).what not in BESIDE_RUNS:
            run.writes[key] = None
    if row is not None:
        run.writes[run.header_key] = None
        run.row = None
    remember_change(run, cause, DELETE)


def _drop_histories(run: WorkingRun) -> None:
    """Remove all histories, and the entries of their runs in the index of closed runs."""
    for (_, run_id), found in groupby(run.rows_of_id(HISTORY), key=lambda item: run_of_row(item[0])):
        rows = list(found)
        key = index_key(run, run_id, rows[0][1], rows[-1][1])
        if key is not None:
            run.writes[key] = None
        for history_key, _ in rows:
            run.writes[history_key] = None


MACHINE = Machine(
    name="deletion",
    transitions=TRANSITIONS,
    inputs={DeleteWorkflow: InputRule(_delete)},
    events={WorkflowDeleted: EventRule(evolve=_on_deleted)},
)
