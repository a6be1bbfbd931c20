"""Client: start, watch and steer workflows over the log.

Commands are published on the topic `commands`, replies arrive on `replies` (exchange.py). `describe`, `history` and
`list` are read from the processors over HTTP (reads.py).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar, overload

from penstock.client.checks import check_headers, check_list_filters, check_named_start, check_on_existing, started_call
from penstock.client.connection import Connection
from penstock.client.deadline import deadline_after
from penstock.client.exchange import Exchange
from penstock.client.lifecycle import AsyncLifecycle
from penstock.client.reads import Json, JsonList, Reads
from penstock.client.run import Run
from penstock.client.uuid7 import uuid7
from penstock.config import Settings, load
from penstock.engine.authoring.class_form import Startable
from penstock.engine.authoring.signal import Signal
from penstock.schemas.errors import PenstockError, UserError
from penstock.schemas.ids import check_workflow_id
from penstock.schemas.records.run import OnExisting, StartWorkflow
from penstock.schemas.values.call import Call
from penstock.schemas.values.durations import Duration
from penstock.schemas.values.payload import Adapter, adapter_for, check_size
from penstock.topics.log import Log

R = TypeVar("R")
T = TypeVar("T")

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
        timeout: Duration | None = None,
    ) -> Run[R]:
        """Start `fulfil(order)`, or an object `Claim(form)` of a workflow class; return a handle on the run.

        `id`: by default a random one. If it is taken, `use_existing` joins that run (`run.existing` is True; `run.note`
        says so if it has another input, and a warning is logged), `reject` raises WorkflowAlreadyExists,
        `restart_closed` starts a new run if the old one has closed, `terminate_existing` also if it has not. A run of
        another type is never joined. `headers` travel to the run, its activities and its children (`info().headers`),
        8 kB at most.
        `timeout`: how long to wait for a processor's reply, 30 s by default.

        Raises BadInput, BadName, PayloadTooLarge before anything is sent; WorkflowAlreadyExists (`reject`, or the id is
        taken by a run of another type), UnknownWorkflowType, CommandRejected, NotAnswered (the command is in the log),
        LogError.
        """
        call = started_call(call)
        chosen = id if id is not None else call.request.workflow_id or uuid7()
        deadline = deadline_after(timeout)
        return await self._start(call.name, call.input, chosen, on_existing, call.returns, deadline, headers)

    async def start_by_name(
        self,
        type: str,
        input: bytes = b"null",
        id: str | None = None,
        *,
        on_existing: OnExisting = "use_existing",
        headers: Mapping[str, str] | None = None,
        timeout: Duration | None = None,
    ) -> Run[Any]:
        """Start a workflow type by its name, with its input as JSON bytes; otherwise as `start`."""
        chosen = uuid7() if id is None else id
        deadline = deadline_after(timeout)
        return await self._start(type, input, chosen, on_existing, adapter_for(Any), deadline, headers)

    async def start_many(
        self,
        starts: Iterable[tuple[str, bytes, str]],
        *,
        in_flight: int = IN_FLIGHT_MAX,
        on_existing: OnExisting = "use_existing",
        timeout: Duration | None = None,
    ) -> AsyncIterator[Started]:
        """Start many (type, input as JSON bytes, id), with at most `in_flight` unanswered at once.

        Yields the outcome of each start as replies arrive, not in order. One refusal stops no other start; a LogError
        ends the iteration. `timeout`: how long to wait for all replies together; by default 30 s for each.
        """
        check_on_existing(on_existing)
        deadline = deadline_after(timeout)
        pending: set[asyncio.Task[Started]] = set()
        try:
            for type, input, id in starts:
                if len(pending) >= in_flight:
                    done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        yield task.result()
                pending.add(asyncio.create_task(self._start_one_of_many(type, input, id, on_existing, deadline)))
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

    async def retry(self, id: str) -> None:
        """As `Run.retry`, of the id's current run."""
        await self.get(id).retry()

    async def describe(self, id: str) -> Json:
        """As `Run.describe`, of the id's current run."""
        return await self.get(id).describe()

    async def history(self, id: str) -> JsonList:
        """As `Run.history`, of the id's current run."""
        return await self.get(id).history()

    async def list(
        self, *, status: str | None = None, type: str | None = None, limit: int = 100, after: str = ""
    ) -> JsonList:
        """Return runs of all shards, sorted by id, beginning after the id `after`; each as `describe` returns it.

        Raises BadInput for an unknown `status` and a `limit` that is not from 1 to 10,000; NotAnswered when some shard
        has no processor that serves reads.
        """
        check_list_filters(status, limit)
        filters = {"status": status, "type": type, "limit": str(limit), "after": after}
        return await self.reads.runs({name: value for name, value in filters.items() if value})

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

    async def _start(
        self,
        type: str,
        input: bytes,
        id: str,
        on_existing: OnExisting,
        returns: Adapter[R],
        deadline: float | None,
        headers: Mapping[str, str] | None = None,
    ) -> Run[R]:
        check_on_existing(on_existing)
        check_named_start(type, input)
        check_headers(headers)
        check_size(input, what=f"the input of {type}")
        command = StartWorkflow(
            workflow_id=check_workflow_id(id),
            workflow_type=type,
            input=input,
            on_existing=on_existing,
            headers=dict(headers or {}),
            **self._connection.reply_address(),
        )
        accepted = await self._connection.send(command, deadline)
        if accepted.note:
            self.exchange.unanswered.warn(f"note on the start of {id}: {accepted.note}.")
        return Run(self._connection, id, accepted.run_id, returns, existing=accepted.existing, note=accepted.note)

    async def _start_one_of_many(
        self, type: str, input: bytes, id: str, on_existing: OnExisting, deadline: float | None
    ) -> Started:
        try:
            return Started(id, await self._start(type, input, id, on_existing, adapter_for(Any), deadline), None)
        except UserError as error:
            return Started(id, None, error)

    async def _open(self) -> None:
        await self._connection.open()

    async def _close(self) -> None:
        await self._connection.close()
