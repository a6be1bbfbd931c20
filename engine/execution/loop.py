"""Which asyncio does workflow code see? A deterministic one: callbacks first in, first out; time from the history.

`gather`, `wait`, `timeout`, `TaskGroup`, `sleep`, queues and locks of asyncio work on it unchanged, because they need
only `call_soon`, `call_at`, futures and tasks. Everything that would reach the outside world is refused.

A loop is driven on a plain thread by `drain`; it never waits. Timers and calls become orders of its program. Tasks
and futures hash by the number of their creation, so that sets of them (`asyncio.wait`) iterate alike on every machine.
"""

from __future__ import annotations

import asyncio
import contextvars
import zlib
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, TypeVarTuple

from penstock.schemas.errors import EndlessWorkflow, NonDeterministicCall

if TYPE_CHECKING:
    from penstock.engine.execution.program import Program
    from penstock.schemas.values.call import Call, Lazy

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
TASKS_KEPT_MIN = 64
STEPS_MAX = 1_000_000
"""Steps of one run without waiting: a fan-out of 10,000 takes less than a tenth, a loop without an end has no bound."""

_ENDLESS = (
    f"The workflow took {STEPS_MAX:,} steps without waiting for an activity, a signal or a timer; "
    "await one of them in its loop."
)
CLOSES_MAX = 100
_undying: list[Any] = []  # coroutines that cannot be closed: kept, so that they are never woken by being collected
DUE_MS_MAX = 1 << 62  # half of what 64 bits hold: whatever lies beyond is as good as never


class _Handle(asyncio.Handle):
    """A callback in the queue; leaner than asyncio's own, which formats itself for debugging."""

    __slots__ = ("_stopped", "args", "callback", "context")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context | None
    ) -> None:
        self.callback, self.args = callback, args
        self.context = context if context is not None else contextvars.copy_context()
        self._stopped = False

    def cancel(self) -> None:
        self._stopped = True

    def cancelled(self) -> bool:
        return self._stopped

    def __repr__(self) -> str:
        return f"<callback {self.callback!r}>"


class _TimerHandle(asyncio.TimerHandle):
    """A durable timer's callback; cancelling it is an order of its own."""

    __slots__ = ("_due_s", "_stopped", "args", "callback", "context", "program", "sequence")

    def __init__(
        self,
        due_s: float,
        sequence: int,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
        program: Program,
    ) -> None:
        self._due_s, self.sequence, self.program = due_s, sequence, program
        self.callback, self.args = callback, args
        self.context = context if context is not None else contextvars.copy_context()
        self._stopped = False

    def cancel(self) -> None:
        if not self._stopped:
            self._stopped = True
            self.program.timer_cancelled(self.sequence)

    def cancelled(self) -> bool:
        return self._stopped

    def when(self) -> float:
        return self._due_s

    def __hash__(self) -> int:
        return self.sequence

    def __repr__(self) -> str:
        return f"<timer {self.sequence}>"


