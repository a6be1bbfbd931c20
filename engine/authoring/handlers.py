"""Handlers as workflow code declares them: methods of a class, and the tokens Query and Update of a function."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import TracebackType
from typing import Any, ClassVar, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from penstock.engine.authoring.context import current
from penstock.engine.authoring.signal import Signal
from penstock.engine.execution.handlers import Handler, OneValue
from penstock.schemas.errors import BadInput, BadName
from penstock.schemas.ids import check_query_name, check_signal_name, check_update_name
from penstock.schemas.values.payload import Adapter, Signature, adapter_for

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_ANY = adapter_for(Any)


class HandlerMethod(Generic[P, R]):
    """A method of a workflow class that answers from outside. On the class it names the handler, on an instance it is
    the bound method."""

    kind: ClassVar[str] = ""

    def __init__(self, fn: Callable[..., Any], name: str = "") -> None:
        self.fn, self.name = fn, name or fn.__name__
        self.signature = Signature.of(fn, skip_first=True)
        self.__doc__, self.__name__, self.__wrapped__ = fn.__doc__, fn.__name__, fn

    @overload
    def __get__(self, instance: None, owner: Any) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: Any) -> Callable[P, R]: ...
    def __get__(self, instance: Any, owner: Any) -> Any:
        return self if instance is None else self.fn.__get__(instance, owner)

    def encode(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        """The arguments as JSON. Raises BadInput, PayloadTooLarge."""
        return self.signature.bind(args, kwargs, self.name)

    def decode_result(self, data: bytes) -> Any:
        """The result in JSON. Raises BadInput."""
        return self.signature.returns.decode(data, f"The result of the {self.kind} {self.name}")

    def handler(self, instance: Any) -> Handler:
        """The handler of one run, whose object is `instance`."""
        return Handler(self.fn.__get__(instance), self.signature, self.signature.returns.encode)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}>"


class SignalMethod(HandlerMethod[P, R]):
    """A method that takes a signal: `run.signal(Claim.add, receipt)`."""

    kind = "signal"


class QueryMethod(HandlerMethod[P, R]):
    """A method that answers a query: `await run.query(Claim.status)`."""

    kind = "query"


class UpdateMethod(HandlerMethod[P, R]):
    """A method that answers an update: `await run.update(Claim.amend, amount)`."""

    kind = "update"
    check: Callable[..., None] | None = None

    def validator(self, fn: Callable[Concatenate[Any, P], None]) -> Callable[Concatenate[Any, P], None]:
        """Let a method check the update's arguments before it is accepted. It may only read; raising rejects.

        Raises BadName for a second one."""
        if self.check is not None:
            raise BadName(f"The update {self.name} has a validator already: {self.check.__name__}.")
        self.check = fn
        return fn

    def handler(self, instance: Any) -> Handler:
        """The handler of one run, with its validator."""
        found = super().handler(instance)
        return found if self.check is None else found._replace(validator=self.check.__get__(instance))


class AsyncUpdateMethod(UpdateMethod[P, R]):
    """An update method that is async: on an instance, calling it gives what is to be awaited."""

    @overload  # type: ignore[override]  # a method whose result is awaited, as its function's is
    def __get__(self, instance: None, owner: Any) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: Any) -> Callable[P, Coroutine[Any, Any, R]]: ...
    def __get__(self, instance: Any, owner: Any) -> Any:
        return super().__get__(instance, owner)


class Answering:
    """A registration of a handler; `async with` ends it."""

    def __init__(self, end: Callable[[], object]) -> None:
        self._end = end

    async def __aenter__(self) -> None:
        await asyncio.sleep(0)  # updates that were held begin before the block

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()


class Query(Generic[R]):
    """A named, typed read of a run: `stage = Query("stage", Stage)`; workflow code says `stage.answer(lambda: …)`.

    Raises BadName for an empty name."""

    @overload
    def __init__(self: Query[Any], name: str) -> None: ...
    @overload
    def __init__(self, name: str, returns: type[R]) -> None: ...
    def __init__(self, name: str, returns: Any = Any) -> None:
        self.name = check_query_name(name)
        self.returns: Adapter[R] = adapter_for(returns)

    def answer(self, handler: Callable[[], R]) -> Answering:
        """Answer from now on with what `handler()` returns; `async with` ends it. `handler` may only read."""
        handlers = current(f"{self.name}.answer()").handlers
        return Answering(handlers.register_query(self.name, Handler(handler, OneValue(None), self.returns.encode)))

    def __repr__(self) -> str:
        return f"Query({self.name!r})"


class Update(Generic[T, R]):
    """A named, typed call of a run: `rename = Update("rename", str, str)` takes a text and returns one.

    Raises BadName for an empty name."""

    @overload
    def __init__(self: Update[None, None], name: str) -> None: ...
    @overload
    def __init__(self: Update[T, None], name: str, argument: type[T]) -> None: ...
    @overload
    def __init__(self, name: str, argument: type[T], returns: type[R]) -> None: ...
    @overload
    def __init__(self: Update[None, R], name: str, *, returns: type[R]) -> None: ...
    def __init__(self, name: str, argument: Any = None, returns: Any = None) -> None:
        self.name = check_update_name(name)
        self.argument: Adapter[T] | None = None if argument is None else adapter_for(argument)
        self.returns: Adapter[R] = adapter_for(returns)

    @overload
    def answer(
        self: Update[None, R],
        handler: Callable[[], Coroutine[Any, Any, R] | R],
        *,
        validator: Callable[[], None] | None = None,
    ) -> Answering: ...
    @overload
    def answer(
        self, handler: Callable[[T], Coroutine[Any, Any, R] | R], *, validator: Callable[[T], None] | None = None
    ) -> Answering: ...
    def answer(self, handler: Callable[..., Any], *, validator: Callable[..., None] | None = None) -> Answering:
        """Answer from now on with what `handler(value)` returns, sync or async; `async with` ends it.

        Updates that came before are held and taken now. `validator(value)` may only read; raising rejects the update.
        """
        handlers = current(f"{self.name}.answer()").handlers
        encoding = OneValue(self.argument.decode if self.argument is not None else None)
        registered = Handler(handler, encoding, self.returns.encode, validator)
        return Answering(handlers.register_update(self.name, registered))

    def encode(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        """The argument as JSON. Raises BadInput."""
        return encode_one(self.name, self.argument, args, kwargs)

    def decode_result(self, data: bytes) -> R:
        """The result in JSON. Raises BadInput."""
        return self.returns.decode(data, f"The result of the update {self.name}")

    def __repr__(self) -> str:
        return f"Update({self.name!r})"


def checked(method: HandlerMethod[Any, Any]) -> HandlerMethod[Any, Any]:
    """The method, whose name was checked. Raises BadName."""
    {"signal": check_signal_name, "query": check_query_name, "update": check_update_name}[method.kind](method.name)
    return method


def encoded_signal(signal: Any, values: tuple[Any, ...]) -> tuple[str, bytes]:
    """Name and value (JSON) of a signal: a method of a class, a token, or a name. Raises BadInput, PayloadTooLarge."""
    if isinstance(signal, SignalMethod):
        return signal.name, signal.encode(values, {})
    if len(values) > 1:
        raise BadInput(f"{signal!r} takes one value, not {len(values)}.")
    value: Any = values[0] if values else None
    if isinstance(signal, Signal):
        return signal.name, signal.adapter.encode(value)
    return signal, _ANY.encode(value)


def encode_one(name: str, adapter: Adapter[Any] | None, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    """One value, or none without an adapter, as JSON. Raises BadInput."""
    expected = 0 if adapter is None else 1
    if kwargs or len(args) != expected:
        raise BadInput(f"{name} takes {'one value' if expected else 'no value'}, not {len(args) + len(kwargs)}.")
    return b"null" if adapter is None else adapter.encode(args[0])
