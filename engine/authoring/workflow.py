"""The decorator of workflows, for functions and classes, and of the methods of such classes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, overload

from penstock.engine.authoring.class_form import define_class, mark_run
from penstock.engine.authoring.definition import TypeOptions, WorkflowDefinition, register
from penstock.engine.authoring.handlers import AsyncUpdateMethod, QueryMethod, SignalMethod, UpdateMethod, checked
from penstock.engine.execution.bugs import CODE_ERRORS, Kinds
from penstock.schemas.errors import BadInput, BadName, WorkflowError
from penstock.schemas.ids import check_version
from penstock.schemas.values.durations import Duration
from penstock.schemas.values.functions import check_function
from penstock.schemas.values.kept import Kept, kept_of
from penstock.schemas.values.schedule import Schedule

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C")
F = TypeVar("F", bound=Callable[..., Any])

Unfinished = Literal["wait", "abandon"]
"""What happens to handlers that began when the workflow itself has ended."""


class _Decorator(Protocol):
    @overload
    def __call__(self, code: type[C], /) -> type[C]: ...  # type: ignore[overload-overlap]  # no class is such a function
    @overload
    def __call__(self, code: Callable[P, Coroutine[Any, Any, R]], /) -> WorkflowDefinition[P, R]: ...


class _SignalDecorator(Protocol):
    def __call__(self, fn: Callable[Concatenate[Any, P], R], /) -> SignalMethod[P, R]: ...


class _QueryDecorator(Protocol):
    def __call__(self, fn: Callable[Concatenate[Any, P], R], /) -> QueryMethod[P, R]: ...


class _UpdateDecorator(Protocol):
    @overload
    def __call__(self, fn: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /) -> AsyncUpdateMethod[P, R]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[Any, P], R], /) -> UpdateMethod[P, R]: ...


class _Workflow:
    """`@workflow`, and the decorators of methods: `@workflow.run`, `.signal`, `.query`, `.update`."""

    @overload
    def __call__(self, code: type[C], /) -> type[C]: ...  # type: ignore[overload-overlap]  # no class is such a function
    @overload
    def __call__(self, code: Callable[P, Coroutine[Any, Any, R]], /) -> WorkflowDefinition[P, R]: ...
    @overload
    def __call__(
        self,
        /,
        *,
        name: str | None = None,
        version: int = 1,
        closed_kept: Duration | Mapping[str, Duration] | None = None,
        blocks_on: Iterable[type[Exception]] = CODE_ERRORS,
        unfinished_handlers: Unfinished = "wait",
        schedule: Schedule | None = None,
    ) -> _Decorator: ...
    def __call__(
        self,
        code: Any = None,
        /,
        *,
        name: str | None = None,
        version: int = 1,
        closed_kept: Duration | Mapping[str, Duration] | None = None,
        blocks_on: Iterable[type[Exception]] = CODE_ERRORS,
        unfinished_handlers: Unfinished = "wait",
        schedule: Schedule | None = None,
    ) -> Any:
        """Make an async function, or a class with an async method `run`, a durable workflow. Its name is that of the
        function or class by default.

        A class takes its input in `__init__`, which runs before any handler; its methods may be `@workflow.signal`,
        `@workflow.query` and `@workflow.update`. `unfinished_handlers`: when `run` has ended, handlers of signals and
        updates that began are awaited before the run closes (`wait`), or dropped (`abandon`).

        `closed_kept`: how long runs that start from now on are kept after they have closed: until then they can be
        read, and their ids, starts and messages are recognised. A duration, or one by status, such as `{"completed":
        "1d", "failed": "30d"}`; statuses are `completed`, `failed` (also over its time, or with a history that was too
        long), `cancelled`, `terminated`, `continued` and `reset`. Otherwise as long as the processors' setting
        `closed_kept` says.

        `blocks_on`: exceptions that stand for a bug. One that leaves the function in the activation that raised it does
        not fail the run: the run becomes BLOCKED, and goes on with mended code. By default NameError, AttributeError,
        TypeError, ImportError, RecursionError (`CODE_ERRORS`) and their subclasses; `()` lets all exceptions fail the
        run.

        `schedule`: processors that host the workflow create a schedule of its name when they start, or change the one
        that is there, which starts it without arguments.

        Raises BadName for a function that is not async, a class without `run`, and for a name that other code has;
        BadDuration; BadInput for `closed_kept`, `blocks_on`, `unfinished_handlers` and `schedule`.
        """
        if unfinished_handlers not in {"wait", "abandon"}:
            raise BadInput(f"@workflow(unfinished_handlers=…) is `wait` or `abandon`, not {unfinished_handlers!r}.")
        kept = _kept(closed_kept)
        options = TypeOptions(
            name or "",
            check_version(version),
            kept.others,
            _kinds(blocks_on),
            unfinished_handlers == "wait",
            _schedule(schedule),
            kept.by_status,
        )
        return _decorator(options) if code is None else _define(code, options)

    def run(self, fn: F) -> F:
        """Mark the method of a workflow class that is the workflow. Raises BadName unless it is `async def run`."""
        mark_run(fn)
        return fn

    @overload
    def signal(self, fn: Callable[Concatenate[Any, P], R], /) -> SignalMethod[P, R]: ...
    @overload
    def signal(self, /, *, name: str) -> _SignalDecorator: ...
    def signal(self, fn: Any = None, /, *, name: str = "") -> Any:
        """Let a method, sync or async, take a signal. Its name is the method's by default. Raises BadName, BadInput."""
        return _method(SignalMethod, fn, name)

    @overload
    def query(self, fn: Callable[Concatenate[Any, P], R], /) -> QueryMethod[P, R]: ...
    @overload
    def query(self, /, *, name: str) -> _QueryDecorator: ...
    def query(self, fn: Any = None, /, *, name: str = "") -> Any:
        """Let a method answer a query: it may only read. Raises BadName for an async one, BadInput."""
        return _method(QueryMethod, fn, name)

    @overload
    def update(self, fn: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /) -> AsyncUpdateMethod[P, R]: ...
    @overload
    def update(self, fn: Callable[Concatenate[Any, P], R], /) -> UpdateMethod[P, R]: ...
    @overload
    def update(self, /, *, name: str) -> _UpdateDecorator: ...
    def update(self, fn: Any = None, /, *, name: str = "") -> Any:
        """Let a method, sync or async, answer an update: it may change the run, and await. Raises BadName, BadInput."""
        return _method(UpdateMethod, fn, name)


