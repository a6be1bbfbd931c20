"""Client: start, watch and steer workflows over the log.

Commands are published on the topic `commands`, replies arrive on `replies` (exchange.py). `describe`, `history` and
`list` are read from the processors over HTTP, or over the log (reads.py).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, overload

import msgspec

from penstock.client import outside
from penstock.client.checks import Wait, check_list_filters, check_named_start, check_wait
from penstock.client.connection import Connection
from penstock.client.deadline import deadline_after
from penstock.client.exchange import Exchange
from penstock.client.lifecycle import AsyncLifecycle
from penstock.client.moving import exported, import_command
from penstock.client.pending import encoded_json
from penstock.client.reads import Json, JsonList, Reads
from penstock.client.run import Run
from penstock.client.schedules import Schedules
from penstock.client.starting import StartOptions, check_options, start_command
from penstock.client.uuid7 import uuid7
from penstock.client.versions import Versions
from penstock.config import Settings, load
from penstock.engine.authoring.class_form import Startable, claimed_call
from penstock.engine.authoring.definition import WorkflowCall
from penstock.engine.authoring.handlers import SignalMethod, Update, UpdateMethod, encoded_signal
from penstock.engine.authoring.signal import Signal
from penstock.schemas.errors import PenstockError, UserError
from penstock.schemas.ids import check_signal_name, check_workflow_id
from penstock.schemas.records.kinds import NO_REPLY
from penstock.schemas.records.run import OnExisting, StartWorkflow
from penstock.schemas.values.attributes import SearchValue
from penstock.schemas.values.call import Call
from penstock.schemas.values.durations import Duration, Moment
from penstock.schemas.values.payload import Adapter, adapter_for, check_reason
from penstock.schemas.values.requests import ChildRequest
from penstock.schemas.values.retry_options import UNSET, Unset
from penstock.topics.log import Log

R = TypeVar("R")
T = TypeVar("T")
U = TypeVar("U")

IN_FLIGHT_MAX = 500


class Started(NamedTuple):
    """Outcome of one start of many: the run, or the error that prevented it."""

    id: str
    run: Run[Any] | None
    error: PenstockError | None


class Client(AsyncLifecycle):
    """`async with Client() as client:` connects to the processors of one namespace through the log at `url`.

    `url`: `embedded:PATH` or `kafka://host:port,…`; by default PENSTOCK_LOG, `[tool.penstock]`, then
    `embedded:.penstock`. `log`: an open log to use; it is left open. Use a client on one event loop only.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        namespace: str | None = None,
        log: Log | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.settings = settings or load({"log": url, "namespace": namespace}, os.environ)
        self._connection = Connection(self.settings, log)

    # Starts

    async def start(
        self,
        call: Call[R] | Startable[R],
        *,
        id: str | None = None,
        on_existing: OnExisting = "use_existing",
        headers: Mapping[str, str] | None = None,
        start_delay: Duration | None = None,
        run_timeout: Duration | None = None,
        execution_timeout: Duration | None = None,
        retries: int | Unset | None = UNSET,
        backoff: float | Sequence[Duration] | Unset = UNSET,
        memo: Mapping[str, Any] | None = None,
        search: Mapping[str, SearchValue] | None = None,
        version: int | None = None,
        wait: Wait = "accepted",
        timeout: Duration | None = None,
    ) -> Run[R]:
        """Start `fulfil(order)`, or an object `Claim(form)` of a workflow class; return a handle on the run.

        `id`: by default a random one. If it is taken, `use_existing` joins that run (`run.existing` is True;
        `run.note` says so if it has another input, and a warning is logged), `reject` raises WorkflowAlreadyExists,
        `restart_closed` starts a new run if the old one has closed, `restart_failed` if it has closed without
        completing, `terminate_existing` also if it has not closed. A run of another type is never joined. `headers`
        travel to the run, its activities and its children (`info().headers`), 8 kB at most. `start_delay`: how long
        after the start its code begins; the run exists and takes signals at once.

        `run_timeout`: time of a run from then on, after which it fails; `execution_timeout`: time of its whole chain.
        `retries`, `backoff`: a run that fails is followed by another with the same input, so often and after such
        delays, as for activities; by default by none. `result` and parents see the last end alone.

        `memo`: values that go along with the run and its chain, at most 16 kB as JSON. `search`: search attributes by
        name, each a str, int, float, bool, aware datetime or list[str], at most 32 of them and 4 kB; the run's code may
        change them (`set_search`). `describe` shows both, `list` the latter, and they are in the record of the run's
        end. A start that joins a run changes neither. `version`: of the workflow type, by default the one that new runs
        take.

        `wait`: `accepted` waits for a processor's reply; with `stored` the start returns once the log has it, which
        takes no processor: the handle does not say then whether the id was taken, and a refusal becomes a dead letter.
        `timeout`: how long to wait for that, 30 s by default.

        Raises BadInput, BadName, PayloadTooLarge before anything is sent; WorkflowAlreadyExists (`reject`, or the id is
        taken by a run of another type), UnknownWorkflowType, CommandRejected, NotAnswered (the command is in the log),
        LogError.
        """
        options = StartOptions(
            on_existing, headers, start_delay, run_timeout, execution_timeout, retries, backoff, memo, search, version
        )
        call, command = self._claimed(call, id, options)
        if check_wait(wait) == "stored":
            return await self._store(command, call.returns)
        return await self._start(command, call.returns, deadline_after(timeout))

    async def execute(
        self,
        call: Call[R] | Startable[R],
        *,
        id: str | None = None,
        on_existing: OnExisting = "use_existing",
        headers: Mapping[str, str] | None = None,
        start_delay: Duration | None = None,
        run_timeout: Duration | None = None,
        execution_timeout: Duration | None = None,
        retries: int | Unset | None = UNSET,
        backoff: float | Sequence[Duration] | Unset = UNSET,
        memo: Mapping[str, Any] | None = None,
        search: Mapping[str, SearchValue] | None = None,
        version: int | None = None,
        timeout: Duration | None = None,
    ) -> R:
        """Start a run as `start` does, and return its result as `Run.result` does: by one command.

        `timeout`: how long to wait for the result, by default without a limit. Raises what both raise."""
        options = StartOptions(
            on_existing, headers, start_delay, run_timeout, execution_timeout, retries, backoff, memo, search, version
        )
        call, command = self._claimed(call, id, options)
        run: Run[R] = Run(self._connection, command.workflow_id, "", call.returns)
        return await run.result_of(msgspec.structs.replace(command, await_result=True), timeout)

    async def signal_with_start(
        self,
        signal: Signal[T] | SignalMethod[..., Any] | str,
        value: T | None,
        call: Call[R] | Startable[R],
        *,
        id: str | None = None,
        headers: Mapping[str, str] | None = None,
        start_delay: Duration | None = None,
        run_timeout: Duration | None = None,
        execution_timeout: Duration | None = None,
        retries: int | Unset | None = UNSET,
        backoff: float | Sequence[Duration] | Unset = UNSET,
        memo: Mapping[str, Any] | None = None,
        search: Mapping[str, SearchValue] | None = None,
        version: int | None = None,
        timeout: Duration | None = None,
    ) -> Run[R]:
        """Signal the id's run; start it first if the id has none that is open. One command: both happen, or none.

        A new run receives the signal before its code goes on. The options are those of `start`; without them, those of
        the call. Raises as `start` and `Run.signal` do."""
        name, data = encoded_signal(signal, () if value is None else (value,))
        options = StartOptions(
            "restart_closed",
            headers,
            start_delay,
            run_timeout,
            execution_timeout,
            retries,
            backoff,
            memo,
            search,
            version,
        )
        call, command = self._claimed(call, id, options)
        handed = msgspec.structs.replace(command, signal=check_signal_name(name), handed=data)
        return await self._start(handed, call.returns, deadline_after(timeout))

    async def update_with_start(
        self,
        update: Update[T, U] | UpdateMethod[[T], U],
        value: T,
        call: Call[R] | Startable[R],
        *,
        id: str | None = None,
        update_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        start_delay: Duration | None = None,
        run_timeout: Duration | None = None,
        execution_timeout: Duration | None = None,
        retries: int | Unset | None = UNSET,
        backoff: float | Sequence[Duration] | Unset = UNSET,
        memo: Mapping[str, Any] | None = None,
        search: Mapping[str, SearchValue] | None = None,
        version: int | None = None,
        timeout: Duration | None = None,
    ) -> U:
        """Update the id's run, and return the update's result; start the run first if the id has none that is open.

        One command, and one transaction; a run that was started goes on if it rejects the update. `update_id`: the `id`
        of `Run.update`; the other options are those of `start`. Raises as `start` and `Run.update`."""
        options = StartOptions(
            "restart_closed",
            headers,
            start_delay,
            run_timeout,
            execution_timeout,
            retries,
            backoff,
            memo,
            search,
            version,
        )
        call, command = self._claimed(call, id, options)
        run: Run[R] = Run(self._connection, command.workflow_id, "", call.returns)
        result: U = await run.update_of(command, update, (value,), update_id, timeout)
        return result

    async def start_by_name(
        self,
        type: str,
        input: bytes = b"null",
        id: str | None = None,
        *,
        on_existing: OnExisting = "use_existing",
        headers: Mapping[str, str] | None = None,
        start_delay: Duration | None = None,
        run_timeout: Duration | None = None,
        execution_timeout: Duration | None = None,
        retries: int | Unset | None = UNSET,
        backoff: float | Sequence[Duration] | Unset = UNSET,
        memo: Mapping[str, Any] | None = None,
        search: Mapping[str, SearchValue] | None = None,
        version: int | None = None,
        wait: Wait = "accepted",
        timeout: Duration | None = None,
    ) -> Run[Any]:
        """Start a workflow type by its name, with its input as JSON bytes; otherwise as `start`."""
        check_named_start(type, input)
        options = StartOptions(
            on_existing, headers, start_delay, run_timeout, execution_timeout, retries, backoff, memo, search, version
        )
        command = self._command(ChildRequest(type), input, uuid7() if id is None else id, options)
        if check_wait(wait) == "stored":
            return await self._store(command, adapter_for(Any))
        return await self._start(command, adapter_for(Any), deadline_after(timeout))

    async def start_many(
        self,
        starts: Iterable[tuple[str, bytes, str]],
        *,
        in_flight: int = IN_FLIGHT_MAX,
        on_existing: OnExisting = "use_existing",
        headers: Mapping[str, str] | None = None,
        start_delay: Duration | None = None,
        run_timeout: Duration | None = None,
        execution_timeout: Duration | None = None,
        retries: int | Unset | None = UNSET,
        backoff: float | Sequence[Duration] | Unset = UNSET,
        memo: Mapping[str, Any] | None = None,
        search: Mapping[str, SearchValue] | None = None,
        version: int | None = None,
        timeout: Duration | None = None,
    ) -> AsyncIterator[Started]:
        """Start many (type, input as JSON bytes, id), with at most `in_flight` unanswered at once.

        Yields the outcome of each start as replies arrive, not in order. One refusal stops no other start; a LogError
        ends the iteration, and invalid options raise before anything is sent. `timeout`: how long to wait for all
        replies together; by default 30 s for each. The other options are those of `start`, for all runs alike.
        """
        options = StartOptions(
            on_existing, headers, start_delay, run_timeout, execution_timeout, retries, backoff, memo, search, version
        )
        check_options(options)
        deadline = deadline_after(timeout)
        pending: set[asyncio.Task[Started]] = set()
        try:
            for type, input, id in starts:
                if len(pending) >= in_flight:
                    done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        yield task.result()
                pending.add(asyncio.create_task(self._start_one_of_many(type, input, id, options, deadline)))
            for next_done in asyncio.as_completed(pending):
                yield await next_done
        finally:
            for task in pending:
                task.cancel()

    # One run

    @overload
    def get(self, id: str, *, run_id: str = "") -> Run[Any]: ...
    @overload
    def get(self, id: str, *, returns: type[R], run_id: str = "") -> Run[R]: ...
    def get(self, id: str, *, returns: Any = Any, run_id: str = "") -> Run[Any]:
        """Return a handle on the id's current run, or on the run `run_id`. Sends nothing; raises BadName."""
        return Run(self._connection, check_workflow_id(id), run_id, adapter_for(returns))

    async def result(self, id: str, *, timeout: Duration | None = None) -> Any:
        """As `Run.result`, of the id's current run."""
        return await self.get(id).result(timeout=timeout)

    async def signal(
        self, id: str, signal: Signal[T] | str, value: T | None = None, *, signal_id: str | None = None
    ) -> None:
        """As `Run.signal`, to the id's current run; `signal_id` is its `id`. For methods of a class use the handle."""
        await self.get(id).signal(signal, value, id=signal_id)

    async def cancel(self, id: str, reason: str = "") -> None:
        """As `Run.cancel`, of the id's current run."""
        await self.get(id).cancel(reason)

    async def terminate(self, id: str, reason: str = "") -> None:
        """As `Run.terminate`, of the id's current run."""
        await self.get(id).terminate(reason)

    async def unblock(self, id: str, reason: str = "", *, by: str = "") -> None:
        """As `Run.unblock`, of the id's current run."""
        await self.get(id).unblock(reason, by=by)

    async def pause(self, id: str, reason: str = "", *, by: str = "") -> None:
        """As `Run.pause`, of the id's current run."""
        await self.get(id).pause(reason, by=by)

    async def resume(self, id: str, reason: str = "", *, by: str = "") -> None:
        """As `Run.resume`, of the id's current run."""
        await self.get(id).resume(reason, by=by)

    async def skip(self, id: str, activity: str | int, value: Any = None, *, reason: str = "", by: str = "") -> None:
        """As `Run.skip`, of the id's current run."""
        await self.get(id).skip(activity, value, reason=reason, by=by)

    async def change_activity(self, id: str, activity: str | int, **changes: Any) -> None:
        """As `Run.change_activity`, of the id's current run."""
        await self.get(id).change_activity(activity, **changes)

    async def complete(self, token: str, value: Any = None) -> None:
        """End an activity from outside of its worker with a result, encoded as plain JSON.

        `token`: of the present attempt (`activity_info().token`). Raises BadInput (the value has no JSON form) and
        BadToken before anything is sent; ActivityNotPending (the attempt is over), CommandRejected, WorkflowNotFound,
        WorkflowAlreadyClosed, NotAnswered.
        """
        await outside.complete(self._connection, token, encoded_json(value, "the result"))

    async def complete_json(self, token: str, value: bytes) -> None:
        """As `complete`, with the result as JSON bytes."""
        await outside.complete(self._connection, token, value)

    async def fail(
        self, token: str, error: str | BaseException, *, retryable: bool = True, retry_after: Moment | None = None
    ) -> None:
        """Fail an attempt from outside of its worker; the activity's options say whether another one follows.

        `retryable`: False for none. `retry_after`: when the next attempt begins, by default after the activity's delay.
        Raises BadDuration, and as `complete` does.
        """
        await outside.fail(self._connection, token, error, retry_after, retryable=retryable)

    async def heartbeat(self, token: str, details: Any = None) -> None:
        """Report that an attempt goes on outside of its worker; the next attempt gets the `details`.

        Raises ActivityCancelledError if no run waits for the attempt any more; BadInput, BadToken, CommandRejected (of
        details over 64 kB), NotAnswered.
        """
        await outside.heartbeat(self._connection, token, details)

    async def reset(self, id: str, *, to_event: int, reason: str = "", of_run: str = "", by: str = "") -> None:
        """As `Run.reset`, of the id's current run."""
        await self.get(id).reset(to_event=to_event, reason=reason, of_run=of_run, by=by)

    async def retry(self, id: str, reason: str = "", *, force: bool = False, by: str = "") -> None:
        """As `Run.retry`, of the id's current run."""
        await self.get(id).retry(reason, force=force, by=by)

    async def delete(self, id: str, reason: str = "", *, force: bool = False, by: str = "") -> None:
        """As `Run.delete`, of whichever run is the id's current one."""
        await self.get(id).delete(reason, force=force, by=by)

    async def describe(self, id: str) -> Json:
        """As `Run.describe`, of the id's current run."""
        return await self.get(id).describe()

    async def history(self, id: str) -> JsonList:
        """As `Run.history`, of the id's current run."""
        return await self.get(id).history()

    async def export_run(self, id: str, *, run_id: str = "") -> Json:
        """Return a run as one JSON document: its history, what `describe` says of it, and a digest of both.

        `run_id`: an earlier run of the id, while its history is kept. Raises WorkflowNotFound, NotAnswered, LogError.
        """
        run = self.get(id, run_id=run_id)
        described = await run.describe()
        if run_id not in {"", described["run_id"], described["first_run_id"]}:  # of that run, the history says it all
            described = {"workflow_id": id, "run_id": run_id}
        return exported(described, await self.reads.history(id, described["run_id"]))

    async def import_run(self, exported: Mapping[str, Any], *, reason: str = "", by: str = "") -> Run[Any]:
        """Take in a closed run that `export_run` returned, here or from another namespace, under its id.

        It can be read and replayed as any other and is kept from now on; nothing of it happens again, and no end is
        reported. `by`: who asks for it; the topic `events` keeps both.

        Raises BadInput (it is no such document, was changed, or the run is open), PayloadTooLarge (its history does not
        fit one record), WorkflowAlreadyExists (the id has a run), CommandRejected (no closed run has such a history),
        NotAnswered.
        """
        check_reason(reason)
        command = import_command(exported, by, reason)
        address = self._connection.reply_address()
        accepted = await self._connection.send(msgspec.structs.replace(command, **address))
        return Run(self._connection, command.workflow_id, accepted.run_id, adapter_for(Any))

    async def list(
        self, *, status: str | None = None, type: str | None = None, limit: int = 100, after: str = ""
    ) -> JsonList:
        """Return runs of all shards, sorted by id, beginning after the id `after`; each as `describe` returns it.

        Raises BadInput for an unknown `status` and a `limit` that is not from 1 to 10,000; NotAnswered when some shard
        has no processor.
        """
        check_list_filters(status, limit)
        filters = {"status": status, "type": type, "limit": str(limit), "after": after}
        return await self.reads.runs({name: value for name, value in filters.items() if value})

    @property
    def schedules(self) -> Schedules:
        """The schedules of the namespace."""
        return Schedules(self._connection)

    @property
    def versions(self) -> Versions:
        """The versions of workflow types, and the shares of new runs that take them."""
        return Versions(self._connection)

    # For Penstock's own modules

    @property
    def reads(self) -> Reads:
        """Committed reads of the processors."""
        return self._connection.reads

    @property
    def exchange(self) -> Exchange:
        """Exchange of commands and replies."""
        return self._connection.exchange

    def raise_on(self, hindrance: Callable[[str, str], Coroutine[Any, Any, PenstockError]]) -> None:
        """Let `result` of this client's runs raise what `hindrance(id, run_id)` returns, if that comes first."""
        self._connection.hindrance = hindrance

    def _claimed(
        self, startable: Call[R] | Startable[R], id: str | None, options: StartOptions
    ) -> tuple[WorkflowCall[R], StartWorkflow]:
        """The call to start, with the command for it: under the id given here, by the call's options, or random."""
        call = claimed_call(startable, "client.start")
        chosen = id if id is not None else call.request.workflow_id or uuid7()
        return call, self._command(call.request, call.input, chosen, options)

    def _command(self, asked: ChildRequest, input: bytes, id: str, options: StartOptions) -> StartWorkflow:
        return start_command(asked, input, id, options, self._connection.reply_address())

    async def _start(self, command: StartWorkflow, returns: Adapter[R], deadline: float | None) -> Run[R]:
        accepted = await self._connection.send(command, deadline)
        id = command.workflow_id
        if accepted.note:
            self.exchange.unanswered.warn(f"note on the start of {id}: {accepted.note}.")
        return Run(self._connection, id, accepted.run_id, returns, existing=accepted.existing, note=accepted.note)

    async def _store(self, command: StartWorkflow, returns: Adapter[R]) -> Run[R]:
        await self.exchange.publish(msgspec.structs.replace(command, reply_to=NO_REPLY))
        return Run(self._connection, command.workflow_id, "", returns)

    async def _start_one_of_many(
        self, type: str, input: bytes, id: str, options: StartOptions, deadline: float | None
    ) -> Started:
        try:
            check_named_start(type, input)
            command = self._command(ChildRequest(type), input, id, options)
            return Started(id, await self._start(command, adapter_for(Any), deadline), None)
        except UserError as error:
            return Started(id, None, error)

    async def _open(self) -> None:
        await self._connection.open()

    async def _close(self) -> None:
        await self._connection.close()
