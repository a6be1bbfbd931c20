"""ActivityEnvironment: one activity function, called as a worker would call it."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Coroutine
from typing import Any, NamedTuple, ParamSpec, TypeVar

from penstock.schemas.errors import ActivityCancelledError, BadInput
from penstock.schemas.records.tasks import ActivityTask
from penstock.schemas.values.durations import Duration
from penstock.schemas.values.payload import Adapter, adapter_for
from penstock.schemas.values.retry_options import timeout_ms_of
from penstock.schemas.values.tokens import AttemptToken, write_token
from penstock.workers.activity import info
from penstock.workers.activity.decorator import ActivityDefinition
from penstock.workers.activity.heartbeats import encoded_details

P = ParamSpec("P")
R = TypeVar("R")


class ActivityEnvironment:
    """Where `activity_info()` answers outside of a worker.

        environment = ActivityEnvironment(attempt=3)
        assert environment.run(charge, order) == "paid"

    The fields are those of `activity_info()`; `seed` and `sequence` are parts of the idempotency key. `timeout` gives
    the deadline, by default that of the activity. `heartbeat_details`: those of an earlier attempt; `heartbeats`: the
    details that the activity reported; `is_cancelled`: whether `cancel` was called. Arguments and result go through
    JSON, as between a run and a worker: what has no JSON form, or does not fit, raises BadInput.
    """

    def __init__(
        self,
        *,
        workflow_id: str = "test",
        run_id: str = "test-run",
        attempt: int = 1,
        queue: str = "",
        seed: str = "seed",
        sequence: int = 1,
        timeout: Duration | None = None,
        headers: dict[str, str] | None = None,
        heartbeat_details: Any = None,
    ) -> None:
        self._workflow_id, self._run_id, self._attempt, self._queue = workflow_id, run_id, attempt, queue
        self._seed, self._sequence, self._headers = seed, sequence, headers or {}
        self._timeout_ms = timeout_ms_of(timeout)
        self._details = _DETAILS.encode(heartbeat_details) if heartbeat_details is not None else b""
        self.heartbeats: list[Any] = []
        self.is_cancelled = self._is_async = False
        self._running: asyncio.Task[Any] | None = None

    def run(self, activity: ActivityDefinition[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the activity once, and return its result; an async one on an event loop of its own.

        Raises BadInput, PayloadTooLarge, and what the activity raises."""
        if activity.is_async:
            return asyncio.run(self.run_async(activity, *args, **kwargs))
        result: R = self._entered(activity, self._task(activity, args, kwargs))
        return result

    async def run_async(self, activity: ActivityDefinition[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """As `run`, on the running event loop; a sync activity in a thread. `cancel` cancels it."""
        task = self._task(activity, args, kwargs)
        self._is_async, self.is_cancelled = activity.is_async, False
        awaited: Coroutine[Any, Any, R] = (
            self._awaited(activity, task) if activity.is_async else asyncio.to_thread(self._entered, activity, task)
        )
        running = self._running = asyncio.create_task(awaited)
        try:
            result: R = await running
            return result
        finally:
            self._running = None

    def cancel(self) -> None:
        """Cancel the activity that runs, as a worker does when no run waits for it any more.

        An async one receives `asyncio.CancelledError`, a sync one ActivityCancelledError from its next `heartbeat()`.
        Raises BadInput if none runs."""
        if self._running is None:
            raise BadInput("no activity runs: call cancel() while `run_async` is awaited by another task.")
        self.is_cancelled = True
        if self._is_async:
            self._running.cancel()

    def _task(
        self, activity: ActivityDefinition[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> ActivityTask:
        return ActivityTask(
            workflow_id=self._workflow_id,
            run_id=self._run_id,
            sequence=self._sequence,
            attempt=self._attempt,
            shard=0,
            activity=activity.name,
            input=activity.signature.bind(args, kwargs, activity.name),
            queue=self._queue or activity.queue,
            timeout_ms=self._timeout_ms or activity.timeout_ms,
            seed=self._seed,
            headers=self._headers,
            details=self._details,
        )

    def _entered(self, activity: ActivityDefinition[..., Any], task: ActivityTask) -> Any:
        """Call a sync activity in a context of its own."""
        by_place, by_name = activity.signature.handed(activity.signature.decode(task.input))

        def call() -> Any:
            info.enter(_Attempt(task, time.time(), self, activity.is_async))
            return activity.fn(*by_place, **by_name)

        return _as_received(activity, contextvars.copy_context().run(call))

    async def _awaited(self, activity: ActivityDefinition[..., Any], task: ActivityTask) -> Any:
        by_place, by_name = activity.signature.handed(activity.signature.decode(task.input))
        info.enter(_Attempt(task, time.time(), self, activity.is_async))  # this task has a context of its own
        return _as_received(activity, await activity.fn(*by_place, **by_name))


class _Attempt(NamedTuple):
    """The attempt, as its code sees it."""

    task: ActivityTask
    started_s: float
    environment: ActivityEnvironment
    is_async: bool

    @property
    def token(self) -> str:
        """A token of its form; no namespace accepts it."""
        task = self.task
        named = AttemptToken(task.workflow_id, task.run_id, task.sequence, task.attempt, task.shard)
        return write_token(named, b"penstock.testing")

    @property
    def cancelled(self) -> bool:
        """Whether the test has cancelled it."""
        return self.environment.is_cancelled

    def beat(self, details: Any) -> None:
        """Keep the details, as a run would get them. Raises ActivityCancelledError in a sync one that was cancelled."""
        if self.cancelled and not self.is_async:
            raise ActivityCancelledError(f"The test cancelled activity {self.task.activity}.")
        data = encoded_details(details, self.task.activity)
        self.environment.heartbeats.append(_DETAILS.decode(data))


_DETAILS: Adapter[Any] = adapter_for(None)


def _as_received(activity: ActivityDefinition[..., Any], value: Any) -> Any:
    """The result as a run gets it. Raises BadInput."""
    returns = activity.returns
    return returns.decode(returns.encode(value), f"The result of {activity.name}")
