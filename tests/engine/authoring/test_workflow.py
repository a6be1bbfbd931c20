"""Tests of the workflow decorator."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.engine.authoring.workflow import workflow
from penstock.schemas.errors import BadInput, WorkflowFailedError
from tests.engine.core import flows


def test_awaiting_a_workflow_outside_of_a_run() -> None:
    """A workflow awaited outside of a run raises an error that names client.start."""

    async def wrong() -> None:
        await flows.five(1)

    with pytest.raises(Exception, match=r"client\.start"):
        asyncio.run(wrong())


def test_a_plain_function_is_no_workflow() -> None:
    """@workflow raises at once for a function that is not async."""
    with pytest.raises(Exception, match="async def"):
        workflow(lambda: None)  # type: ignore[call-overload]


def test_options_of_a_workflow_change_a_copy() -> None:
    """`.options` of a workflow's call leaves the call as it is, so that one call can become several children."""
    call = flows.five(1)
    first, second = call.options(id="a"), call.options(id="b")
    for each in (call, first, second):
        each.claim()
    assert (call.request.workflow_id, first.request.workflow_id, second.request.workflow_id) == ("", "a", "b")


@pytest.mark.parametrize(
    "wrong", ["KeyError", KeyError, (KeyError, "x"), (int,), (BaseException,), (WorkflowFailedError,)]
)
def test_blocks_on_takes_exception_classes(wrong: Any) -> None:
    """@workflow refuses at once a `blocks_on` that is no collection of exception classes, or has a WorkflowError."""
    with pytest.raises(BadInput, match="blocks_on"):
        workflow(blocks_on=wrong)
