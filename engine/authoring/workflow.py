"""What can workflow code say? The decorator, and everything a workflow may ask for while it runs."""

from __future__ import annotations

import asyncio
import functools
import inspect
import random as random_module
import uuid as uuid_module
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

import msgspec

from penstock.engine.authoring.waiting import Wait
from penstock.engine.execution.loop import WorkflowLoop
from penstock.schemas.errors import BadName, NotInWorkflow
from penstock.schemas.ids import check_signal_name, check_workflow_id
from penstock.schemas.records.events import ChildScheduled, ExternalCancelRequested, ExternalSignalSent
from penstock.schemas.values.call import Call
from penstock.schemas.values.durations import due_ms
from penstock.schemas.values.payload import Adapter, Signature, adapter_for, check_size

if TYPE_CHECKING:
    from penstock.engine.execution.program import Program
    from penstock.schemas.values.durations import Moment

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Self = TypeVar("Self", bound="WorkflowCall[Any]")

_definitions: dict[str, WorkflowDefinition[Any, Any]] = {}
# What signals take, by name, as code of this process made them.
_declared: dict[str, dict[Adapter[Any], None]] = {}
DECLARED_MAX = 10_000  # names, and types of one name: code may make signals as it runs
NAMES_TOLD_MAX, NAME_TOLD_CHARS_MAX = 10, 80


class WorkflowCall(Call[R]):
    """A workflow that has not started yet: await it inside a workflow (a child), or hand it to `client.start`."""

    __slots__ = ("version", "workflow_id")

    def __init__(self, name: str, input: bytes, returns: Adapter[R], *, depth: int = 3) -> None:
        super().__init__(name, input, returns, depth=depth)
        self.workflow_id = ""

    def options(self: Self, *, id: str | None = None) -> Self:
        """The same call under a workflow id of your choice. Raises BadName."""
        if id is not None:
            self.workflow_id = check_workflow_id(id)
        return self

    def order(self, sequence: int, workflow_id: str, run_id: str) -> ChildScheduled:
        child = self.workflow_id or f"{_within(workflow_id, 180)}-{_within(run_id[-8:], 32)}-{sequence}"
        return ChildScheduled(sequence=sequence, workflow_type=self.name, workflow_id=child, input=self.input)

    async def run_outside(self) -> R:
        raise NotInWorkflow(
            f"{self.name}(…) at {self.made_at} is a workflow and can only be awaited inside another one; "
            f"start it with `await client.start({self.name}(…), id=…)`, or in a test with penstock.testing."
        )


def _within(text: str, bytes_max: int) -> str:
    """As much of its beginning as fits, in whole characters: ids are counted in bytes."""
    return text if len(text) * 4 <= bytes_max else text.encode()[:bytes_max].decode(errors="ignore")


class WorkflowDefinition(Generic[P, R]):
    """A workflow type: its name, version and code. Call it to get a WorkflowCall."""

    def __init__(self, fn: Callable[P, Coroutine[Any, Any, R]], name: str, version: int) -> None:
        self.fn, self.name, self.version = fn, name, version
        self.module = fn.__module__
        self.signature = Signature.of(fn)
        functools.update_wrapper(self, fn)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> WorkflowCall[R]:
        return WorkflowCall(self.name, self.signature.bind(args, kwargs, self.name), self.signature.returns)

    def __repr__(self) -> str:
        return f"<workflow {self.name} version {self.version} of {self.module}>"


@overload
def workflow(fn: Callable[P, Coroutine[Any, Any, R]], /) -> WorkflowDefinition[P, R]: ...
@overload
def workflow(
    *, name: str | None = None, version: int = 1
) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], WorkflowDefinition[P, R]]: ...
def workflow(fn: Any = None, /, *, name: str | None = None, version: int = 1) -> Any:
    """Make an async function a durable workflow. Its name is the function's unless told.

    Raises BadName for a function that is not async, and for a name taken by another function.
    """
    if fn is None:
        return functools.partial(_define, name=name, version=version)
    return _define(fn, name=name, version=version)


