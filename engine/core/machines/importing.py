"""Import of a closed run that was exported: its history is taken in as it is, and nothing of it happens again.

Its rows are those that the events of its history leave (evolve.py). It is kept from the import on, for as long as its
type said when it began."""

from __future__ import annotations

from penstock.engine.core.answers import kept_text, rejected, shown_status
from penstock.engine.core.decision import Decision, Rejection
from penstock.engine.core.expiry import note_closed
from penstock.engine.core.keys import CLOSED
from penstock.engine.core.limits import IMPORT_BYTES_MAX
from penstock.engine.core.machine import Cause, EventRule, InputRule, Machine, Table, advance
from penstock.engine.core.messages import IMPORT, id_taken, remember_change
from penstock.engine.core.statuses import ABSENT
from penstock.engine.core.view import RunView
from penstock.engine.core.working import WorkingRun
from penstock.schemas.ids import SCHEDULE_PREFIX, reserved_id
from penstock.schemas.records.replies import Accepted
from penstock.schemas.records.retention import ImportWorkflow, WorkflowImported

KEPT = "kept"

TRANSITIONS: Table = {(ABSENT, WorkflowImported): KEPT}


# Decide.


def _import(run: RunView, command: ImportWorkflow, now_ms: int) -> Decision:
    known = run.message(command.message_id) if command.message_id else None
    if known is not None and known.what == IMPORT:
        return Decision(run_id="", ignored="imported before", reply=_reply(command))
    if known is not None:
        return rejected(Rejection("bad_input", id_taken(command.message_id, known), keep=False))
    refusal = _refusal(run, command)
    if refusal is not None:
        return rejected(refusal)
    imported = WorkflowImported(
        run_id=command.run_id,
        records=command.records,
        by=kept_text(command.by),
        reason=kept_text(command.reason),
    )
    problem = run.import_problem(imported)
    if problem:
        message = f"The history of {run.workflow_id} is none that a closed run has: {problem}; export the run again."
        return rejected(Rejection("bad_input", message, keep=False))
    return Decision(run_id=command.run_id, events=[imported], unnumbered=True, reply=_reply(command))


def _refusal(run: RunView, command: ImportWorkflow) -> Rejection | None:
    """Why the id takes no such run, whatever its history says."""
    row, id = run.row, run.workflow_id
    if id.startswith(SCHEDULE_PREFIX):
        return Rejection("bad_input", reserved_id(id), keep=False)
    if row is not None:
        message = (
            f"{id} has a run here (run {row.run_id}, {shown_status(row)}); a run is imported under a free id only."
        )
        return Rejection("already_exists", message, row.run_id, keep=False)
    if run.past(command.run_id):
        message = f"The run {command.run_id} of {id} is kept here already; delete it before."
        return Rejection("already_exists", message, command.run_id, keep=False)
    size = sum(map(len, command.records))
    if size > IMPORT_BYTES_MAX:
        message = f"The history of {id} takes {size:,} bytes, and {IMPORT_BYTES_MAX:,} at most are imported."
        return Rejection("too_large", message, keep=False)
    return None


def _reply(command: ImportWorkflow) -> Accepted:
    return Accepted(
        message_id=command.message_id,
        workflow_id=command.workflow_id,
        run_id=command.run_id,
        status="imported",
    )


# Evolve.


def _on_imported(run: WorkingRun, event: WorkflowImported, cause: Cause) -> None:
    """Let the run, whose rows are written, be kept from now on."""
    advance(TRANSITIONS, ABSENT, event, run.workflow_id)
    for key in [key for key in run.writes if key.startswith(CLOSED)]:
        del run.writes[key]
    note_closed(run, cause)
    remember_change(run, cause, IMPORT)


MACHINE = Machine(
    name="importing",
    transitions=TRANSITIONS,
    inputs={ImportWorkflow: InputRule(_import)},
    events={WorkflowImported: EventRule(evolve=_on_imported)},
)
