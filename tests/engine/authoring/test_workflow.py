"""Tests of the workflow decorator."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import pytest

from penstock.engine.authoring.workflow import workflow
from penstock.schemas.errors import BadInput, BadName, WorkflowFailedError
from tests.engine.core import flows
from tests.engine.stage import Stage


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


def _reads_by_name(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return f"{kwargs['tenant']}: {await fn(*args, **kwargs)}"

    return wrapper


@workflow
@_reads_by_name
async def counts_for_tenant(n: int, tenant: str = "acme") -> str:
    return f"{await flows.add(n, 1)} {tenant}"


def test_a_workflow_under_another_decorator() -> None:
    """A wrapper that reads an argument by its name finds it, live and on replay."""
    stage = Stage(counts_for_tenant)
    stage.start(counts_for_tenant, 1)
    stage.restart()
    stage.run(add=lambda a, b: a + b)
    assert stage.described()["result"] == "acme: 2 acme"


def test_a_sync_wrapper_of_an_async_workflow_is_named() -> None:
    """An async function whose decorator returns a sync one is refused for the decorator."""
    with pytest.raises(BadName, match="a decorator of slow returns a sync one"):

        @workflow  # type: ignore[call-overload]
        @_without_await
        async def slow() -> None: ...


def _without_await(fn: Callable[..., Any]) -> Callable[..., Any]:
    return functools.wraps(fn)(lambda *args, **kwargs: fn(*args, **kwargs))


def test_workflows_of_one_name_under_one_decorator() -> None:
    """Two functions of the same name are told apart although their wrappers are the same code."""
    code = "@workflow(name='twice')\n@_reads_by_name\nasync def twice(tenant: str) -> None: ...\n"
    names = {"workflow": workflow, "_reads_by_name": _reads_by_name}
    exec(compile(code, "one.py", "exec"), dict(names, __name__="one"))
    with pytest.raises(BadName, match="Two workflows are called 'twice': one in one, one in two"):
        exec(compile(code, "two.py", "exec"), dict(names, __name__="two"))


def test_options_that_follow_each_other() -> None:
    """Options that are given later override earlier ones, `retries=0` too; those that are not given stay."""
    call = counts_for_tenant(1).options(id="a", retries=3, run_timeout="1s").options(run_timeout="2s")
    assert (call.request.workflow_id, call.request.run_timeout_ms) == ("a", 2_000)
    assert call.request.retry is not None
    assert call.request.retry.retries_max == 3
    last = call.options(retries=0)
    last.claim()
    assert last.request.retry is None
