"""How does a program start, watch and steer workflows? Through a Client, which needs nothing but the log.

Orders are commands on the topic `commands`; their answers come back on `replies` (exchange.py). What is read (describe,
history, list) is asked of the processors over HTTP (reads.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Generic, Literal, NamedTuple, TypeVar, overload

from penstock.client.exchange import Advice, Exchange, seconds_left
from penstock.client.outcome import refusal_of, result_of
from penstock.client.reads import Reads
from penstock.client.uuid7 import uuid7
from penstock.config import Settings, load
from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.workflow import WorkflowCall
from penstock.engine.core.statuses import STATUSES
from penstock.engine.runtime.reads import LIMIT_MAX
from penstock.observe.logs import route_to_logging
from penstock.schemas.encoding.json_command import ON_EXISTING
from penstock.schemas.errors import BadInput, BadName, NotAnswered, PenstockError, StillRunning, UnknownTopic, UserError
from penstock.schemas.ids import check_signal_name, check_workflow_id
from penstock.schemas.records.kinds import Command
from penstock.schemas.records.replies import Accepted, Rejected, Reply, RunClosed
from penstock.schemas.records.run import AwaitResult, CancelWorkflow, RetryWorkflow, StartWorkflow, TerminateWorkflow
from penstock.schemas.records.signal import SignalWorkflow
from penstock.schemas.values.call import Call
from penstock.schemas.values.durations import Duration, duration_ms
from penstock.schemas.values.payload import Adapter, adapter_for, check_size
from penstock.topics.catalogue import Topics, creation_advice
from penstock.topics.connect import connect
from penstock.topics.log import Log

R = TypeVar("R")
T = TypeVar("T")

OnExisting = Literal["use_existing", "reject", "restart_closed"]
Json = dict[str, Any]
JsonList = list[dict[str, Any]]  # named here, since inside Client `list` is the verb

ANSWER_TIMEOUT_S = 30.0
ASK_AGAIN_S = 600.0  # replies are kept an hour: a long wait asks anew well before that
IN_FLIGHT_MAX = 500
LOOKS = 2  # where a processor was, and where one is now
LOOK_TIMEOUT_S = 1.0
STORE_LAG_S = 2.0
STORE_LOOK_S = 0.01
CLOSING = ("WorkflowCompleted", "WorkflowFailed", "WorkflowCancelled", "WorkflowTerminated")


class Started(NamedTuple):
    """What became of one start of many: a run, or the error that kept it from starting."""

    id: str
    run: Run[Any] | None
    error: PenstockError | None


class Client:
    """`async with Client() as client:` speaks to the processors of one namespace over the log at `url`.

    `url`: `embedded:PATH` or `kafka://host:port,…`; without one, PENSTOCK_LOG, `[tool.penstock]`, then
    `embedded:.penstock`. `log`: use this open log and leave it open. Use a client on one event loop only.
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
        self.topics = Topics(self.settings.namespace, self.settings.prefix)
        self._given, self._log = log, log
        self._exchange: Exchange | None = None
        self._reads: Reads | None = None

    async def __aenter__(self) -> Client:
        route_to_logging()
        try:
            await self._open()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    # Starting

    async def start(
        self,
        call: Call[R],
        *,
        id: str | None = None,
        on_existing: OnExisting = "use_existing",
        timeout: Duration | None = None,
    ) -> Run[R]:
        """Start `fulfil(order)` under an id of yours (a random one without), and give a handle on the run.

        An id that is taken: `use_existing` joins that run (`run.existing` tells), `reject` raises
        WorkflowAlreadyExists, `restart_closed` starts anew if the old run has closed. `timeout`: how long to wait for a
        processor's answer, 30 s unless told.

        Raises BadInput, BadName, PayloadTooLarge before anything is sent; UnknownWorkflowType, CommandRejected,
        NotAnswered (the start stands in the log), LogError.
        """
        if not isinstance(call, WorkflowCall):
            raise BadInput(f"client.start takes a workflow's call such as fulfil(order), not {call!r}.")
        call.claim()
        chosen = id if id is not None else call.workflow_id or uuid7()
        return await self._start(call.name, call.input, chosen, on_existing, call.returns, _deadline(timeout))

    async def start_by_name(
        self,
        type: str,
        input: bytes = b"null",
        id: str | None = None,
        *,
        on_existing: OnExisting = "use_existing",
        timeout: Duration | None = None,
    ) -> Run[Any]:
        """Start a workflow type by its name, with its input as JSON bytes; otherwise as `start`."""
        chosen = uuid7() if id is None else id
        return await self._start(type, input, chosen, on_existing, adapter_for(Any), _deadline(timeout))

    async def start_many(
        self,
        starts: Iterable[tuple[str, bytes, str]],
        *,
        in_flight: int = IN_FLIGHT_MAX,
        on_existing: OnExisting = "use_existing",
        timeout: Duration | None = None,
    ) -> AsyncIterator[Started]:
        """Start (type, input as JSON bytes, id) by the thousand, at most `in_flight` unanswered at once.

        Yields what became of each as answers come, not in order. One refusal stops no other; LogError ends it all.
        `timeout`: how long to wait for all the answers together; 30 s for each unless told.
        """
        _check_on_existing(on_existing)
        deadline = _deadline(timeout)
        pending: set[asyncio.Task[Started]] = set()
        try:
            for type, input, id in starts:
                if len(pending) >= in_flight:
                    done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        yield task.result()
                pending.add(asyncio.create_task(self._started(type, input, id, on_existing, deadline)))
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
        """A handle on a workflow id: on its current run, or on the run told. Asks nobody; raises BadName."""
        return Run(self, check_workflow_id(id), run_id, adapter_for(returns))

    async def result(self, id: str, *, timeout: Duration | None = None) -> Any:
        """As `Run.result`, of the id's current run."""
        return await self.get(id).result(timeout=timeout)

    async def signal(self, id: str, signal: Signal[T] | str, value: T | None = None) -> None:
        """As `Run.signal`, to the id's current run."""
        await self.get(id).signal(signal, value)

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
        """Runs of all shards in the order of their ids, beginning after the id `after`; each as `describe` has them.

        Raises BadInput for a `status` that runs do not have and a `limit` that is not 1 to 10,000; NotAnswered when
        some shard has no processor that serves reads.
        """
        _check_list(status, limit)
        filters = {"status": status, "type": type, "limit": str(limit), "after": after}
        return await self.reads.runs({name: value for name, value in filters.items() if value})

    # Inside

    @property
    def reads(self) -> Reads:
        """The way to the processors' committed reads."""
        if self._reads is None:
            raise UserError("this client is not open: use it inside `async with Client() as client:`.")
        return self._reads

    @property
    def exchange(self) -> Exchange:
        """The way of commands and replies."""
        if self._exchange is None:
            raise UserError("this client is not open: use it inside `async with Client() as client:`.")
        return self._exchange

    async def ordered(self, command: Command, deadline: float | None = None) -> Accepted:
        """Ask, and turn a refusal into its error."""
        left = seconds_left(deadline)
        reply = await self.exchange.ask(command, ANSWER_TIMEOUT_S if left is None else left)
        if isinstance(reply, Rejected):
            raise refusal_of(reply)
        if isinstance(reply, RunClosed):  # an order to a run that closed with it
            return Accepted(
                message_id=reply.message_id, workflow_id=reply.workflow_id, run_id=reply.run_id, status=reply.status
            )
        return reply

    async def _start(
        self,
        type: str,
        input: bytes,
        id: str,
        on_existing: OnExisting,
        returns: Adapter[R],
        deadline: float | None,
    ) -> Run[R]:
        _check_on_existing(on_existing)
        _check_named(type, input)
        check_size(input, what=f"the input of {type}")
        accepted = await self.ordered(
            StartWorkflow(
                workflow_id=check_workflow_id(id),
                workflow_type=type,
                input=input,
                on_existing=on_existing,
                message_id=uuid7(),
                reply_to=self.exchange.reply_to,
            ),
            deadline,
        )
        return Run(self, id, accepted.run_id, returns, existing=accepted.existing)

    async def _started(
        self, type: str, input: bytes, id: str, on_existing: OnExisting, deadline: float | None
    ) -> Started:
        try:
            return Started(id, await self._start(type, input, id, on_existing, adapter_for(Any), deadline), None)
        except UserError as error:
            return Started(id, None, error)

    async def _open(self) -> None:
        if self._log is None:
            self._log = await asyncio.to_thread(existing_log, self.settings)
        exchange = self._exchange = Exchange(self._log, self.topics, asyncio.get_running_loop(), _advice(self.settings))
        await asyncio.to_thread(exchange.open)
        self._reads = Reads(self._log, self.topics, exchange.shards)

    async def _close(self) -> None:
        reads, exchange, log = self._reads, self._exchange, self._log
        self._reads = self._exchange = None
        self._log = self._given
        if reads is not None:
            await reads.close()
        if exchange is not None:
            await asyncio.to_thread(exchange.close)
        if log is not None and self._given is None:
            await asyncio.to_thread(log.close)


