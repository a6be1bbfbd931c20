"""What is an activity? A plain function, sync or async, that `@activity` makes callable from workflows."""

from __future__ import annotations

import asyncio
import functools
import inspect
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Generic, Literal, ParamSpec, Protocol, TypeVar, cast, get_args, overload

import msgspec

from penstock.schemas.errors import BadInput, BadName
from penstock.schemas.values.call import Call
from penstock.schemas.values.durations import Duration
from penstock.schemas.values.payload import Adapter, Signature
from penstock.schemas.values.requests import ActivityRequest
from penstock.schemas.values.retry import RetryPolicy
from penstock.topics.catalogue import Topics
from penstock.workers.activity.policy import DEFAULT, UNSET, Unset, changed_policy, retry_policy, timeout_ms_of

P = ParamSpec("P")
R = TypeVar("R")

Priority = Literal["high", "normal", "low"]
Backoff = float | Sequence[Duration]
Errors = type[BaseException] | tuple[type[BaseException], ...]

_topics = Topics()
_NAME = re.compile(r"[^\x00-\x20<>\x7f]{1,255}")


class _Decorator(Protocol):
    """What `@activity(…)` is before it meets its function."""

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
) -> Any:
    """Make an activity of a function; calling it then gives an `ActivityCall` to await.

    `timeout`: one attempt's time from start to close, none unless given. `retries`: further attempts after the first
    (5 means at most six), without end unless given. `backoff`: the factor between delays (the first is 1 s, the
    longest 120 s), or the delays themselves, the last repeated. `non_retryable`: exceptions not worth another attempt,
    subclasses included; judged on the worker. `queue`: whose workers run it. `priority`: `high`, `normal` or `low`.

    Raises BadName, BadInput, BadDuration where it stands, so that a wrong word never reaches a worker.
    """

    def define(fn: Callable[..., Any]) -> ActivityDefinition[..., Any]:
        definition: ActivityDefinition[..., Any] = ActivityDefinition(
            fn,
            name=name,
            timeout_ms=timeout_ms_of(timeout),
            retry=retry_policy(retries, backoff),
            non_retryable=_errors(non_retryable),
            queue=queue,
            priority=priority,
        )
        _register(definition)
        return definition

    return define if fn is None else define(fn)


