"""Deterministic asyncio event loop for workflow code: callbacks first in, first out; time from the history.

`gather`, `wait`, `timeout`, `TaskGroup`, `sleep`, queues and locks of asyncio work on it unchanged, because they need
only `call_soon`, `call_at`, futures and tasks. Everything that would reach the outside world is refused.

A loop is driven on a plain thread by `drain`; it never waits. Timers and calls become requests of its run. Tasks and
futures hash by the number of their creation, so that sets of them (`asyncio.wait`) iterate alike on every machine.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import sys
import types
import weakref
import zlib
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable
from typing import Any, NoReturn, Protocol, TypeVar, TypeVarTuple

import msgspec

from penstock.schemas.errors import EndlessWorkflow, NonDeterministicCall
from penstock.schemas.values.call import Call
from penstock.schemas.values.lazy import Lazy

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
STEPS_MAX = 1_000_000
"""Steps of one activation: a fan-out of 10,000 takes less than a tenth of them, an endless loop any number."""

_ENDLESS = (
    f"The workflow took {STEPS_MAX:,} steps without waiting for an activity, a signal or a timer; "
    "await one of them in its loop."
)
CLOSES_MAX = 100
_unclosable: list[Any] = []  # coroutines that refuse to close: kept, so that collecting them never resumes them
DUE_MS_MAX = 1 << 62  # half of what 64 bits hold: later moments count as never


class LoopOwner(Protocol):
    """The run that a loop belongs to: it receives the loop's requests."""

    workflow_id: str
    run_id: str
    seed: str
    closing: bool
    timers: dict[int, Any]

    @property
    def replaying(self) -> bool:
        """Whether the current activation repeats a decision of the past."""
        ...

    def timer_started(self, due_ms: int) -> int:
        """Request a timer; returns its sequence."""
        ...

    def timer_cancelled(self, sequence: int) -> None:
        """Code no longer waits for the timer."""
        ...

    def perform(self, call: Call[Any]) -> RequestFuture:
        """Request an activity or a child workflow."""
        ...

    def request_cancelled(self, sequence: int, kind: str) -> None:
        """Code no longer waits for the request."""
        ...

    def stop_requested(self, sequence: int, kind: str) -> None:
        """Code gave up the request, and waits for its end."""
        ...

    def refuse_if_closing(self) -> None:
        """Raise GeneratorExit while the run is being closed."""
        ...

    def callback_failed(self, error: BaseException) -> None:
        """A callback raised."""
        ...

    def call_dropped(self, call: Lazy[Any]) -> None:
        """A call or a wait was created and never awaited."""
        ...


class _Handle(msgspec.Struct, eq=False):
    """Callback in the queue; leaner than asyncio's own, which formats itself for debugging.

    A Struct, because three are created for each awaited call."""

    callback: Callable[..., object]
    args: tuple[Any, ...]
    context: contextvars.Context
    _stopped: bool = False

    def cancel(self) -> None:
        self._stopped = True

    def cancelled(self) -> bool:
        return self._stopped

    def __repr__(self) -> str:
        return f"<callback {self.callback!r}>"


class _TimerHandle(asyncio.TimerHandle):
    """Callback of a durable timer; cancelling it is a request of its own."""

    __slots__ = ("_due_s", "_owner", "_stopped", "args", "callback", "context", "sequence")

    def __init__(
        self,
        due_s: float,
        sequence: int,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
        owner: LoopOwner,
    ) -> None:
        self._due_s, self.sequence, self._owner = due_s, sequence, owner
        self.callback, self.args = callback, args
        self.context = context if context is not None else contextvars.copy_context()
        self._stopped = False

    def cancel(self) -> None:
        if not self._stopped:
            self._stopped = True
            self._owner.timer_cancelled(self.sequence)

    def cancelled(self) -> bool:
        return self._stopped

    def when(self) -> float:
        return self._due_s

    def __hash__(self) -> int:
        return self.sequence

    def __repr__(self) -> str:
        return f"<timer {self.sequence}>"


ends_first: contextvars.ContextVar[bool] = contextvars.ContextVar("penstock_ends_first", default=False)
"""Whether requests made in this context end before their cancellation reaches the code: what undoes them must not
begin while they run."""


