"""Which run made each request: a run that goes on from another one shares its requests, and with them their keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock.schemas.records.activity import ActivityAdopted, ActivityScheduled
from penstock.schemas.records.child import ChildScheduled
from penstock.schemas.records.decisions import DecisionRecorded
from penstock.schemas.records.reset import WorkflowForked
from penstock.schemas.records.run import WorkflowStarted
from tests.simulation.story import Violation

Request = tuple[str, str, int]
"""Workflow id, run id, sequence."""


class Origins:
    """Starts, seeds and requests of all runs."""

    def __init__(self) -> None:
        self.started: dict[tuple[str, str], WorkflowStarted] = {}
        self._seeds: dict[tuple[str, str], str] = {}
        self._bases: dict[tuple[str, str], str] = {}
        self._made: set[Request] = set()

    def follow(self, decision: DecisionRecorded, events: Sequence[Any]) -> None:
        """Note what a decision says. Raises Violation for an activity that is adopted under another seed."""
        run = (decision.workflow_id, decision.run_id)
        for event in events:
            if isinstance(event, WorkflowStarted):
                self.started[run], self._seeds[run] = event, event.seed
            elif isinstance(event, WorkflowForked):
                self._bases[run], self._seeds[run] = event.base_run_id, event.seed
                self.started.setdefault(run, self.started[decision.workflow_id, event.base_run_id])
            elif isinstance(event, ActivityScheduled | ChildScheduled):
                self._made.add((*run, event.sequence))
            elif isinstance(event, ActivityAdopted) and event.seed != self.seed((*run, event.sequence)):
                raise Violation("P (propagation)", f"{event} of {decision.workflow_id} has another seed than before")

    def of(self, request: Request) -> Request:
        """The request as the run made it that made it first."""
        workflow_id, run_id, sequence = request
        while (workflow_id, run_id, sequence) not in self._made and (workflow_id, run_id) in self._bases:
            run_id = self._bases[workflow_id, run_id]
        return workflow_id, run_id, sequence

    def seed(self, request: Request) -> str:
        """Seed of the run that made a request."""
        return self._seeds[self.of(request)[:2]]
