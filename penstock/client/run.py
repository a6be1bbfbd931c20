"""Handles on runs: await the result, send commands, read state and history."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import Any, Generic, TypeVar, overload

import msgspec

from penstock.client.changes import Backoff, changes_of
from penstock.client.connection import ANSWER_TIMEOUT_S, Connection
from penstock.client.deadline import deadline_after, seconds_left, seconds_or, within
from penstock.client.outcome import result_of
from penstock.client.pending import encoded_json, pending_number
from penstock.client.reads import Json, JsonList
from penstock.client.update import UpdateHandle, answered, encoded, named, reader
from penstock.engine.authoring.handlers import Query, QueryMethod, SignalMethod, Update, UpdateMethod, encoded_signal
from penstock.engine.authoring.signal import Signal
from penstock.schemas.errors import NotAnswered, PenstockError, StillRunning
from penstock.schemas.ids import check_given_message_id, check_query_name, check_signal_name, check_update_name
from penstock.schemas.records.activity import ChangeActivity, SkipActivity
from penstock.schemas.records.pause import PauseWorkflow, ResumeWorkflow
from penstock.schemas.records.query import QueryWorkflow
from penstock.schemas.records.replies import QueryAnswered, Reply, RunClosed
from penstock.schemas.records.reset import ResetWorkflow, RetryWorkflow
from penstock.schemas.records.retention import DeleteWorkflow
from penstock.schemas.records.run import CancelWorkflow, StartWorkflow, TerminateWorkflow, UnblockWorkflow
from penstock.schemas.records.signal import SignalWorkflow
from penstock.schemas.records.update import UpdateWorkflow, WaitFor
from penstock.schemas.values.durations import Duration
from penstock.schemas.values.payload import Adapter, check_reason, check_size
from penstock.schemas.values.retry_options import UNSET, Unset

R = TypeVar("R")
R2 = TypeVar("R2")
T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")

ASK_AGAIN_S = 600.0  # replies are kept for an hour: a long wait asks again well before that
REPLY_MARGIN_S = 60.0
SERVED_ATTEMPTS_MAX = 2  # the first may meet the shard's former owner, the second meets the new one
SERVED_TIMEOUT_S = 1.0
STORE_LAG_S = 2.0
STORE_POLL_S = 0.01
CLOSING_EVENTS = frozenset(
    {
        "WorkflowCompleted",
        "WorkflowFailed",
        "WorkflowTimedOut",
        "HistoryExceeded",
        "WorkflowCancelled",
        "WorkflowTerminated",
    }
)


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
        return await self._result(self._await_result(deadline), deadline)

    async def result_of(self, start: StartWorkflow, timeout: Duration | None) -> R:
        """As `result`, of the run that this start starts or joins, whose sender awaits the result."""
        deadline = deadline_after(timeout)
        return await self._result(self._await_start(start, deadline), deadline)

    async def update_of(
        self, start: StartWorkflow, update: Any, values: tuple[Any, ...], id: str | None, timeout: Duration | None
    ) -> Any:
        """As `update`, of the run that this start starts or joins."""
        asked = self._update(update, values, id, timeout, "completed")
        command = msgspec.structs.replace(
            start,
            update=asked.update,
            handed=asked.input,
            message_id=asked.message_id,
            await_result=True,
            await_ms=asked.timeout_ms,
        )
        return await self._handle(command, update).result(timeout)

    @overload
    async def signal(self, signal: Signal[T] | str, value: T | None = None, /, *, id: str | None = None) -> None: ...
    @overload
    async def signal(self, signal: SignalMethod[[], Any], /, *, id: str | None = None) -> None: ...
    @overload
    async def signal(self, signal: SignalMethod[[A], Any], a: A, /, *, id: str | None = None) -> None: ...
    @overload
    async def signal(self, signal: SignalMethod[[A, B], Any], a: A, b: B, /, *, id: str | None = None) -> None: ...
    @overload
    async def signal(
        self, signal: SignalMethod[[A, B, C], Any], a: A, b: B, c: C, /, *, id: str | None = None
    ) -> None: ...
    @overload
    async def signal(
        self, signal: SignalMethod[[A, B, C, D], Any], a: A, b: B, c: C, d: D, /, *, id: str | None = None
    ) -> None: ...
    async def signal(self, signal: Any, /, *values: Any, id: str | None = None) -> None:
        """Send a signal; returns once the run has received it. With a name, `value` is encoded as plain JSON.

        `id`: of your choice, at most 255 printable characters. A command with an id that took effect for this workflow
        id before has no effect again, for as long as that run is kept: after NotAnswered, send the signal again with
        the same id. Another message under such an id is refused. By default each call is another signal.

        Raises BadInput (the value has no JSON form) and BadName (the name or `id` is invalid) before anything is sent;
        CommandRejected (the processor's modules declare a signal of that name which the value does not fit, or the id
        is that of another message), WorkflowNotFound, WorkflowAlreadyClosed, NotAnswered.
        """
        name, data = encoded_signal(signal, values)
        await self.signal_json(name, data, id=id)

    async def signal_json(self, signal: str, value: bytes, *, id: str | None = None) -> None:
        """Send a signal whose value is JSON bytes already; otherwise as `signal`."""
        check_signal_name(signal)
        check_size(value, what=f"the value of signal {signal}")
        accepted = await self._connection.send(SignalWorkflow(signal=signal, input=value, **self._target(id)))
        if accepted.note:
            self._connection.exchange.unanswered.warn(f"note on the signal to {self.id}: {accepted.note}.")

    @overload
    async def query(self, query: str, /, *values: Any, timeout: Duration | None = None) -> Any: ...
    @overload
    async def query(self, query: Query[R2] | QueryMethod[[], R2], /, *, timeout: Duration | None = None) -> R2: ...
    @overload
    async def query(self, query: QueryMethod[[A], R2], a: A, /, *, timeout: Duration | None = None) -> R2: ...
    @overload
    async def query(self, query: QueryMethod[[A, B], R2], a: A, b: B, /, *, timeout: Duration | None = None) -> R2: ...
    @overload
    async def query(
        self, query: QueryMethod[[A, B, C], R2], a: A, b: B, c: C, /, *, timeout: Duration | None = None
    ) -> R2: ...
    @overload
    async def query(
        self, query: QueryMethod[[A, B, C, D], R2], a: A, b: B, c: C, d: D, /, *, timeout: Duration | None = None
    ) -> R2: ...
    async def query(self, query: Any, /, *values: Any, timeout: Duration | None = None) -> Any:
        """Return what the run's code answers to a query: a method such as `Claim.status`, a token, or a name.

        The answer shows what is committed. A closed run answers as long as it is kept. `timeout`: 30 s by default.

        Raises BadInput, BadName before anything is sent; UnknownQuery, QueryFailedError (its handler raised),
        CommandRejected (the arguments do not fit, or the run is BLOCKED), WorkflowNotFound, NotAnswered.
        """
        return reader(query)(await self.query_json(named(query, "query"), encoded(query, values), timeout=timeout))

    async def query_json(self, query: str, value: bytes = b"null", *, timeout: Duration | None = None) -> bytes:
        """As `query`, with arguments and answer as JSON bytes."""
        check_query_name(query)
        timeout_s = seconds_or(deadline_after(timeout), ANSWER_TIMEOUT_S)
        command = QueryWorkflow(query=query, input=value, timeout_ms=max(1, int(timeout_s * 1000)), **self._target())
        reply = await self._connection.ask(command, timeout_s)
        assert isinstance(reply, QueryAnswered), "a query is answered"
        return answered(reply, query)

    @overload
    async def update(
        self, update: str, /, *values: Any, id: str | None = None, timeout: Duration | None = None
    ) -> Any: ...
    @overload
    async def update(
        self,
        update: Update[None, R2] | UpdateMethod[[], R2],
        /,
        *,
        id: str | None = None,
        timeout: Duration | None = None,
    ) -> R2: ...
    @overload
    async def update(
        self,
        update: Update[A, R2] | UpdateMethod[[A], R2],
        a: A,
        /,
        *,
        id: str | None = None,
        timeout: Duration | None = None,
    ) -> R2: ...
    @overload
    async def update(
        self,
        update: UpdateMethod[[A, B], R2],
        a: A,
        b: B,
        /,
        *,
        id: str | None = None,
        timeout: Duration | None = None,
    ) -> R2: ...
    @overload
    async def update(
        self,
        update: UpdateMethod[[A, B, C], R2],
        a: A,
        b: B,
        c: C,
        /,
        *,
        id: str | None = None,
        timeout: Duration | None = None,
    ) -> R2: ...
    @overload
    async def update(
        self,
        update: UpdateMethod[[A, B, C, D], R2],
        a: A,
        b: B,
        c: C,
        d: D,
        /,
        *,
        id: str | None = None,
        timeout: Duration | None = None,
    ) -> R2: ...
    async def update(self, update: Any, /, *values: Any, id: str | None = None, timeout: Duration | None = None) -> Any:
        """Call an update of the run: a method such as `Claim.amend`, a token, or a name; returns its result.

        `id`: of your choice, as for `signal`: an update with that id happens once, and a repetition gets its outcome,
        for as long as the run is kept. `timeout`: how long to wait, by default until the update has completed; an
        update that the run has no handler for yet is held so long, 30 s by default.

        Raises BadInput, BadName before anything is sent; UnknownUpdate, UpdateRejected (by its validator),
        UpdateFailedError (its handler raised, or the run closed), CommandRejected (the arguments do not fit, the run is
        BLOCKED, or the id is that of another message), WorkflowNotFound, WorkflowAlreadyClosed, NotAnswered (send it
        again with the same id).
        """
        command = self._update(update, values, id, timeout, "completed")
        handle: UpdateHandle[Any] = self._handle(command, update)
        return await handle.result(timeout)

    @overload
    async def start_update(
        self, update: str, /, *values: Any, id: str | None = None, timeout: Duration | None = None
    ) -> UpdateHandle[Any]: ...
    @overload
    async def start_update(
        self,
        update: Update[None, R2] | UpdateMethod[[], R2],
        /,
        *,
        id: str | None = None,
        timeout: Duration | None = None,
    ) -> UpdateHandle[R2]: ...
    @overload
    async def start_update(
        self,
        update: Update[A, R2] | UpdateMethod[[A], R2],
        a: A,
        /,
        *,
        id: str | None = None,
        timeout: Duration | None = None,
    ) -> UpdateHandle[R2]: ...
    @overload
    async def start_update(
        self,
        update: UpdateMethod[[A, B], R2],
        a: A,
        b: B,
        /,
        *,
        id: str | None = None,
        timeout: Duration | None = None,
    ) -> UpdateHandle[R2]: ...
    async def start_update(
        self, update: Any, /, *values: Any, id: str | None = None, timeout: Duration | None = None
    ) -> UpdateHandle[Any]:
        """As `update`, but returns as soon as it was accepted; `handle.result()` waits for its end.

        `timeout`: how long to wait for that, 30 s by default."""
        command = self._update(update, values, id, timeout, "accepted")
        await self._connection.ask(command, seconds_or(deadline_after(timeout), ANSWER_TIMEOUT_S))
        return self._handle(msgspec.structs.replace(command, wait_for="completed"), update)

    async def cancel(self, reason: str = "") -> None:
        """Request cancellation; the workflow may clean up. Raises WorkflowNotFound, WorkflowAlreadyClosed, NotAnswered,
        and PayloadTooLarge for a reason over 2,000 characters.

        Returns once the request is recorded; `result` waits for the end. `reason`: the text of the CancelledError that
        the code receives. A second request does not interrupt its cleaning up.
        """
        check_reason(reason)
        await self._connection.send(CancelWorkflow(reason=reason, **self._target()))

    async def terminate(self, reason: str = "") -> None:
        """End the run at once; nothing is undone. Raises as `cancel` does."""
        check_reason(reason)
        await self._connection.send(TerminateWorkflow(reason=reason, **self._target()))

    async def unblock(self, reason: str = "", *, by: str = "") -> None:
        """Let a BLOCKED run go on, once its code or its topics were corrected. `by`: who asks for it; the history keeps
        both.

        Raises CommandRejected (the run is not BLOCKED), WorkflowNotFound, WorkflowAlreadyClosed, NotAnswered, and
        PayloadTooLarge for a reason over 2,000 characters.
        """
        check_reason(reason)
        await self._connection.send(UnblockWorkflow(reason=reason, by=by, **self._target()))

    async def pause(self, reason: str = "", *, by: str = "") -> None:
        """Halt the run until `resume`: its code receives nothing and no attempt of an activity begins; what comes is
        recorded. Attempts that run go on. `by`: who asks for it; the history keeps both.

        A run that is paused already stays so. Its timeouts go on. Raises WorkflowNotFound, WorkflowAlreadyClosed,
        NotAnswered, and PayloadTooLarge for a reason over 2,000 characters.
        """
        check_reason(reason)
        await self._connection.send(PauseWorkflow(reason=reason, by=by, **self._target()))

    async def resume(self, reason: str = "", *, by: str = "") -> None:
        """Let a paused run go on: its code receives what was recorded, in order.

        Raises CommandRejected (the run is not paused), otherwise as `pause`.
        """
        check_reason(reason)
        await self._connection.send(ResumeWorkflow(reason=reason, by=by, **self._target()))

    async def skip(self, activity: str | int, value: Any = None, *, reason: str = "", by: str = "") -> None:
        """Give an activity that the run waits for a result by hand: its code goes on as if an attempt had returned it.

        `activity`: its number in the history, or its name if the run waits for one activity of that name. `value`: the
        result, encoded as plain JSON; it should fit what the activity returns. An attempt that runs is cancelled, and
        its result is ignored. `by`: who asks for it; the history keeps all of it.

        Raises BadInput (the value has no JSON form, or the name is that of no pending activity or of several);
        CommandRejected (no activity with that number is pending), WorkflowNotFound, WorkflowAlreadyClosed, NotAnswered.
        """
        await self.skip_json(activity, encoded_json(value, "the result"), reason=reason, by=by)

    async def skip_json(self, activity: str | int, value: bytes, *, reason: str = "", by: str = "") -> None:
        """As `skip`, with the result as JSON bytes."""
        check_reason(reason)
        sequence = activity if isinstance(activity, int) else pending_number(await self.describe(), activity)
        await self._connection.send(
            SkipActivity(sequence=sequence, result=value, reason=reason, by=by, **self._target())
        )

    async def change_activity(
        self,
        activity: str | int,
        *,
        queue: str = "",
        timeout: Duration | Unset | None = UNSET,
        retries: int | Unset | None = UNSET,
        backoff: Backoff | Unset = UNSET,
        schedule_to_start: Duration | Unset | None = UNSET,
        schedule_to_close: Duration | Unset | None = UNSET,
        heartbeat: Duration | Unset | None = UNSET,
        now: bool = False,
        reason: str = "",
        by: str = "",
    ) -> None:
        """Change options of an activity that the run waits for, as those of `@activity`; others stay as they are.

        `activity`: as in `skip`. `queue` and `timeout` are those of the next attempt. `now`: it begins at once, and an
        attempt that runs is cancelled. `by`: who asks for it; the history keeps all of it.

        Raises BadInput, BadDuration, CommandRejected (no such activity is pending, or no option is given),
        WorkflowNotFound, WorkflowAlreadyClosed, NotAnswered.
        """
        check_reason(reason)
        fields = changes_of(
            queue=queue,
            timeout=timeout,
            retries=retries,
            backoff=backoff,
            schedule_to_start=schedule_to_start,
            schedule_to_close=schedule_to_close,
            heartbeat=heartbeat,
        )
        sequence = activity if isinstance(activity, int) else pending_number(await self.describe(), activity)
        await self._connection.send(
            ChangeActivity(sequence=sequence, now=now, reason=reason, by=by, **fields, **self._target())
        )

    async def reset(self, *, to_event: int, reason: str = "", of_run: str = "", by: str = "") -> None:
        """Let the run go on from an earlier point of its history, in a new run of its id; this handle follows it.

        `to_event`: number of the last event to keep; the cut is at the end of a decision, that one or the one before,
        and 0 begins anew. Activities, timers and children that are open there stay open: attempts that run count.
        Signals, updates and answers that came later are received again. `of_run`: id of an earlier run whose history is
        taken, while it is kept and no run of the id is open. `by`: who asks for it; the history keeps both.

        Raises CommandRejected (there is no such event, or today's code cannot repeat the history so far),
        WorkflowNotFound (its history is no longer kept), NotAnswered.
        """
        check_reason(reason)
        command = ResetWorkflow(to_event=to_event, base_run_id=of_run, reason=reason, by=by, **self._target())
        await self._connection.send(command)

    async def retry(self, reason: str = "", *, force: bool = False, by: str = "") -> None:
        """Let a failed run go on from before the activity or child that failed, in a new run; this handle follows it.

        That step is tried again, an activity with its idempotency key. `force`: also if the code went on after the
        failure, as compensation does. `by`: who asks for it; the history keeps both.

        Raises CommandRejected (the run has not failed, or `force` is needed), otherwise as `reset`.
        """
        check_reason(reason)
        await self._connection.send(RetryWorkflow(force=force, reason=reason, by=by, **self._target()))

    async def delete(self, reason: str = "", *, force: bool = False, by: str = "") -> None:
        """Remove at once what processors keep of a closed run, and of all earlier runs of its id.

        The id begins anew: ids of messages are forgotten, so that a start which is sent again starts a run. The topics
        keep their records of it. `force`: also if the run is open, which is terminated first. `by`: who asks for it;
        the topic `events` keeps both.

        Raises CommandRejected (the run is open), WorkflowNotFound, NotAnswered, and PayloadTooLarge for a reason over
        2,000 characters.
        """
        check_reason(reason)
        await self._connection.send(DeleteWorkflow(force=force, reason=reason, by=by, **self._target()))

    async def describe(self) -> Json:
        """Return the run's type, status, times, result or failure, what it waits for and answers to, and what describes
        it: `memo`, `search`, `details`. Raises WorkflowNotFound."""
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

    def _update(
        self, update: Any, values: tuple[Any, ...], id: str | None, timeout: Duration | None, wait_for: WaitFor
    ) -> UpdateWorkflow:
        left_s = seconds_left(deadline_after(timeout))
        return UpdateWorkflow(
            update=check_update_name(named(update, "update")),
            input=encoded(update, values),
            wait_for=wait_for,
            timeout_ms=0 if left_s is None else max(1, int(left_s * 1000)),
            **self._target(id),
        )

    def _handle(self, command: UpdateWorkflow | StartWorkflow, update: Any) -> UpdateHandle[Any]:
        return UpdateHandle(
            self.id, command.message_id, reader(update), lambda timeout: self._await_update(command, timeout)
        )

    async def _await_update(self, command: UpdateWorkflow | StartWorkflow, timeout: Duration | None) -> Reply:
        """Ask for the update's end until it is known: the same command again is answered from what is known."""
        deadline = deadline_after(timeout)
        with self._watched(deadline):
            return await _until_answered(lambda s: self._connection.ask(command, s, at_once=False), deadline)

    async def _result(self, closed: Coroutine[Any, Any, R], deadline: float | None) -> R:
        """Await the run's end, unless a hindrance comes first. Raises StillRunning at the deadline."""
        hindrance = self._connection.hindrance
        with self._watched(deadline):
            try:
                return await (closed if hindrance is None else _unless(hindrance(self.id, self.run_id), closed))
            except NotAnswered:
                raise await self._still_running() from None

    @contextlib.contextmanager
    def _watched(self, deadline: float | None) -> Iterator[None]:
        """Warn while no processor serves the run that is waited for."""
        watch = asyncio.create_task(self._warn_while_unserved(deadline))
        try:
            yield
        finally:
            watch.cancel()

    async def _await_start(self, start: StartWorkflow, deadline: float | None) -> R:
        def ask(timeout_s: float) -> Awaitable[Reply]:
            asked = msgspec.structs.replace(start, await_ms=int((timeout_s + REPLY_MARGIN_S) * 1000))
            return self._connection.ask(asked, timeout_s, at_once=False)

        reply = await _until_answered(ask, deadline)
        if isinstance(reply, RunClosed):
            self._known_closed = True
            return result_of(reply, self._returns)
        return await self._await_result(deadline)  # another run of the id took this start before

    async def _await_result(self, deadline: float | None) -> R:
        while True:
            closed = await _until_answered(lambda s: self._connection.await_close(self.id, self.run_id, s), deadline)
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

    def _target(self, message_id: str | None = None) -> Mapping[str, Any]:
        """Fields of a command to this run. `message_id`: that its sender chose. Raises BadName."""
        target = {"workflow_id": self.id, "run_id": self.run_id, **self._connection.reply_address()}
        return target if message_id is None else {**target, "message_id": check_given_message_id(message_id)}


async def _until_answered(ask: Callable[[float], Awaitable[T]], deadline: float | None) -> T:
    """Ask, for so many seconds, until there is an answer. Raises NotAnswered at the deadline."""
    while True:
        try:
            return await ask(within(deadline, ASK_AGAIN_S))
        except NotAnswered:
            if seconds_left(deadline) == 0.0:
                raise


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
