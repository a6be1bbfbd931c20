"""Records of what is kept: a closed run is deleted, and one that was exported is imported."""

from __future__ import annotations

from penstock.schemas.records.kinds import Command, Event


class DeleteWorkflow(Command, frozen=True, gc=False, kw_only=True):
    """Remove all rows of an id whose run has closed: those of its earlier runs too. Empty `run_id`: whichever run is
    the current one.

    `force`: also if the run is open, which is terminated. `by`, `reason`: who asks for it, and why."""

    run_id: str = ""
    force: bool = False
    by: str = ""
    reason: str = ""


class WorkflowDeleted(Event, frozen=True, gc=False, kw_only=True):
    """Everything that was kept of the runs of this id is removed; the topics keep their records."""

    by: str = ""
    reason: str = ""


class ImportWorkflow(Command, frozen=True, gc=False, kw_only=True):
    """Take in a closed run that was exported, under an id that has none.

    `records`: its history, each an encoded DecisionRecorded, in order. `by`, `reason`: who asks for it, and why."""

    run_id: str
    records: tuple[bytes, ...]
    by: str = ""
    reason: str = ""


class WorkflowImported(Event, frozen=True, gc=False, kw_only=True):
    """The closed run `run_id` was taken in, with the history `records`: encoded DecisionRecorded, in order. What they
    caused happened where they were recorded."""

    run_id: str
    records: tuple[bytes, ...]
    by: str = ""
    reason: str = ""
