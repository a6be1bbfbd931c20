"""How workflow code says that it goes on in a new run."""

from __future__ import annotations

import asyncio
from typing import Any

from penstock.schemas.records.chain import WorkflowContinued
from penstock.schemas.values.call import Call
from penstock.schemas.values.requests import ChildRequest


class ContinueAsNew(BaseException):
    """Leaves the workflow's main function; the run goes on as this call. No Exception: clean-up code is not for it."""

    def __init__(self, call: Call[Any]) -> None:
        super().__init__(f"the run continues as {call.name}(…)")
        self.call = call


def continuation(error: BaseException | None) -> ContinueAsNew | None:
    """The request to go on in a new run that an error is, also in the group that a TaskGroup makes of it; else None.

    A group in which something else failed as well is a failure."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error if isinstance(error, ContinueAsNew) else None


def continued_as(call: Call[Any]) -> WorkflowContinued:
    """The request of a run that goes on as this call."""
    asked = call.request
    version = asked.version if isinstance(asked, ChildRequest) else 0
    return WorkflowContinued(workflow_type=call.name, input=call.input, version=version)


def continues(main: asyncio.Task[Any] | None) -> bool:
    """Whether the task of a workflow has ended by going on in a new run, which begins when its handlers have ended."""
    return main is not None and main.done() and not main.cancelled() and continuation(main.exception()) is not None
