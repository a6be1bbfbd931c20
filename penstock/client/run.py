"""Handles on runs: await the result, send commands, read state and history."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Generic, TypeVar

from penstock.client.connection import Connection
from penstock.client.deadline import deadline_after, seconds_left
from penstock.client.outcome import result_of
from penstock.client.reads import Json, JsonList
from penstock.engine.authoring.signal import Signal
from penstock.schemas.errors import NotAnswered, PenstockError, StillRunning
from penstock.schemas.ids import check_given_message_id, check_signal_name
from penstock.schemas.records.run import CancelWorkflow, RetryWorkflow, TerminateWorkflow
from penstock.schemas.records.signal import SignalWorkflow
from penstock.schemas.values.durations import Duration
from penstock.schemas.values.payload import Adapter, adapter_for, check_reason, check_size

R = TypeVar("R")
T = TypeVar("T")

ASK_AGAIN_S = 600.0  # replies are kept for an hour: a long wait asks again well before that
SERVED_ATTEMPTS_MAX = 2  # the first may meet the shard's former owner, the second meets the new one
SERVED_TIMEOUT_S = 1.0
STORE_LAG_S = 2.0
STORE_POLL_S = 0.01
CLOSING_EVENTS = ("WorkflowCompleted", "WorkflowFailed", "WorkflowCancelled", "WorkflowTerminated")


class Run(Generic[R]):
    """A handle on one run (`run_id`), or on the current run of an id (`run_id` empty).

    `existing`: True if the start that returned this handle joined a run that was there already. `note`: what the
    processor remarked about the start, such as that the run has another input; empty for nothing.
    """

    def __init__(
        self,
        connection: Connection,
        id: str,
        run_id: str,
        returns: Adapter[R],
        *,
        existing: bool = False,
        note: str = "",
    ) -> None:
        self._connection, self._returns = connection, returns
        self.id, self.run_id, self.existing, self.note = id, run_id, existing, note
        self._known_closed = False

    async def result(self, timeout: Duration | None = None) -> R:
        """Return the workflow's result; waits until the run closes, by default without a time limit.

        Raises WorkflowFailedError, WorkflowCancelledError, WorkflowTerminatedError; StillRunning (a TimeoutError) after
        `timeout`; WorkflowNotFound, BadInput (the result does not fit the declared type).
        """
        deadline = deadline_after(timeout)
        watch = asyncio.create_task(self._warn_while_unserved(deadline))
        hindrance, closed = self._connection.hindrance, self._await_result(deadline)
        try:
            return await (closed if hindrance is None else _unless(hindrance(self.id, self.run_id), closed))
        finally:
            watch.cancel()

    async def signal(self, signal: Signal[T] | str, value: T | None = None, *, id: str | None = None) -> None:
        """Send a signal; returns once the run has received it. With a name, `value` is encoded as plain JSON.

        `id`: of your choice, at most 255 printable characters. A command with an id that took effect for this workflow
        id before has no effect again, for as long as that run is kept: after NotAnswered, send the signal again with
        the same id. By default each call is another signal.

        Raises BadInput (the value has no JSON form) and BadName (the name or `id` is invalid) before anything is sent;
        CommandRejected (the processor's modules declare a signal of that name which the value does not fit),
        WorkflowNotFound, WorkflowAlreadyClosed, NotAnswered.
        """
        adapter: Adapter[Any] = signal.adapter if isinstance(signal, Signal) else adapter_for(Any)
        name = signal.name if isinstance(signal, Signal) else signal
        await self.signal_json(name, adapter.encode(value), id=id)

    async def signal_json(self, signal: str, value: bytes, *, id: str | None = None) -> None:
        """Send a signal whose value is JSON bytes already; otherwise as `signal`."""
        check_signal_name(signal)
        check_size(value, what=f"the value of signal {signal}")
        target = self._target() if id is None else {**self._target(), "message_id": check_given_message_id(id)}
        accepted = await self._connection.send(SignalWorkflow(signal=signal, input=value, **target))
        if accepted.note:
            self._connection.exchange.unanswered.warn(f"note on the signal to {self.id}: {accepted.note}.")

    async def cancel(self, reason: str = "") -> None:
        """Request cancellation; the workflow may clean up. Raises WorkflowNotFound, WorkflowAlreadyClosed, NotAnswered,
        and PayloadTooLarge for a reason over 2,000 characters.

        Returns once the request is recorded; `result` waits for the end.
        """
        check_reason(reason)
        await self._connection.send(CancelWorkflow(reason=reason, **self._target()))

    async def terminate(self, reason: str = "") -> None:
        """End the run at once; nothing is undone. Raises as `cancel` does."""
        check_reason(reason)
        await self._connection.send(TerminateWorkflow(reason=reason, **self._target()))

    async def retry(self) -> None:
        """Retry a BLOCKED run.

        Raises CommandRejected (the run is not BLOCKED), WorkflowNotFound, WorkflowAlreadyClosed, NotAnswered.
        """
        await self._connection.send(RetryWorkflow(**self._target()))

    async def describe(self) -> Json:
        """Return the run's type, status, times, result or failure, and what it waits for. Raises WorkflowNotFound."""
        return await self._read(
            lambda: self._connection.reads.describe(self.id), shows_close=lambda run: bool(run["closed_ms"])
        )

    async def history(self) -> JsonList:
        """Return the run's numbered events. Raises WorkflowNotFound."""
        return await self._read(
            lambda: self._connection.reads.history(self.id, self.run_id),
            shows_close=lambda events: events[-1]["event"] in CLOSING_EVENTS,
        )

    def __repr__(self) -> str:
        return f"<run {self.run_id or 'current'} of {self.id}>"

    async def _await_result(self, deadline: float | None) -> R:
        while True:
            left_s = seconds_left(deadline)
            timeout_s = ASK_AGAIN_S if left_s is None else min(left_s, ASK_AGAIN_S)
            try:
                closed = await self._connection.await_close(self.id, self.run_id, timeout_s)
            except NotAnswered:
                if seconds_left(deadline) == 0.0:
                    raise await self._still_running() from None
                continue
            if closed is not None:
                self._known_closed = not self.run_id or self.run_id == closed.run_id
                return result_of(closed, self._returns)

    async def _warn_while_unserved(self, deadline: float | None) -> None:
        # AwaitResult has no reply while the run is open, nor while no processor runs: reads distinguish the two.
        unanswered = self._connection.exchange.unanswered
        await asyncio.sleep(unanswered.after_s)
        while True:
            if unanswered.check_due():
                here = self._connection.settings.embedded
                served = await self._connection.reads.is_served(self.id, here=here)
                if served:
                    unanswered.reset()
                elif served is not None:
                    unanswered.result(self.id, seconds_left(deadline))
            await asyncio.sleep(unanswered.check_every_s)

    async def _still_running(self) -> StillRunning:
        """Build the error for a run that did not close in time: it is open, or no processor serves it."""
        settings = self._connection.settings
        served: bool | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SERVED_TIMEOUT_S):
                served = await self._connection.reads.is_served(
                    self.id, here=settings.embedded, attempts=SERVED_ATTEMPTS_MAX
                )
        if not served:
            unreachable = "check that the log can be reached."
            remedy = unreachable if served is None else self._connection.exchange.unanswered.remedy
            return StillRunning(f"no processor answered in time, so it is not known whether {self.id} closed: {remedy}")
        where = "`describe()`" if settings.in_memory else f"`penstock show {self.id}`"
        return StillRunning(
            f"{self.id} did not close in time; its run stays open, and {where} shows what it waits for."
        )

    async def _read(self, read: Callable[[], Awaitable[T]], shows_close: Callable[[T], bool]) -> T:
        # A processor replies with the commit and writes its store just after it: once this handle has returned the
        # run's end, reads must show it.
        deadline = time.monotonic() + (STORE_LAG_S if self._known_closed else 0)
        while True:
            found = await read()
            if shows_close(found) or time.monotonic() >= deadline:
                return found
            await asyncio.sleep(STORE_POLL_S)

    def _target(self) -> Mapping[str, Any]:
        return {"workflow_id": self.id, "run_id": self.run_id, **self._connection.reply_address()}


async def _unless(hindrance: Coroutine[Any, Any, PenstockError], closed: Coroutine[Any, Any, R]) -> R:
    """Return the result, unless the hindrance comes first: then raise it."""
    hindered, result = asyncio.create_task(hindrance), asyncio.create_task(closed)
    try:
        await asyncio.wait({hindered, result}, return_when=asyncio.FIRST_COMPLETED)
        if result.done():
            return result.result()
        raise hindered.result()
    finally:
        hindered.cancel()
        result.cancel()
