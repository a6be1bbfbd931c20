"""Choices of workflow code that the history keeps: side effects and patches."""

from __future__ import annotations

from typing import Any

from penstock.engine.core.machine import Cause, EventRule, Machine, Table, advance
from penstock.engine.core.working import WorkingRun
from penstock.schemas.records.marker import PatchMarked, SideEffectRecorded

ABSENT, RECORDED = "absent", "recorded"

TRANSITIONS: Table = {
    (ABSENT, SideEffectRecorded): RECORDED,
    (ABSENT, PatchMarked): RECORDED,
}


def _on_recorded(run: WorkingRun, event: Any, cause: Cause) -> None:
    advance(TRANSITIONS, ABSENT, event, run.workflow_id)


MACHINE = Machine(
    name="marker",
    transitions=TRANSITIONS,
    inputs={},
    events={
        SideEffectRecorded: EventRule(evolve=_on_recorded, is_request=True),
        PatchMarked: EventRule(evolve=_on_recorded, is_request=True, subject=lambda event: event.patch),
    },
)
