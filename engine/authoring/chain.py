"""Continuing a run as a new one, with no history."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

from penstock.engine.authoring.class_form import Startable, claimed_call
from penstock.engine.authoring.context import current
from penstock.engine.execution.continuing import ContinueAsNew
from penstock.schemas.errors import NotInWorkflow
from penstock.schemas.values.call import Call


def continue_as_new(call: Call[Any] | Startable[Any]) -> NoReturn:
    """End this run and go on as `call` under the same workflow id, with a new history. Does not return.

    It raises what no `except Exception` catches. Updates that were accepted end first; activities and timers that are
    pending are cancelled; children are treated as at the run's end. Signals that were not read, updates that wait for a
    handler, callers that await the result and the link to the parent go along.

    Raises BadInput; NotInWorkflow outside of a workflow, and in any other task than that of the workflow itself: in a
    handler of a signal or an update, and in a task that the workflow created."""
    given = claimed_call(call, "continue_as_new")
    program = current("continue_as_new()")
    if not program.is_main(asyncio.current_task()):
        raise NotInWorkflow(
            "continue_as_new() works only in the workflow itself, not in a handler or in another task: let that set or "
            "return what the workflow reads, and call it there."
        )
    raise ContinueAsNew(given)
