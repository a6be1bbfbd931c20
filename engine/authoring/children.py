"""Children with handles: `start_child` waits until a child has started, `child` until it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Generic, TypeVar

from penstock.engine.authoring.class_form import Startable, claimed_call
from penstock.engine.authoring.context import current
from penstock.engine.authoring.definition import ParentClose, WorkflowCall
from penstock.engine.authoring.external import ExternalRun
from penstock.engine.authoring.waiting import Wait
from penstock.engine.execution.loop import RequestFuture
from penstock.schemas.errors import ChildWorkflowFailed
from penstock.schemas.failure import Failure
from penstock.schemas.values.attributes import SearchValue
from penstock.schemas.values.durations import Duration
from penstock.schemas.values.payload import Adapter
from penstock.schemas.values.retry_options import UNSET, Unset

R = TypeVar("R")


class ChildRun(ExternalRun, Generic[R]):
    """A child that has started. `id`: its workflow id; `run_id`: that of its first run, empty if unknown."""

    def __init__(self, workflow_id: str, run_id: str, returns: Adapter[R], future: RequestFuture) -> None:
        super().__init__(workflow_id, run_id)
        self._returns, self._future = returns, future

    def result(self) -> Coroutine[Any, Any, R]:
        """Wait for the child's result; to be awaited, as often as you like.

        Cancelling this wait cancels the child, as `asyncio.timeout` does; `asyncio.shield` prevents that. Raises
        ChildWorkflowFailed if the child failed, was cancelled or terminated, and BadInput if its result does not fit
        the declared type."""
        return Wait(f"{self.workflow_id}.result", self._result())

    async def _result(self) -> R:
        current("ChildRun.result()")
        try:
            data = await self._future
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._future.cancelled() or (task is not None and task.cancelling()):
                raise
            message = f"the child {self.workflow_id} was asked to stop: a wait for its result was cancelled"
            raise ChildWorkflowFailed(failure=Failure(type="", message=message, kind="cancelled")) from None
        return self._returns.decode(data, f"The result of {self.workflow_id}")

    def __repr__(self) -> str:
        return f"<child {self.workflow_id}>"


def start_child(
    call: WorkflowCall[R] | Startable[R],
    *,
    id: str | None = None,
    parent_close: ParentClose | None = None,
    run_timeout: Duration | None = None,
    execution_timeout: Duration | None = None,
    retries: int | Unset | None = UNSET,
    backoff: float | Sequence[Duration] | Unset = UNSET,
    memo: Mapping[str, Any] | None = None,
    search: Mapping[str, SearchValue] | None = None,
) -> Coroutine[Any, Any, ChildRun[R]]:
    """Start `ship(order)`, or an object of a workflow class, as a child; to be awaited until it has started.

    The options are those of a call's `.options(…)`. The run may end without awaiting the child's result;
    `parent_close` says what becomes of a child that is still open then: `cancel` asks it to stop, `terminate` ends it
    at once, `abandon` lets it go on. By default it is cancelled, and terminated if this run was terminated.

    Raises ChildWorkflowFailed if it cannot start, of type `already_exists` if its id is taken; BadName, BadInput,
    BadDuration, PayloadTooLarge."""
    asked = _asked(
        call, "start_child", id, parent_close, run_timeout, execution_timeout, retries, backoff, memo, search
    )
    asked.claim()
    return Wait("start_child", _started(asked))


def child(
    call: WorkflowCall[R] | Startable[R],
    *,
    id: str | None = None,
    parent_close: ParentClose | None = None,
    run_timeout: Duration | None = None,
    execution_timeout: Duration | None = None,
    retries: int | Unset | None = UNSET,
    backoff: float | Sequence[Duration] | Unset = UNSET,
    memo: Mapping[str, Any] | None = None,
    search: Mapping[str, SearchValue] | None = None,
) -> WorkflowCall[R]:
    """Make an object of a workflow class a call with options; awaiting it starts the child and gives its result.

    An example is `await child(Claim(form), id="claim-7")`. For `ship(order)` it is the same as
    `ship(order).options(…)`; the options are those of `start_child`. Awaiting it raises ChildWorkflowFailed.

    Raises BadName, BadInput, BadDuration, PayloadTooLarge."""
    return _asked(call, "child", id, parent_close, run_timeout, execution_timeout, retries, backoff, memo, search)


def _asked(
    call: WorkflowCall[R] | Startable[R],
    taker: str,
    id: str | None,
    parent_close: ParentClose | None,
    run_timeout: Duration | None,
    execution_timeout: Duration | None,
    retries: int | Unset | None,
    backoff: float | Sequence[Duration] | Unset,
    memo: Mapping[str, Any] | None,
    search: Mapping[str, SearchValue] | None,
) -> WorkflowCall[R]:
    """The call with these options."""
    return claimed_call(call, taker).options(
        id=id,
        parent_close=parent_close,
        run_timeout=run_timeout,
        execution_timeout=execution_timeout,
        retries=retries,
        backoff=backoff,
        memo=memo,
        search=search,
    )


async def _started(call: WorkflowCall[R]) -> ChildRun[R]:
    program = current("start_child()")
    asked = call.awaiting_start()
    asked.claim()
    future = program.perform(asked)
    future.ends_first = False
    started = future.started = program.loop.create_future()
    try:
        run_id = await started
    except asyncio.CancelledError:
        future.cancel()
        raise
    future.add_done_callback(_retrieved)
    return ChildRun(future.workflow_id, run_id, call.returns, future)


def _retrieved(future: asyncio.Future[bytes]) -> None:
    """Take the failure of a child: its parent need not wait for it, so nothing is reported as lost."""
    if not future.cancelled():
        future.exception()