class Run(Generic[R]):
    """A handle on one run (`run_id`), or on the current run of an id (`run_id` empty).

    `existing`: the start that gave this handle found the run already there and joined it.
    """

    def __init__(self, client: Client, id: str, run_id: str, returns: Adapter[R], *, existing: bool = False) -> None:
        self._client, self._returns = client, returns
        self.id, self.run_id, self.existing = id, run_id, existing
        self._closed = False

    async def result(self, timeout: Duration | None = None) -> R:
        """What the workflow returned; waits for it, without end unless told.

        Raises WorkflowFailed, WorkflowCancelled, WorkflowTerminated; StillRunning (a TimeoutError) after `timeout`;
        WorkflowNotFound, BadInput (the result does not fit the declared type).
        """
        deadline = _deadline(timeout)
        watch = asyncio.create_task(self._tell_if_nobody_serves(deadline))
        try:
            return await self._awaited(deadline)
        finally:
            watch.cancel()

    async def _awaited(self, deadline: float | None) -> R:
        while True:
            left = seconds_left(deadline)
            wait_s = ASK_AGAIN_S if left is None else min(left, ASK_AGAIN_S)
            try:
                reply = await self._ask(AwaitResult(workflow_id=self.id, run_id=self.run_id, **self._asking()), wait_s)
            except NotAnswered:
                if seconds_left(deadline) == 0.0:
                    raise await self._not_closed() from None
                continue
            if isinstance(reply, RunClosed):
                self._closed = not self.run_id or self.run_id == reply.run_id
                return result_of(reply, self._returns)

    async def signal(self, signal: Signal[T] | str, value: T | None = None) -> None:
        """Send a signal; returns once the run has it. By name alone, `value` is encoded as plain JSON.

        Raises BadInput (the value has no JSON form) and BadName (the name is empty) before anything is sent;
        CommandRejected (the processor's modules declare a signal of that name which the value does not fit),
        WorkflowNotFound, WorkflowAlreadyClosed, NotAnswered.
        """
        adapter: Adapter[Any] = signal.adapter if isinstance(signal, Signal) else adapter_for(Any)
        name = signal.name if isinstance(signal, Signal) else signal
        await self.signal_json(name, adapter.encode(value))

    async def signal_json(self, signal: str, value: bytes) -> None:
        """Send a signal whose value is JSON bytes already; otherwise as `signal`."""
        check_signal_name(signal)
        check_size(value, what=f"the value of signal {signal}")
        accepted = await self._order(SignalWorkflow(signal=signal, input=value, **self._target()))
        if accepted.note:
            self._client.exchange.silence.tell(f"{self.id} has the signal, but {accepted.note}.")

    async def cancel(self, reason: str = "") -> None:
        """Ask the run to stop; its code may clean up. Raises WorkflowNotFound, WorkflowAlreadyClosed, NotAnswered."""
        await self._order(CancelWorkflow(reason=reason, **self._target()))

    async def terminate(self, reason: str = "") -> None:
        """End the run at once; nothing is undone. Raises WorkflowNotFound, WorkflowAlreadyClosed, NotAnswered."""
        await self._order(TerminateWorkflow(reason=reason, **self._target()))

    async def retry(self) -> None:
        """Try a BLOCKED run again. Raises WorkflowNotFound, WorkflowAlreadyClosed, NotAnswered."""
        await self._order(RetryWorkflow(**self._target()))

    async def describe(self) -> Json:
        """The run's state: type, status, times, result or failure, what it waits for. Raises WorkflowNotFound."""
        return await self._read(lambda: self._client.reads.describe(self.id), lambda run: bool(run["closed_ms"]))

    async def history(self) -> JsonList:
        """The run's numbered events. Raises WorkflowNotFound."""
        return await self._read(
            lambda: self._client.reads.history(self.id, self.run_id), lambda events: events[-1]["event"] in CLOSING
        )

    def __repr__(self) -> str:
        return f"<run {self.run_id or 'current'} of {self.id}>"

    async def _tell_if_nobody_serves(self, deadline: float | None) -> None:
        # No answer to AwaitResult may mean that the run goes on, or that nothing of Penstock runs: reads tell the two
        # apart.
        silence = self._client.exchange.silence
        await asyncio.sleep(silence.after_s)
        while True:
            if silence.may_look():
                served = await self._client.reads.is_served(self.id, here=self._client.settings.embedded)
                if served:
                    silence.broken()
                elif served is not None:
                    silence.of_result(self.id, seconds_left(deadline))
            await asyncio.sleep(silence.look_every_s)

    async def _read(self, read: Callable[[], Awaitable[T]], shows_the_end: Callable[[T], bool]) -> T:
        # A processor answers with the commit and writes its store just after it: whoever has heard of the run's end
        # must not read of a run that goes on.
        deadline = time.monotonic() + (STORE_LAG_S if self._closed else 0)
        while True:
            found = await read()
            if shows_the_end(found) or time.monotonic() >= deadline:
                return found
            await asyncio.sleep(STORE_LOOK_S)

    async def _not_closed(self) -> StillRunning:
        """What is told of a run that was not awaited to its end: it goes on, or there is nobody to ask."""
        settings = self._client.settings
        served: bool | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                served = await self._client.reads.is_served(self.id, here=settings.embedded, attempts=LOOKS)
        if not served:
            remedy = "is the log away?" if served is None else self._client.exchange.silence.remedy
            return StillRunning(f"nobody answered in time, so it is not known whether {self.id} closed: {remedy}")
        where = "`describe()`" if settings.in_memory else f"`penstock show {self.id}`"
        return StillRunning(
            f"{self.id} did not close in time; its run stays open, and {where} tells what it waits for."
        )

    def _target(self) -> Mapping[str, Any]:
        return {"workflow_id": self.id, "run_id": self.run_id, **self._asking()}

    def _asking(self) -> Mapping[str, Any]:
        return {"message_id": uuid7(), "reply_to": self._client.exchange.reply_to}

    async def _order(self, command: Command) -> Accepted:
        return await self._client.ordered(command)

    async def _ask(self, command: Command, wait_s: float) -> Reply:
        reply = await self._client.exchange.ask(command, wait_s, at_once=False)
        if isinstance(reply, Rejected):
            raise refusal_of(reply)
        return reply


