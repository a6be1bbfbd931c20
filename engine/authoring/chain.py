"""Continuing a run as a new one, with no history."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

from penstock.engine.authoring.class_form import Startable, call_in
from penstock.engine.authoring.context import current
from penstock.engine.authoring.definition import WorkflowCall
from penstock.engine.execution.continuing import ContinueAsNew
from penstock.schemas.errors import BadInput, NotInWorkflow
from penstock.schemas.values.call import Call


def continue_as_new(call: Call[Any] | Startable[Any]) -> NoReturn:
    """End this run and go on as `call` under the same workflow id, with a new history. Does not return.

    It raises what no `except Exception` catches. Updates that were accepted end first; activities and timers that are
    pending are cancelled; children are treated as at the run's end. Signals that were not read, updates that wait for a
    handler, callers that await the result and the link to the parent go along.

    Raises BadInput; NotInWorkflow outside of a workflow, and in a handler of a signal or an update."""
    program = current("continue_as_new()")
    given = call if isinstance(call, WorkflowCall) else call_in(call)
    if given is None:
        raise BadInput(f"continue_as_new takes a workflow's call such as fulfil(order), not {call!r}.")
    given.claim()
    if asyncio.current_task() in program.handlers.tasks:
        raise NotInWorkflow("continue_as_new() works only in the workflow itself; let a handler set what `run` reads.")
    raise ContinueAsNew(given)
