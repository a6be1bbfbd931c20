"""Mutations of what dialogues.py talks about: chains of runs, each without one safeguard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.engine.core import evolve as evolve_module
from penstock.engine.core.machines import chain as chain_module
from penstock.engine.core.machines import run as run_module
from penstock.engine.execution.program import Program
from penstock.schemas.records.run import WorkflowStarted
from penstock.schemas.records.signal import SignalReceived
from tests.simulation.mutation import Mutation

# Chains.


def _none_unread(self: Program) -> list[Any]:
    return []


def _twice_unread(self: Program, unread: Any = Program.unread) -> list[Any]:
    found = unread(self)
    return [*found, *(event for event in found if isinstance(event, SignalReceived))]


def _last_first(self: Program, unread: Any = Program.unread) -> list[Any]:
    return list(unread(self))[::-1]


def _an_orphan(*arguments: Any, next_run: Any = chain_module._next) -> Any:
    return msgspec.structs.replace(next_run(*arguments), parent_workflow_id="", parent_run_id="")


def _headless(*arguments: Any, next_run: Any = chain_module._next) -> Any:
    return msgspec.structs.replace(next_run(*arguments), headers={})


def _awaiters_left(run: Any, event: Any, cause: Any, started: Any = run_module._on_started) -> None:
    started(run, event, cause)
    if event.previous_run_id:
        run.header.awaiters = 0


MUTATIONS: Mapping[str, Mutation] = {
    "signals that were not read are lost when a run continues": Mutation(Program, "unread", _none_unread),
    "signals that were not read go along twice": Mutation(Program, "unread", _twice_unread),
    "signals go along in another order": Mutation(Program, "unread", _last_first),
    "the parent of a run that continues is lost": Mutation(chain_module, "_next", _an_orphan),
    "headers do not go along when a run continues": Mutation(chain_module, "_next", _headless),
    "callers do not go along when a run continues": Mutation(
        run_module, "_on_started", _awaiters_left, table=(evolve_module.EVOLVERS, (WorkflowStarted,))
    ),
    "the history of a run that continued stays": Mutation(chain_module, "_drop_history", lambda run, cause: None),
}