def existing_log(settings: Settings) -> Log:
    """The log at the settings' URL. Raises UnknownTopic, LogUnavailable; an embedded one is not made by asking."""
    file = settings.log_file
    if file is not None and not file.exists():
        raise UnknownTopic(f"there is no log at {file} yet: {_advice(settings).topics}")
    return connect(settings.log)


def _check_on_existing(word: str) -> None:
    if word not in ON_EXISTING:
        raise BadInput(f"on_existing must be one of {', '.join(ON_EXISTING)}, not {word!r}.")


def _check_named(type: object, input: object) -> None:
    """What is started by name is handed over as a text and as bytes, whatever a program without a type checker says."""
    if not isinstance(type, str):
        raise BadName(
            f"The workflow type must be its name, a text, not {type!r}; `start` takes a call such as fulfil(order)."
        )
    if not isinstance(input, bytes):
        kind = input.__class__.__name__
        raise BadInput(
            f"The input of {type} must be JSON as bytes, not a value of type {kind}: write `json.dumps(…).encode()`, "
            "or use `start` with the workflow's call, which does it for you."
        )


def _check_list(status: object, limit: object) -> None:
    if status is not None and status not in STATUSES:
        raise BadInput(f"status must be one of {', '.join(STATUSES)}, not {status!r}.")
    if not isinstance(limit, int) or not 1 <= limit <= LIMIT_MAX:
        raise BadInput(f"limit must be a number from 1 to {LIMIT_MAX}, not {limit!r}.")


def _deadline(timeout: Duration | None) -> float | None:
    return None if timeout is None else time.monotonic() + duration_ms(timeout) / 1000


def _advice(settings: Settings) -> Advice:
    if settings.embedded:
        return Advice("start `penstock dev FILE` first.", "`penstock dev …` or `penstock processor …`")
    return Advice(f"{creation_advice()} first.", "`penstock processor …`")
