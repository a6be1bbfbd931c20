"""The `@activity` decorator, and the definitions and calls that it produces."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast, overload

import msgspec

from penstock.schemas.values.bounds import ActivityBounds
from penstock.schemas.values.call import Call
from penstock.schemas.values.durations import Duration
from penstock.schemas.values.functions import check_function, code_of
from penstock.schemas.values.payload import Adapter, Signature
from penstock.schemas.values.requests import ActivityRequest
from penstock.schemas.values.retry import RetryPolicy
from penstock.schemas.values.retry_options import DEFAULT, UNSET, Unset, changed_policy, retry_policy, timeout_ms_of
from penstock.workers.activity.bounds import Cancel, activity_bounds
from penstock.workers.activity.checks import (
    Errors,
    Priority,
    check_errors,
    check_name,
    check_priority,
    check_queue,
)
from penstock.workers.activity.registry import Registry

P = ParamSpec("P")
R = TypeVar("R")

Backoff = float | Sequence[Duration]


class _Decorator(Protocol):
    """The decorator that `@activity(…)` with options returns."""

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> ActivityDefinition[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> ActivityDefinition[P, R]: ...


@overload
def activity(fn: Callable[P, Coroutine[Any, Any, R]], /) -> ActivityDefinition[P, R]: ...
@overload
def activity(fn: Callable[P, R], /) -> ActivityDefinition[P, R]: ...
@overload
def activity(
    *,
    name: str | None = None,
    timeout: Duration | None = None,
    retries: int | None = None,
    backoff: Backoff | None = None,
    non_retryable: Errors = (),
    queue: str = "default",
    priority: Priority = "normal",
    schedule_to_start: Duration | None = None,
    schedule_to_close: Duration | None = None,
    heartbeat: Duration | None = None,
    jitter: float = 0.0,
    cancel: Cancel = "abandon",
) -> _Decorator: ...
def activity(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    timeout: Duration | None = None,
    retries: int | None = None,
    backoff: Backoff | None = None,
    non_retryable: Errors = (),
    queue: str = "default",
    priority: Priority = "normal",
    schedule_to_start: Duration | None = None,
    schedule_to_close: Duration | None = None,
    heartbeat: Duration | None = None,
    jitter: float = 0.0,
    cancel: Cancel = "abandon",
) -> Any:
    """Make a function an activity; calling the activity returns an `ActivityCall` to await.

    `name`: the activity's name, by default the function's. `timeout`: the time of one attempt from start to close,
    unlimited by default. `retries`: further attempts after the first (5 means at most six), unlimited by default.
    `backoff`: the factor between delays (the first is 1 s, the longest 120 s), or a list of delays, the last of which
    is repeated. `non_retryable`: exception classes, subclasses included, that end the activity without another
    attempt; checked on the worker. `queue`: the task queue whose workers run it. `priority`: `high`, `normal` or `low`.

    `schedule_to_start`: how long an attempt may wait in its queue; the activity fails then. `schedule_to_close`: how
    long the activity may take with all its attempts. `heartbeat`: the longest time between two calls of `heartbeat()`
    by a running attempt; one that is silent for longer has failed, and is retried elsewhere. These are timed by the
    processors, and unlimited by default. `jitter`: fraction (0 to 1) by which each delay before a retry is longer or
    shorter. `cancel`: code that gives the activity up goes on at once (`abandon`), or waits until the running attempt
    has ended (`wait`).

    A function under another decorator has the parameters of the function below, if that decorator uses
    `functools.wraps`. A wrapper with `**kwargs` receives by name what it does not take by position itself.

    Raises BadName, BadInput, BadDuration at decoration.
    """

    def define(fn: Callable[..., Any]) -> ActivityDefinition[..., Any]:
        definition: ActivityDefinition[..., Any] = ActivityDefinition(
            fn,
            name=name,
            timeout_ms=timeout_ms_of(timeout),
            retry=retry_policy(retries, backoff),
            non_retryable=check_errors(non_retryable),
            queue=queue,
            priority=priority,
            bounds=activity_bounds(
                None,
                schedule_to_start=schedule_to_start,
                schedule_to_close=schedule_to_close,
                heartbeat=heartbeat,
                jitter=jitter,
                cancel=cancel,
                timeouts_final=_timeouts_final(non_retryable),
            ),
        )
        _registry.add(definition)
        return definition

    return define if fn is None else define(fn)


class ActivityDefinition(Generic[P, R]):
    """A declared activity. Calling it returns a lazy call; `.fn` is the plain function.

    `timeout_ms`: 0 for no timeout. `place`: module, qualified name, file and line, for error messages.
    """

    def __init__(
        self,
        fn: Callable[P, Any],
        *,
        name: str | None = None,
        timeout_ms: int = 0,
        retry: RetryPolicy = DEFAULT,
        non_retryable: tuple[type[BaseException], ...] = (),
        queue: str = "default",
        priority: Priority = "normal",
        bounds: ActivityBounds | None = None,
    ) -> None:
        check_function(fn, "activity")
        self.fn = fn
        self.name = check_name(fn.__name__ if name is None else name)
        self.timeout_ms = timeout_ms
        self.retry = retry
        self.non_retryable = non_retryable
        self.queue = check_queue(queue)
        self.priority = check_priority(priority)
        self.is_async = inspect.iscoroutinefunction(fn)
        self.signature = Signature.of(fn)
        self.request = ActivityRequest(self.name, self.queue, timeout_ms, retry, bounds)
        code = code_of(fn)
        self.place = f"{fn.__module__}.{fn.__qualname__} ({code.co_filename}:{code.co_firstlineno})"
        functools.update_wrapper(self, fn)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> ActivityCall[R]:
        """Return a lazy call. Raises BadInput if the arguments do not fit, PayloadTooLarge if they are too large."""
        return ActivityCall(self, args, kwargs)

    @property
    def returns(self) -> Adapter[R]:
        """Codec of the result."""
        return cast("Adapter[R]", self.signature.returns)

    def __repr__(self) -> str:
        return f"<activity {self.name} at {self.place}>"


AnyActivity = ActivityDefinition[..., Any]


class ActivityCall(Call[R]):
    """Lazy call of an activity; it happens when it is awaited."""

    __slots__ = ("_arguments", "definition")

    request: ActivityRequest

    def __init__(
        self, definition: ActivityDefinition[..., R], args: tuple[Any, ...], kwargs: dict[str, Any], *, depth: int = 3
    ) -> None:
        data = definition.signature.bind(args, kwargs, definition.name)
        super().__init__(definition.name, definition.request, data, definition.returns, depth=depth)
        self.definition = definition
        self._arguments = (args, kwargs)

    def options(
        self,
        *,
        timeout: Duration | Unset | None = UNSET,
        retries: int | Unset | None = UNSET,
        backoff: Backoff | Unset = UNSET,
        queue: str | Unset = UNSET,
        schedule_to_start: Duration | Unset | None = UNSET,
        schedule_to_close: Duration | Unset | None = UNSET,
        heartbeat: Duration | Unset | None = UNSET,
        jitter: float | Unset = UNSET,
        cancel: Cancel | Unset = UNSET,
    ) -> ActivityCall[R]:
        """Return a copy of the call with changed options, as for `@activity`; None means unlimited.

        Raises BadName, BadInput, BadDuration."""
        given = self.request
        return self._changed(
            ActivityRequest(
                self.name,
                given.queue if isinstance(queue, msgspec.UnsetType) else check_queue(queue),
                given.timeout_ms if isinstance(timeout, msgspec.UnsetType) else timeout_ms_of(timeout),
                changed_policy(given.retry, retries, backoff),
                activity_bounds(
                    given.bounds,
                    schedule_to_start=schedule_to_start,
                    schedule_to_close=schedule_to_close,
                    heartbeat=heartbeat,
                    jitter=jitter,
                    cancel=cancel,
                    timeouts_final=_timeouts_final(self.definition.non_retryable),
                ),
            )
        )

    def rewritten(self, input: bytes) -> bytes:
        return self.definition.signature.rewritten(input)

    async def run_outside(self) -> R:
        """Run the function once in this process, a sync one in a thread.

        Arguments and result are passed as they are, without encoding.
        """
        args, kwargs = self._arguments
        result: R
        if self.definition.is_async:
            result = await self.definition.fn(*args, **kwargs)
        else:
            result = await asyncio.to_thread(self.definition.fn, *args, **kwargs)
        return result


def _timeouts_final(non_retryable: Errors) -> bool:
    return isinstance(TimeoutError(), check_errors(non_retryable))


_registry: Registry[AnyActivity] = Registry()


def registered() -> Mapping[str, AnyActivity]:
    """Return every declared activity by name. Raises BadName if two functions have the same name."""
    return _registry.all()


def find(name: str) -> AnyActivity | None:
    """Return the activity named `name`, None if there is none. Raises BadName if two functions have that name."""
    return _registry.find(name)