def _define(fn: Callable[..., Any], *, name: str | None, version: int) -> WorkflowDefinition[Any, Any]:
    if not inspect.iscoroutinefunction(fn):
        raise BadName(f"@workflow needs an async function; write `async def {getattr(fn, '__name__', fn)}(…)`.")
    definition: WorkflowDefinition[Any, Any] = WorkflowDefinition(fn, name or fn.__name__, version)
    known = _definitions.get(definition.name)
    if known is not None and (known.fn.__qualname__, _module(known)) != (fn.__qualname__, _module(definition)):
        raise BadName(
            f"Two workflows are called {definition.name!r}: one in {known.module}, one in {definition.module}; "
            "give one of them another name with @workflow(name=…)."
        )
    _definitions[definition.name] = definition
    return definition


def _module(definition: WorkflowDefinition[Any, Any]) -> str:
    """The file's own name: the same file may be imported as a script and as part of a package."""
    return definition.fn.__code__.co_filename


def registered_workflows() -> dict[str, WorkflowDefinition[Any, Any]]:
    """Every workflow that was defined in this process, by name."""
    return dict(_definitions)


class Signal(Generic[T]):
    """A named, typed message to a run. `Signal("go")` carries nothing. Raises BadName for an empty name."""

    @overload
    def __init__(self: Signal[None], name: str) -> None: ...
    @overload
    def __init__(self, name: str, type: type[T]) -> None: ...
    def __init__(self, name: str, type: Any = None) -> None:
        self.name = check_signal_name(name)
        self.adapter: Adapter[T] = adapter_for(type)
        _declare(self)

    def wait(self, timeout: Moment | None = None) -> Coroutine[Any, Any, T]:
        """The next value sent, first in first out; one that came earlier counts too. To be awaited.

        Raises TimeoutError when none came in time (`timeout`: a duration, or an aware moment)."""
        return Wait(f"{self.name}.wait", self._wait(timeout))

    async def _wait(self, timeout: Moment | None) -> T:
        program = current(f"{self.name}.wait()")
        if timeout is None:
            return self._read(await self._next(program))
        deadline_s = due_ms(timeout, program.loop.now_ms) / 1000
        async with asyncio.timeout_at(deadline_s):
            value = await self._next(program)
        return self._read(value)

    def _read(self, value: bytes) -> T:
        return self.adapter.decode(value, f"The value of signal {self.name}")

    async def _next(self, program: Program) -> bytes:
        future = program.signal_future(self.name)
        try:
            value: bytes = await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                program.signal_unread(self.name, future.result())
            raise
        return value

    def __repr__(self) -> str:
        return f"Signal({self.name!r})"


def _declare(signal: Signal[Any]) -> None:
    known = _declared.get(signal.name)
    if known is None and len(_declared) < DECLARED_MAX:
        known = _declared[signal.name] = {}
    if known is not None and len(known) < DECLARED_MAX:
        known[signal.adapter] = None


def signal_problem(name: str, value: bytes) -> str:
    """Why `value` fits no signal of that name, in a sentence; empty when it fits or nobody declared the name."""
    problem = ""
    for adapter in tuple(_declared.get(name, ())):  # other threads may declare some meanwhile
        try:
            adapter.decode(value)
        except Exception as error:  # noqa: BLE001 - the user's own validators may raise anything
            problem = str(error)
        else:
            return ""
    return problem


def signal_note(name: str) -> str:
    """What its sender should know about a signal that nobody declared, perhaps a misspelt one; empty otherwise."""
    if name in _declared or len(_declared) >= DECLARED_MAX:
        return ""
    declared = sorted(_declared)
    told = [_within(known, NAME_TOLD_CHARS_MAX) for known in declared[:NAMES_TOLD_MAX]]
    if len(declared) > NAMES_TOLD_MAX:
        told.append(f"and {len(declared) - NAMES_TOLD_MAX} more")
    return (
        f"no module of this processor declares a signal called {_within(name, NAME_TOLD_CHARS_MAX)!r} "
        f"(declared: {', '.join(told) or 'none'}); it is kept until the workflow reads one of that name"
    )


def current(what: str, *, changes_nothing: bool = False) -> Program:
    """The program of the running workflow.

    Raises NotInWorkflow; within a side effect's function NonDeterministicCall, unless it `changes_nothing`."""
    loop = asyncio._get_running_loop()
    if not isinstance(loop, WorkflowLoop):
        raise NotInWorkflow(f"{what} works only inside a workflow.")
    if not changes_nothing:
        loop.program.refuse_within_side_effect(what)
    return loop.program