class RequestFuture(asyncio.Future[bytes]):
    """Result of a request, awaited by workflow code. Cancelling it withdraws the request.

    `ends_first`: cancelling it asks the request to stop; it is cancelled when the request has ended, however it ended.
    `started`: gets the run id of a child whose start the code awaits, or the error because of which it did not start.
    """

    serial: int
    sequence: int
    kind: str
    ends_first: bool
    stopping = False
    started: asyncio.Future[str] | None = None
    workflow_id = ""  # of a child

    def cancel(self, msg: Any | None = None) -> bool:
        if self.ends_first and not self.done():
            if not self.stopping:
                self.stopping = True
                self._owner.stop_requested(self.sequence, self.kind)
            return True  # as a task does that cleans up first
        if not super().cancel(msg):
            return False
        self._owner.request_cancelled(self.sequence, self.kind)
        return True

    def begun(self, run_id: str) -> None:
        """The child has started as that run (empty: unknown)."""
        if self.started is not None and not self.started.done():
            self.started.set_result(run_id)

    def resolve(self, value: bytes) -> None:
        """The request has this result; one that was asked to stop has ended."""
        if self.stopping:
            super().cancel()
        elif not self.done():
            if self.started is not None:
                self.begun("")
            self.set_result(value)

    def reject(self, error: Exception) -> None:
        """The request failed; one that was asked to stop has ended."""
        if self.stopping:
            super().cancel()
        elif self.started is not None and not self.started.done():
            self.started.set_exception(error)
        elif not self.done():
            self.set_exception(error)

    @property
    def _owner(self) -> LoopOwner:
        owner: LoopOwner = self.get_loop().owner  # type: ignore[attr-defined]  # only a WorkflowLoop makes one
        return owner

    def __hash__(self) -> int:
        return self.serial


class _Future(asyncio.Future[Any]):
    def __init__(self, loop: WorkflowLoop, serial: int) -> None:
        super().__init__(loop=loop)
        self.serial = serial

    def __hash__(self) -> int:
        return self.serial


class _Task(asyncio.Task[Any]):
    def __init__(self, coroutine: Any, loop: WorkflowLoop, serial: int, **options: Any) -> None:
        self.serial = serial
        super().__init__(coroutine, loop=loop, **options)

    def __hash__(self) -> int:
        return self.serial