class OrderFuture(asyncio.Future[bytes]):
    """What workflow code awaits after an order. Cancelling it gives up the order."""

    serial: int
    sequence: int
    kind: str

    def cancel(self, msg: Any | None = None) -> bool:
        if not super().cancel(msg):
            return False
        program = self.get_loop().program  # type: ignore[attr-defined]  # only a WorkflowLoop makes one
        program.order_cancelled(self.sequence, self.kind)
        return True

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
    """The loop of one run; `program` receives its orders."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.now_ms = 0
        self.tasks: list[_Task] = []
        self._ready: deque[_Handle | _TimerHandle] = deque()
        # From the run id, so that it is the same on every machine, but not the same for every run: asyncio keeps all
        # tasks of the process in one set, in which equal hashes would cost the square of the number of runs.
        self._serial = zlib.crc32(program.run_id.encode()) << 24
        self._tasks_kept_max = TASKS_KEPT_MIN

    def enter(self) -> asyncio.AbstractEventLoop | None:
        """Become the thread's running loop; returns the one before, for `leave`."""
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        return before

    def leave(self, before: asyncio.AbstractEventLoop | None) -> None:
        """Be the running loop no longer."""
        asyncio._set_running_loop(before)

    def drain(self) -> None:
        """Run callbacks until none is left, at most STEPS_MAX. Call it between `enter` and `leave`."""
        ready = self._ready
        steps = 0
        while ready:
            handle = ready.popleft()
            if handle._stopped:
                continue
            steps += 1
            if steps > STEPS_MAX:
                ready.clear()
                self.program.callback_failed(EndlessWorkflow(_ENDLESS))
                return
            try:
                handle.context.run(handle.callback, *handle.args)
            except BaseException as error:  # noqa: BLE001 - SystemExit of one run must not end the processor
                self.program.callback_failed(error)

    def close_tasks(self) -> None:
        """Close what still runs, youngest first; nothing that its `finally` blocks await is done any more."""
        for task in reversed(self.tasks):
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # eviction is no accident
                _close(task.get_coro())
        self.tasks.clear()
        self._ready.clear()

    def fire(self, handle: _TimerHandle) -> None:
        """Queue a timer's callback: its moment has come."""
        self._ready.append(handle)

    # What asyncio asks of a loop.

    def call_soon(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> _Handle:
        handle = _Handle(callback, args, context)
        self._ready.append(handle)
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
        sequence = self.program.timer_started(due_ms)
        handle = _TimerHandle(when, sequence, callback, args, context, self.program)
        self.program.timers[sequence] = handle
        return handle

    def time(self) -> float:
        return self.now_ms / 1000

    def create_future(self) -> asyncio.Future[Any]:
        self.program.refuse_if_closing()
        self._serial += 1
        return _Future(self, self._serial)

    def create_task(self, coro: Generator[Any, None, T] | Coroutine[Any, Any, T], **options: Any) -> asyncio.Task[T]:
        self.program.refuse_if_closing()
        self._serial += 1
        if options.get("name") is None:
            options["name"] = f"task-{self._serial & 0xFFFFFF}"
        options.pop("eager_start", None)
        task = _Task(coro, self, self._serial, **options)
        self.tasks.append(task)
        if len(self.tasks) > self._tasks_kept_max:
            self.tasks = [kept for kept in self.tasks if not kept.done()]
            self._tasks_kept_max = max(TASKS_KEPT_MIN, 2 * len(self.tasks))
        return task

    def order_future(self, sequence: int, kind: str) -> OrderFuture:
        """The future of an order that was just given."""
        self._serial += 1
        future = OrderFuture(loop=self)  # without an __init__ of its own: there is one for each order
        future.serial, future.sequence, future.kind = self._serial, sequence, kind
        return future

    def perform(self, call: Call[Any]) -> OrderFuture:
        """Order what `call` stands for (schemas/call.py asks for this by duck type)."""
        return self.program.perform(call)

    def dropped(self, call: Lazy[Any]) -> None:
        """A call, or a wait, was thrown away unused."""
        self.program.call_dropped(call)

    get_debug = bool  # gives False; each new future and task asks, and a class of C answers in half the time

    def set_debug(self, enabled: bool) -> None:  # noqa: FBT001 - asyncio's own signature
        """Has no effect: there is no debug mode."""

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self.program.closing

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """asyncio's complaints about forgotten exceptions: a run's failure is told by its own end."""

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """As `call_exception_handler`."""

    def get_task_factory(self) -> None:
        return None

    def get_exception_handler(self) -> None:
        return None

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """asyncio's own timers tell the loop; ours tell the program."""


def _close(coroutine: Any) -> None:
    """End it here and now, under its own loop. What the garbage collector finds runs its `finally` blocks later, in
    any thread and under any run's loop: their orders would be another run's."""
    for _ in range(CLOSES_MAX):
        try:
            if coroutine is not None:
                coroutine.close()
            return
        except RuntimeError:  # it swallowed GeneratorExit and waits again; or cleaning up failed, and now it is gone
            continue
        except BaseException:  # noqa: BLE001 - what cleaning up raises, SystemExit too, concerns nobody any more
            return
    _undying.append(coroutine)


def _in_order(items: Iterable[Any] = ()) -> Any:
    """What `set` means within asyncio's own functions for tasks: the same, but workflow code's awaitables keep their
    order. `as_completed` makes tasks from a set of what it is given, and coroutines hash by their addresses: on replay
    they would begin, and give their orders, in another order."""
    if items and isinstance(asyncio._get_running_loop(), WorkflowLoop):
        return dict.fromkeys(items)
    return set(items)


setattr(asyncio.tasks, "set", _in_order)  # noqa: B010 - a global of that module, which a checker does not know


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
