"""Judge of versions in a simulation: each run took the version that its start, or its shard's shares, say.

The shares are those of the events before the start, so a share that only the memory of a process had is noticed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from penstock.engine.core.versions import chosen
from penstock.schemas.records.chain import WorkflowContinued
from penstock.schemas.records.decisions import DecisionRecorded
from penstock.schemas.records.run import WorkflowStarted
from penstock.schemas.records.share import VersionShareSet, VersionShareUnset
from tests.simulation.story import Violation

NAME = "sim_versioned"


class Versions:
    """The shares of one shard, and the versions of its runs."""

    def __init__(self) -> None:
        self._shares: dict[int, int] = {}
        self._taken: dict[str, int] = {}
        self._named: dict[str, int] = {}

    def follow(
        self,
        decisions: Sequence[tuple[DecisionRecorded, list[Any]]],
        hosted: Collection[int],
        asked: Callable[[DecisionRecorded], int],
    ) -> None:
        """Judge the decisions of a transaction. `hosted`: versions of the process that decided; `asked`: the version
        that the command behind a decision names, 0 for none. Raises Violation."""
        for decision, events in decisions:
            for event in events:
                match event:
                    case VersionShareSet():
                        self._shares[event.version] = event.share
                    case VersionShareUnset():
                        del self._shares[event.version]
                    case WorkflowContinued():
                        self._named[decision.run_id] = event.version
                    case WorkflowStarted(workflow_type="sim_versioned"):
                        self._judge(decision, event, hosted, asked)

    def _judge(
        self,
        decision: DecisionRecorded,
        started: WorkflowStarted,
        hosted: Collection[int],
        asked: Callable[[DecisionRecorded], int],
    ) -> None:
        before = started.previous_run_id
        if before:
            expected = self._named[before] or self._taken[before]
        else:
            expected = asked(decision) or chosen(NAME, hosted, decision.workflow_id, self._shares)
        if started.version != expected:
            raise Violation(
                "V (versions)",
                f"{decision.workflow_id} took version {started.version}, not {expected}, of {sorted(hosted)} with the "
                f"shares {self._shares}",
            )
        self._taken[decision.run_id] = started.version