class WorkflowLoop(asyncio.AbstractEventLoop):
    """Loop of one run, `owner`, which receives its requests. `ready`: callbacks that wait to run."""

    def __init__(self, owner: LoopOwner) -> None:
        self.owner = owner
        self.now_ms = 0
        self.tasks: dict[int, _Task] = {}  # that have not finished, by serial: asyncio itself keeps none alive
        self.unretrieved: list[tuple[str, BaseException]] = []  # names of tasks and their errors, for the owner to log
        self._failed: list[weakref.ref[_Task]] = []
        self.ready: deque[_Handle | _TimerHandle] = deque()
        # From the seed: the same on every machine, but different for each run. asyncio keeps all tasks of the process
        # in one set, in which equal hashes would cost the square of the number of runs.
        self._serial = zlib.crc32(owner.seed.encode()) << 24
        self.stops = False
        self.next_hash = itertools.count(1).__next__  # of calls created under this loop, when code first needs one

    def enter(self) -> asyncio.AbstractEventLoop | None:
        """Become the thread's running loop; returns the previous one, for `leave`."""
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        return before

    def leave(self, before: asyncio.AbstractEventLoop | None) -> None:
        """Restore the previous running loop."""
        asyncio._set_running_loop(before)

    def drain(self) -> None:
        """Run callbacks until none is left or `stops` was set, STEPS_MAX at most.

        To be called between `enter` and `leave`."""
        ready = self.ready
        self.stops = False
        steps = 0
        handle: _Handle | _TimerHandle | None = None
        while ready and not self.stops:
            handle = ready.popleft()
            if handle._stopped:
                continue
            steps += 1
            if steps > STEPS_MAX:
                ready.clear()
                self.owner.callback_failed(EndlessWorkflow(_ENDLESS))
                return
            try:
                handle.context.run(handle.callback, *handle.args)
            except BaseException as error:  # noqa: BLE001 - SystemExit of one run must not end the processor
                self.owner.callback_failed(error)
        handle = None  # since Python 3.12 the traceback of a task's error keeps this frame, which would keep the task

    def put_first(self, queue: Callable[[], object]) -> None:
        """Let the callbacks that `queue` adds run before those that are waiting."""
        waiting = tuple(self.ready)
        self.ready.clear()
        queue()
        self.ready.extend(waiting)

    @property
    def waiting(self) -> int:
        """Number of callbacks that wait to run."""
        return len(self.ready)

    def close_tasks(self) -> None:
        """Close tasks that still run, the youngest first; what their `finally` blocks await is not performed."""
        for task in reversed(self.tasks.values()):
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # eviction is deliberate
                _close(task.get_coro())
                _detach(task)
        self.tasks.clear()
        self.ready.clear()

    def disown(self) -> None:
        """Forget the owner, after `close_tasks`: in a circle, both would stay until a full garbage collection, which is
        rare in a process that keeps many runs (4 kB of each evicted run, measured)."""
        self.owner = _NO_OWNER

    def fire(self, handle: _TimerHandle) -> None:
        """Queue the callback of a timer that is due."""
        self.ready.append(handle)

    # asyncio's loop interface.

    def call_soon(  # type: ignore[override]  # the handle has all of asyncio.Handle but its debugging
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> _Handle:
        handle = _Handle(callback, args, context if context is not None else contextvars.copy_context())
        self.ready.append(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        due_ms = min(max(round(min(when, DUE_MS_MAX) * 1000), self.now_ms), DUE_MS_MAX)
        sequence = self.owner.timer_started(due_ms)
        handle = _TimerHandle(when, sequence, callback, args, context, self.owner)
        self.owner.timers[sequence] = handle
        return handle

    def time(self) -> float:
        return self.now_ms / 1000

    def create_future(self) -> asyncio.Future[Any]:
        self.owner.refuse_if_closing()
        self._serial += 1
        return _Future(self, self._serial)

    def create_task(self, coro: Generator[Any, None, T] | Coroutine[Any, Any, T], **options: Any) -> asyncio.Task[T]:
        self.owner.refuse_if_closing()
        self._serial += 1
        if options.get("name") is None:
            options["name"] = f"task-{self._serial & 0xFFFFFF}"
        options.pop("eager_start", None)
        hand_over = getattr(coro, "hand_over", None)
        if hand_over is not None:
            hand_over()
        task = _Task(coro, self, self._serial, **options)
        task.add_done_callback(self._finished)
        self.tasks[self._serial] = task
        return task

    def _finished(self, task: Any) -> None:
        self.tasks.pop(task.serial, None)
        if task._log_traceback:
            self._failed.append(weakref.ref(task))

    def give_up_failed(self) -> None:
        """Report the errors that no code has received, of tasks that something still refers to: the run ends."""
        for task in filter(None, [failed() for failed in self._failed]):
            if task._log_traceback:  # asyncio's own mark, removed by `exception`
                self.call_exception_handler({"future": task, "exception": task.exception()})
        self._failed.clear()

    def request_future(self, sequence: int, kind: str) -> RequestFuture:
        """The future of a request that was just made. `kind`: `activity` or `child`."""
        self._serial += 1
        future = RequestFuture(loop=self)  # without an __init__ of its own: there is one for each request
        future.serial, future.sequence, future.kind, future.ends_first = self._serial, sequence, kind, ends_first.get()
        return future

    def perform(self, call: Call[Any]) -> RequestFuture:
        """Request what `call` stands for (the CallHost protocol of schemas/values/call.py)."""
        return self.owner.perform(call)

    def dropped(self, call: Lazy[Any]) -> None:
        """A call or a wait was discarded without being awaited (the CallHost protocol)."""
        self.owner.call_dropped(call)

    get_debug = bool  # returns False; called for each new future and task, and a C type answers in half the time

    def set_debug(self, enabled: bool) -> None:  # noqa: FBT001 - asyncio's own signature
        """Has no effect: there is no debug mode."""

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self.owner.closing

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep asyncio's report of an exception that no code has received: its task, or future, is being deleted."""
        future, error = context.get("future"), context.get("exception")
        if error is not None:
            self.unretrieved.append((future.get_name() if isinstance(future, asyncio.Task) else "", error))

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """As `call_exception_handler`."""
        self.call_exception_handler(context)

    def get_task_factory(self) -> None:
        return None

    def get_exception_handler(self) -> None:
        return None

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Ignore: durable timers report to the owner."""


class _NoOwner:
    """Owner of a loop that is closed: makes no request."""

    workflow_id = run_id = seed = ""
    closing = True
    replaying = False

    def __init__(self) -> None:
        self.timers: dict[int, Any] = {}

    def timer_started(self, due_ms: int) -> int:
        raise GeneratorExit(due_ms)

    def timer_cancelled(self, sequence: int) -> None:
        """Ignore."""

    def perform(self, call: Call[Any]) -> RequestFuture:
        raise GeneratorExit(call.name)

    def request_cancelled(self, sequence: int, kind: str) -> None:
        """Ignore."""

    def stop_requested(self, sequence: int, kind: str) -> None:
        """Ignore."""

    def refuse_if_closing(self) -> None:
        raise GeneratorExit

    def callback_failed(self, error: BaseException) -> None:
        """Ignore."""

    def call_dropped(self, call: Lazy[Any]) -> None:
        """Ignore."""


_NO_OWNER = _NoOwner()


def _detach(task: asyncio.Task[Any]) -> None:
    """Remove the callbacks between a closed task and what it waited for: they refer to each other."""
    for future in (task, task._fut_waiter):  # type: ignore[attr-defined]
        for callback, _ in (future is not None and future._callbacks) or ():
            future.remove_done_callback(callback)


def _close(coroutine: Any) -> None:
    """Close a coroutine now, under its own loop. The garbage collector would run its `finally` blocks later, on any
    thread and under any run's loop, and their requests would become another run's."""
    for _ in range(CLOSES_MAX):
        try:
            if coroutine is not None:
                coroutine.close()
            return
        except RuntimeError:  # it swallowed GeneratorExit and waits again, or its clean-up raised RuntimeError
            continue
        except BaseException:  # noqa: BLE001 - the run's state is discarded, whatever its clean-up raises
            return
    _unclosable.append(coroutine)


def _ordered_set(items: Iterable[Any] = ()) -> Any:
    """Replacement of `set` in asyncio.tasks that keeps the order of workflow code's awaitables.

    `as_completed` makes tasks from a set of its arguments, and coroutines hash by their addresses: on replay they would
    start, and make their requests, in another order."""
    if items and isinstance(asyncio._get_running_loop(), WorkflowLoop):
        return dict.fromkeys(items)
    return set(items)


setattr(asyncio.tasks, "set", _ordered_set)  # noqa: B010 - a module global unknown to checkers


async def _wait_for(awaitable: Any, timeout_s: float | None) -> Any:
    """`asyncio.wait_for` as Python 3.12 and later have it, in Python 3.11, which starts its timer first.

    The order of requests must not depend on the interpreter: an open run may go on under a newer one."""
    if not isinstance(asyncio.get_running_loop(), WorkflowLoop):
        return await _wait_for_of_python(awaitable, timeout_s)
    if timeout_s is not None and timeout_s <= 0:
        future = asyncio.ensure_future(awaitable)
        if not future.done():
            future.cancel()
            await asyncio.wait([future])
        try:
            return future.result()
        except asyncio.CancelledError as error:
            raise TimeoutError from error
    async with asyncio.timeout(timeout_s):
        return await awaitable


def _replace_wait_for() -> None:
    """Give the function another code, since user code may have imported it by its name."""
    replaced = asyncio.tasks.wait_for
    setattr(asyncio.tasks, _wait_for.__name__, _wait_for)
    replaced.__code__ = _wait_for_by_name.__code__


async def _wait_for_by_name(fut: Any, timeout: float | None) -> Any:
    return await _wait_for(fut, timeout)


_wait_for_of_python = types.FunctionType(asyncio.wait_for.__code__, vars(asyncio.tasks), "wait_for")
if sys.version_info < (3, 12):
    _replace_wait_for()


def _refusal(name: str, instead: str) -> Callable[..., NoReturn]:
    def refuse(self: WorkflowLoop, *args: Any, **options: Any) -> NoReturn:
        raise NonDeterministicCall(f"workflow code called the event loop's {name}(); {instead}.")

    refuse.__name__ = name
    return refuse


_REFUSED = {
    "run_in_executor": "put blocking work into an activity",
    "call_soon_threadsafe": "workflow code has one thread; signal the run from outside instead",
    "getaddrinfo": "reach the network from an activity",
    "getnameinfo": "reach the network from an activity",
    "create_connection": "reach the network from an activity",
    "create_server": "reach the network from an activity",
    "create_unix_connection": "reach the network from an activity",
    "create_unix_server": "reach the network from an activity",
    "create_datagram_endpoint": "reach the network from an activity",
    "subprocess_shell": "start processes from an activity",
    "subprocess_exec": "start processes from an activity",
    "connect_read_pipe": "read files from an activity",
    "connect_write_pipe": "write files from an activity",
    "add_reader": "read from an activity",
    "add_writer": "write from an activity",
    "add_signal_handler": "handle signals in the program that hosts the workflow",
    "sock_recv": "reach the network from an activity",
    "sock_sendall": "reach the network from an activity",
    "sock_connect": "reach the network from an activity",
    "sock_accept": "reach the network from an activity",
    "run_forever": "await instead",
    "run_until_complete": "await instead",
    "stop": "return from the workflow instead",
    "close": "return from the workflow instead",
    "set_task_factory": "use create_task as it is",
    "set_default_executor": "put blocking work into an activity",
    "shutdown_asyncgens": "return from the workflow instead",
}
for _name, _instead in _REFUSED.items():
    setattr(WorkflowLoop, _name, _refusal(_name, _instead))