def sleep(duration: Moment) -> Coroutine[Any, Any, None]:
    """Wait durably for a duration ("1h", seconds, timedelta), or until an aware moment. Costs nothing meanwhile.

    To be awaited. Outside of a workflow it sleeps as asyncio does. Raises BadDuration."""
    return Wait("sleep", _sleep(duration))


async def _sleep(duration: Moment) -> None:
    loop = asyncio.get_running_loop()
    now_ms = round(loop.time() * 1000)
    if not isinstance(loop, WorkflowLoop):
        now_ms = round(datetime.now(UTC).timestamp() * 1000)
    await asyncio.sleep((due_ms(duration, now_ms) - now_ms) / 1000)


def now() -> datetime:
    """The workflow's time: when the present decision was made. The same on replay."""
    return datetime.fromtimestamp(current("now()", changes_nothing=True).loop.now_ms / 1000, UTC)


def random() -> random_module.Random:
    """The run's own source of chance. The same on replay."""
    return current("random()").random


def uuid4() -> uuid_module.UUID:
    """A random UUID of the run's own chance. The same on replay."""
    return uuid_module.UUID(int=current("uuid4()").random.getrandbits(128), version=4)


class Info(msgspec.Struct, frozen=True):
    """Facts about the running workflow.

    `version` is the code's when the run started. `started` is aware, UTC. `replaying`: what the code does now happened
    before. `parent_workflow_id` is empty without a parent."""

    workflow_id: str
    run_id: str
    workflow_type: str
    version: int
    started: datetime
    replaying: bool
    parent_workflow_id: str


def info() -> Info:
    """Facts about the running workflow."""
    program = current("info()", changes_nothing=True)
    started = program.started
    return Info(
        workflow_id=program.workflow_id,
        run_id=program.run_id,
        workflow_type=program.definition.name,
        version=started.version if started else program.definition.version,
        started=datetime.fromtimestamp(program.started_ms / 1000, UTC),
        replaying=program.replaying,
        parent_workflow_id=started.parent_workflow_id if started else "",
    )


def wait_condition(condition: Callable[[], bool], *, timeout: Moment | None = None) -> Coroutine[Any, Any, None]:
    """Wait until `condition()` holds; it is asked again whenever the run advanced. To be awaited.

    Raises TimeoutError when it did not hold in time (`timeout`: a duration, or an aware moment)."""
    return Wait("wait_condition", _wait_condition(condition, timeout))


async def _wait_condition(condition: Callable[[], bool], timeout: Moment | None) -> None:
    program = current("wait_condition()")
    if condition():
        return
    future = program.loop.create_future()
    program.conditions.append((condition, future))
    if timeout is None:
        await future
        return
    async with asyncio.timeout_at(due_ms(timeout, program.loop.now_ms) / 1000):
        await future


def side_effect(fn: Callable[[], T]) -> T:
    """Run a short function once and keep its value (plain JSON) in the history.

    Raises WorkflowFailed, which names the error, when `fn` raised or its value is too large: that is kept as well."""
    program = current("side_effect()")

    def run() -> bytes:
        value = msgspec.json.encode(fn())
        check_size(value, what="side_effect()")
        return value

    value: T = msgspec.json.decode(program.recorded_value(run))
    return value


def patched(patch: str) -> bool:
    """Whether to take the new path of a change called `patch`: yes for runs that had not come this far before it."""
    return current("patched()").patched(patch)


class ExternalRun:
    """Another run, by workflow id, to signal or cancel from workflow code."""

    def __init__(self, workflow_id: str) -> None:
        self.workflow_id = check_workflow_id(workflow_id)

    def signal(self, signal: Signal[T], value: T) -> None:
        """Send a signal; it is on its way when this decision commits. Raises BadInput."""
        program = current("get_run().signal()")
        program.give(
            ExternalSignalSent(
                sequence=program.next_sequence(),
                workflow_id=self.workflow_id,
                signal=signal.name,
                input=signal.adapter.encode(value),
            )
        )

    def cancel(self, reason: str = "") -> None:
        """Ask the run to stop; the request is on its way when this decision commits."""
        program = current("get_run().cancel()")
        program.give(
            ExternalCancelRequested(sequence=program.next_sequence(), workflow_id=self.workflow_id, reason=reason)
        )


def get_run(workflow_id: str) -> ExternalRun:
    """A handle on another run, by its workflow id. Raises BadName."""
    return ExternalRun(workflow_id)