workflow = _Workflow()


def _kept(closed_kept: Duration | Mapping[str, Duration] | None) -> Kept:
    try:
        return kept_of(closed_kept)
    except BadInput as error:
        raise BadInput(f"@workflow(closed_kept=…): {error}") from error


def _schedule(schedule: Any) -> Schedule | None:
    if schedule is not None and not isinstance(schedule, Schedule):
        raise BadInput(f"@workflow(schedule=…) takes a Schedule such as Schedule(cron='0 2 * * *'), not {schedule!r}.")
    return schedule


def _check_startable(parameters: Iterable[inspect.Parameter], name: str) -> None:
    """Check that a workflow with a schedule can be started without arguments. Raises BadInput."""
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for parameter in parameters:
        if parameter.default is parameter.empty and parameter.kind not in variadic:
            raise BadInput(
                f"The schedule of {name} starts it without arguments, but {parameter.name!r} has no default: give it "
                "one, or create the schedule with `client.schedules.create`."
            )


def _kinds(blocks_on: Any) -> Kinds:
    if not isinstance(blocks_on, Iterable) or isinstance(blocks_on, str):
        raise BadInput(f"@workflow(blocks_on=…) takes a tuple of exception classes, not {blocks_on!r}.")
    kinds = tuple(blocks_on)
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise BadInput(f"@workflow(blocks_on=…) takes exception classes such as KeyError, not {kind!r}.")
        if issubclass(kind, WorkflowError):
            name = kind.__name__
            raise BadInput(f"@workflow(blocks_on=…) takes no {name}: code handles it, or lets it fail the run.")
    return kinds


def _decorator(options: TypeOptions) -> Callable[[Any], Any]:
    def define(code: Any) -> Any:
        return _define(code, options)

    return define


def _define(code: Any, options: TypeOptions) -> Any:
    if options.schedule is not None and callable(code):
        _check_startable(inspect.signature(code).parameters.values(), getattr(code, "__name__", repr(code)))
    if isinstance(code, type):
        register(define_class(code, options))
        return code
    check_function(code, "workflow")
    if not inspect.iscoroutinefunction(code):
        raise BadName(_not_async(code))
    definition: WorkflowDefinition[Any, Any] = WorkflowDefinition(code, options)
    register(definition)
    return definition


def _not_async(fn: Callable[..., Any]) -> str:
    if inspect.iscoroutinefunction(inspect.unwrap(fn)):
        return f"@workflow needs an async function, but a decorator of {fn.__name__} returns a sync one; make it async."
    return f"@workflow needs an async function or a class; write `async def {fn.__name__}(…)`."


def _method(kind: Any, fn: Any, name: str) -> Any:
    if fn is None:
        return lambda given: _method(kind, given, name)
    if kind is QueryMethod and inspect.iscoroutinefunction(fn):
        raise BadName(f"The query {name or fn.__name__} is async; a query reads at once: make it a plain def.")
    if kind is UpdateMethod and inspect.iscoroutinefunction(fn):
        kind = AsyncUpdateMethod
    return checked(kind(fn, name))