class ActivityDefinition(Generic[P, R]):
    """An activity as declared. Calling it gives a lazy call; `.fn` is the plain function.

    `timeout_ms` is 0 for none. `place` says where it stands, for errors.
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
    ) -> None:
        _check_shape(fn)
        self.fn = fn
        self.name = _name_of(fn, name)
        self.timeout_ms = timeout_ms
        self.retry = retry
        self.non_retryable = non_retryable
        self.queue = check_queue(queue)
        self.priority = _check_priority(priority)
        self.is_async = inspect.iscoroutinefunction(fn)
        self.signature = Signature.of(fn)
        code = inspect.unwrap(fn).__code__
        self.place = f"{fn.__module__}.{fn.__qualname__} ({code.co_filename}:{code.co_firstlineno})"
        functools.update_wrapper(self, fn)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> ActivityCall[R]:
        """A call, not made yet. Raises BadInput for arguments that do not fit, PayloadTooLarge for too big ones."""
        return ActivityCall(self, args, kwargs)

    @property
    def returns(self) -> Adapter[R]:
        """Encodes and decodes the result."""
        return cast("Adapter[R]", self.signature.returns)

    def __repr__(self) -> str:
        return f"<activity {self.name} at {self.place}>"


AnyActivity = ActivityDefinition[..., Any]


class ActivityCall(Call[R]):
    """A call of an activity that has not happened yet."""

    __slots__ = ("_arguments", "definition", "queue", "retry", "timeout_ms")

    def __init__(
        self, definition: ActivityDefinition[..., R], args: tuple[Any, ...], kwargs: dict[str, Any], *, depth: int = 3
    ) -> None:
        data = definition.signature.bind(args, kwargs, definition.name)
        super().__init__(definition.name, data, definition.returns, depth=depth)
        self.definition = definition
        self.queue, self.timeout_ms, self.retry = definition.queue, definition.timeout_ms, definition.retry
        self._arguments = (args, kwargs)

    def options(
        self,
        *,
        timeout: Duration | Unset | None = UNSET,
        retries: int | Unset | None = UNSET,
        backoff: Backoff | Unset = UNSET,
        queue: str | Unset = UNSET,
    ) -> ActivityCall[R]:
        """The same call with these changed: `timeout=None` for no timeout, `retries=None` for retries without end.

        Raises BadName, BadInput, BadDuration."""
        self.claim()
        new: ActivityCall[R] = object.__new__(ActivityCall)
        for slot in _SLOTS:
            setattr(new, slot, getattr(self, slot))
        new._used = False
        if not isinstance(timeout, msgspec.UnsetType):
            new.timeout_ms = timeout_ms_of(timeout)
        if not isinstance(queue, msgspec.UnsetType):
            new.queue = check_queue(queue)
        new.retry = changed_policy(self.retry, retries, backoff)
        return new

    def request(self) -> ActivityRequest:
        return ActivityRequest(self.name, self.input, self.queue, self.timeout_ms, self.retry)

    def rewritten(self, input: bytes) -> bytes:
        return self.definition.signature.rewritten(input)

    async def run_outside(self) -> R:
        """Run the function here and now, once, with the very objects it was called with (a sync one in a thread).

        Nothing goes through encoding on this path: what is returned is what the function returned.
        """
        args, kwargs = self._arguments
        result: R
        if self.definition.is_async:
            result = await self.definition.fn(*args, **kwargs)
        else:
            result = await asyncio.to_thread(self.definition.fn, *args, **kwargs)
        return result


_SLOTS = (*ActivityCall.__slots__, *Call.__slots__)

_places: dict[str, dict[str, AnyActivity]] = {}


def registered() -> Mapping[str, AnyActivity]:
    """Every activity declared so far, by name. Raises BadName when two places claim one name."""
    return {name: _only(name, claims) for name, claims in _places.items()}


def find(name: str) -> AnyActivity | None:
    """The activity of that name, if any is declared. Raises BadName when two places claim it."""
    claims = _places.get(name)
    return _only(name, claims) if claims else None


def check_queue(queue: str) -> str:
    """The queue's name, if it can be part of a topic's name; raises BadName."""
    _topics.tasks(queue)
    return queue


def _register(definition: AnyActivity) -> None:
    """Note the definition; one from the same place replaces its elder (a module was loaded again)."""
    claims = _places.setdefault(definition.name, {})
    claims[_identity(definition)] = definition


def _identity(definition: AnyActivity) -> str:
    """Same file and qualified name, same activity: a script is `__main__` here and a module elsewhere."""
    return f"{inspect.unwrap(definition.fn).__code__.co_filename}:{definition.fn.__qualname__}"


def _only(name: str, claims: Mapping[str, AnyActivity]) -> AnyActivity:
    if len(claims) > 1:
        places = " and ".join(sorted(definition.place for definition in claims.values()))
        raise BadName(f"Two activities are named {name!r}: {places}; rename one of them with @activity(name=…).")
    (definition,) = claims.values()
    return definition


def _name_of(fn: Callable[..., Any], name: str | None) -> str:
    chosen = fn.__name__ if name is None else name
    if not _NAME.fullmatch(chosen):
        raise BadName(
            f"{chosen!r} cannot name an activity: give it a name of 1 to 255 characters without blanks, '<' or '>', "
            'such as @activity(name="charge").'
        )
    return chosen


def _check_shape(fn: Callable[..., Any]) -> None:
    """Raises BadInput for what cannot be an activity; parameters that cannot travel are the Signature's business."""
    if not inspect.isfunction(fn):
        raise BadInput(f"@activity needs a plain function (def or async def), not {fn!r}.")
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise BadInput(f"Activity {fn.__qualname__} is a generator: return one value, such as a list.")
    first = next(iter(inspect.signature(fn).parameters), "")
    if first in {"self", "cls"} and "." in fn.__qualname__:
        raise BadInput(f"Activity {fn.__qualname__} is a method: make it a module-level function or a static method.")


def _check_priority(priority: str) -> Priority:
    for known in get_args(Priority):
        if priority == known:
            return known  # type: ignore[no-any-return]
    raise BadInput(f"Priority {priority!r} is none of high, normal, low.")


def _errors(non_retryable: Errors) -> tuple[type[BaseException], ...]:
    errors: tuple[object, ...] = non_retryable if isinstance(non_retryable, tuple) else (non_retryable,)
    for error in errors:
        if not (isinstance(error, type) and issubclass(error, BaseException)):
            raise BadInput(f"non_retryable takes exception classes, not {error!r}.")
    return tuple(error for error in errors if isinstance(error, type) and issubclass(error, BaseException))
