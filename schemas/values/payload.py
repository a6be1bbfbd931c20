"""How do a user's values travel? As JSON, by the annotations of the function that takes or gives them.

    no parameter        null
    one parameter       the bare value
    several             a JSON object by parameter name (a JSON array by position is read too)

msgspec does the work: plain values, dataclasses, TypedDicts, msgspec structs, datetime, UUID, Decimal, Enum. pydantic
models, anywhere inside, are written and read by themselves; a type that msgspec does not take (a union of models) is
read by pydantic alone. Nothing is pickled.
"""

from __future__ import annotations

import inspect
import re
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache, partial
from typing import Any, Generic, TypeVar, overload

import msgspec
import msgspec.inspect

from penstock.schemas.errors import BadInput, PayloadTooLarge
from penstock.schemas.values.call import Lazy

T = TypeVar("T")

PAYLOAD_BYTES_MAX = 900_000
"""A record with one payload of this size fits into Kafka's default of 1 MB a message."""

_PROBLEMS_SHOWN_MAX = 3
_IMMUTABLE = (str, int, float, bool, bytes, type(None))
_NULL = b"null"
_ANY_JSON: tuple[Any, ...] = (None, type(None), inspect.Parameter.empty)


@overload
def adapter_for(type: type[T]) -> Adapter[T]: ...
@overload
def adapter_for(type: Any) -> Adapter[Any]: ...
def adapter_for(type: Any) -> Adapter[Any]:
    """What writes and reads values of this type; made once a type. None, and no annotation, stand for any JSON."""
    try:
        return _adapter_for(type)
    except TypeError:  # a type that cannot be hashed, such as Annotated[int, []]
        return Adapter(type)


def check_size(data: bytes, *, limit: int = PAYLOAD_BYTES_MAX, what: str) -> None:
    """Raises PayloadTooLarge, naming `what`, for data of more than `limit` bytes."""
    if len(data) > limit:
        raise PayloadTooLarge(
            f"{what}: the value takes {len(data):,} bytes as JSON and the limit is {limit:,}; "
            "keep it elsewhere and hand over where it is."
        )


class Adapter(Generic[T]):
    """Values of one type to JSON bytes and back.

    Every payload passes through an adapter or a Signature, and both end in `_written` and in a decoder's `decode`: a
    chain of payload codecs (bytes to bytes, such as encryption) belongs right there.
    """

    def __init__(self, type: Any) -> None:
        self.type = Any if type in _ANY_JSON else type

    def encode(self, value: T) -> bytes:
        """The value as JSON. Raises BadInput for a value that has no JSON form."""
        try:
            return _written(value)
        except Exception as error:  # whatever the user's own models raise
            raise BadInput(_unwritable(value, error)) from error

    def decode(self, data: bytes, what: str = "The value") -> T:
        """The value in these bytes; no bytes at all count as `null`.

        Raises BadInput: one sentence about `what`, with the path."""
        read = self._read
        try:
            return read(data or _NULL)
        except Exception as error:  # whatever the user's own models raise
            raise BadInput(f"{what} does not fit {_type_name(self.type)}: {_complaint(error)}.") from error

    @property
    def native(self) -> bool:
        """Whether msgspec reads the type, with pydantic models perhaps inside; otherwise pydantic reads it all."""
        return isinstance(self._decoder, msgspec.json.Decoder)

    @cached_property
    def _read(self) -> Callable[[bytes], T]:
        # A model reads bytes at once, which saves the way over a dictionary.
        read: Callable[[bytes], T] | None = getattr(self.type, "model_validate_json", None)
        return read or self._decoder.decode

    @cached_property
    def _decoder(self) -> Any:
        try:
            return msgspec.json.Decoder(self.type, dec_hook=_read_model)
        except TypeError as error:
            return _PydanticDecoder(self.type, error)


class Signature:
    """A function's parameters and result, as JSON. Its annotations are resolved at first use."""

    def __init__(
        self, fn: Callable[..., Any], parameters: Sequence[inspect.Parameter], names: Mapping[str, Any]
    ) -> None:
        """Use `Signature.of`. `names` are those visible where a function within a function was defined."""
        self._fn, self._parameters, self._names = fn, parameters, names

    @classmethod
    def of(cls, fn: Callable[..., Any], *, skip_first: bool = False) -> Signature:
        """The signature of `fn`, without its first parameter if `skip_first` (a method's `self`).

        Raises BadInput for parameters that cannot travel: `*args`, `**kwargs` and keyword-only ones.
        """
        parameters = list(inspect.signature(fn).parameters.values())[skip_first:]
        for parameter in parameters:
            if parameter.kind not in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}:
                raise BadInput(f"{fn.__name__}: the parameter `{parameter}` cannot travel; give it a place and a name.")
        return cls(fn, parameters, _names_around(fn))

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any], what: str = "") -> bytes:
        """The arguments as JSON, defaults included. `what` names the call in errors, the function's name otherwise.

        Raises BadInput for arguments that the function would not take or that have no JSON form, PayloadTooLarge.
        """
        try:
            data = self._bind(args, kwargs)
        except BadInput:
            raise
        except TypeError as error:
            raise BadInput(f"{what or self._fn.__name__}({self._names_listed}): {_lowered(str(error))}.") from error
        if len(data) > PAYLOAD_BYTES_MAX:
            check_size(data, what=what or self._fn.__name__)
        return data

    def decode(self, data: bytes) -> tuple[Any, ...]:
        """The arguments by position; what the input leaves out gets its default. Raises BadInput, naming the path."""
        decode = self._decode
        try:
            return decode(data or _NULL)
        except Exception as error:  # whatever the user's own models raise
            fault = f"The input does not fit {self._fn.__name__}({self._names_listed}): {_complaint(error)}."
            raise BadInput(fault) from error

    def rewritten(self, data: bytes) -> bytes:
        """A recorded input, read and written again by today's annotations. Raises BadInput, PayloadTooLarge."""
        return self.bind(self.decode(data), {})

    @cached_property
    def returns(self) -> Adapter[Any]:
        """What writes and reads the function's result."""
        return adapter_for(self._hints.get("return"))

    @property
    def sketch(self) -> str:
        """What an input looks like: JSON with `…` for what is to be filled in; empty when the function takes none.

        A text is `"…"`, an int 1, a list `[…]`; several parameters, and one of any other type, are `{…}`.
        """
        match self._parameters:
            case []:
                return ""
            case [only]:
                return _sketch_of(self._hints.get(only.name, Any))
            case _:
                return "{…}"

    @cached_property
    def _hints(self) -> dict[str, Any]:
        try:
            return typing.get_type_hints(self._fn, localns=dict(self._names) or None, include_extras=True)
        except NameError as error:
            raise BadInput(
                f"The annotations of {self._fn.__qualname__} cannot be resolved ({error}): import or define that name "
                "where the function is defined, outside of `if TYPE_CHECKING`."
            ) from error

    @cached_property
    def _adapters(self) -> list[Adapter[Any]]:
        return [adapter_for(self._hints.get(parameter.name)) for parameter in self._parameters]

    @property
    def _names_listed(self) -> str:
        return ", ".join(parameter.name for parameter in self._parameters)

    @cached_property
    def _bind(self) -> Callable[[Sequence[Any], Mapping[str, Any]], bytes]:
        match self._parameters:
            case []:
                return _bind_nothing
            case [only]:
                return partial(_bind_one, only, self._adapters[0])
            case _:
                return partial(_bind_several, self._struct)

    @cached_property
    def _decode(self) -> Callable[[bytes], tuple[Any, ...]]:
        match self._parameters:
            case []:
                return _decode_nothing
            case [only]:
                return partial(_decode_one, only, self._adapters[0])
            case _:
                by_name, by_place = (
                    msgspec.json.Decoder(shape, dec_hook=_read_model)
                    for shape in (self._struct, self._parameters_struct(array_like=True))
                )
                foreign = [
                    (at, parameter.name, adapter)
                    for at, (parameter, adapter) in enumerate(zip(self._parameters, self._adapters, strict=True))
                    if not adapter.native
                ]
                return partial(_decode_several, by_name, by_place, foreign)

    @cached_property
    def _struct(self) -> type[msgspec.Struct]:
        return self._parameters_struct(array_like=False)

    def _parameters_struct(self, *, array_like: bool) -> type[msgspec.Struct]:
        """The parameters as a struct; what msgspec cannot read is left as raw JSON, for its adapter to read."""
        fields = [
            (parameter.name, adapter.type if adapter.native else msgspec.Raw, _default(parameter))
            for parameter, adapter in zip(self._parameters, self._adapters, strict=True)
        ]
        return msgspec.defstruct("Parameters", fields, array_like=array_like, forbid_unknown_fields=True)


# How arguments are bound and decoded, by how many parameters there are.


def _bind_nothing(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    if args or kwargs:
        raise TypeError("it takes no arguments")
    return _NULL


def _bind_one(
    parameter: inspect.Parameter, adapter: Adapter[Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> bytes:
    if len(args) == 1 and not kwargs:
        return adapter.encode(args[0])
    if args or kwargs.keys() - {parameter.name}:
        raise TypeError(f"it takes one argument, not {len(args) + len(kwargs)}" if args else "unexpected argument name")
    value = kwargs.get(parameter.name, parameter.default)
    if value is parameter.empty:
        raise TypeError(f"missing required argument '{parameter.name}'")
    return adapter.encode(value)


def _bind_several(struct: type[msgspec.Struct], args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    bound = struct(*args, **kwargs)
    try:
        return _written(bound)
    except Exception as error:  # whatever the user's own models raise
        raise BadInput(_unwritable(msgspec.structs.asdict(bound), error)) from error


def _decode_nothing(data: bytes) -> tuple[Any, ...]:
    if msgspec.json.decode(data):
        raise ValueError("it takes none")
    return ()


def _decode_one(parameter: inspect.Parameter, adapter: Adapter[Any], data: bytes) -> tuple[Any, ...]:
    try:
        return (adapter.decode(data),)
    except BadInput as error:
        # No input at all is `null` on the wire, which is no value of the type: so it can only mean the default.
        if data == _NULL and parameter.default is not parameter.empty:
            return (parameter.default,)
        raise error.__cause__ or error from None


def _decode_several(
    by_name: msgspec.json.Decoder[msgspec.Struct],
    by_place: msgspec.json.Decoder[msgspec.Struct],
    foreign: Sequence[tuple[int, str, Adapter[Any]]],
    data: bytes,
) -> tuple[Any, ...]:
    if data == _NULL:
        data = b"{}"
    decoder = by_place if data[:64].lstrip()[:1] == b"[" else by_name
    values = msgspec.structs.astuple(decoder.decode(data))
    if not foreign:
        return values
    read = list(values)
    for at, name, adapter in foreign:
        if isinstance(read[at], msgspec.Raw):  # not a default
            try:
                read[at] = adapter.decode(bytes(read[at]))
            except BadInput as error:
                raise _InParameter(name) from error.__cause__
    return tuple(read)


class _InParameter(Exception):
    """What is wrong with one parameter of several; the cause says what."""


def _default(parameter: inspect.Parameter) -> Any:
    """The parameter's default as msgspec wants it; a mutable one is shared, as Python shares it between calls."""
    default = parameter.default
    if default is parameter.empty:
        return msgspec.NODEFAULT
    return default if isinstance(default, _IMMUTABLE) else msgspec.field(default_factory=lambda: default)


def _names_around(fn: Callable[..., Any]) -> Mapping[str, Any]:
    """The local names where `fn` is being defined: annotations of a function within a function may mean those."""
    around, inside, _ = getattr(fn, "__qualname__", "").rpartition(".<locals>.")
    frame = sys._getframe(1) if inside else None  # noqa: SLF001 - there is no other way to it
    while frame is not None and frame.f_code.co_qualname != around:
        frame = frame.f_back
    return dict(frame.f_locals) if frame is not None else {}


# What msgspec cannot do by itself.


class _PydanticDecoder:
    """Reads what msgspec does not take, such as a union of models."""

    def __init__(self, type: Any, refusal: TypeError) -> None:
        from pydantic import PydanticUserError, TypeAdapter

        try:
            self.decode = TypeAdapter(type).validate_json
        except PydanticUserError as error:
            raise BadInput(f"Values of {_type_name(type)} cannot travel as JSON: {refusal}.") from error


class _NotAwaited(Exception):
    """A call, a wait or a coroutine stands where its outcome was meant."""

    def __str__(self) -> str:
        (value,) = self.args
        if isinstance(value, Lazy):
            return f"{value.name}(…) at {value.made_at} was not awaited: write `await {value.name}(…)`"
        name = getattr(value, "__qualname__", "")
        return f"{name}(…) was not awaited: write `await {name}(…)`" if name else f"{_short(value)} was not awaited"


def _write_model(value: Any) -> Any:
    """What msgspec asks for each value it does not know: a pydantic model writes itself."""
    if isinstance(value, tuple | frozenset):  # known as values, so this is a key
        raise TypeError(f"a key must be a text or a number, not a {type(value).__name__}")
    if inspect.isawaitable(value):
        raise _NotAwaited(value)
    write = getattr(value, "model_dump_json", None)
    if write is None or isinstance(value, type):
        raise NotImplementedError(_type_name(type(value)))
    # By alias, since models are read by alias; round_trip leaves out what could not be read, such as computed fields.
    return msgspec.Raw(write(by_alias=True, round_trip=True).encode())


def _read_model(type: Any, value: Any) -> Any:
    """What msgspec asks for each type it does not know: a pydantic model reads itself, from JSON for JSON's rules."""
    read = getattr(type, "model_validate_json", None)
    if read is None:
        raise BadInput(f"values of {_type_name(type)} cannot travel as JSON")
    return read(_written(value))


_written = msgspec.json.Encoder(enc_hook=_write_model).encode


@lru_cache(maxsize=4096)
def _adapter_for(type: Any) -> Adapter[Any]:
    return Adapter(type)


# What a value looks like.


def _sketch_of(type: Any) -> str:
    try:
        return _sketch(msgspec.inspect.type_info(type))
    except TypeError:  # a type that pydantic alone reads, such as a union of models
        return "{…}"


def _sketch(found: msgspec.inspect.Type) -> str:
    match found:
        case msgspec.inspect.UnionType():
            return _sketch(next(one for one in found.types if not isinstance(one, msgspec.inspect.NoneType)))
        case msgspec.inspect.LiteralType():
            return _written(found.values[0]).decode()
        case msgspec.inspect.EnumType():
            return _written(next(iter(found.cls))).decode()
    return next((text for kinds, text in _SKETCHES if isinstance(found, kinds)), "{…}")


_SKETCHES: tuple[tuple[tuple[type[msgspec.inspect.Type], ...], str], ...] = (
    ((msgspec.inspect.AnyType, msgspec.inspect.RawType), "…"),
    ((msgspec.inspect.NoneType,), "null"),
    ((msgspec.inspect.BoolType,), "true"),
    ((msgspec.inspect.IntType,), "1"),
    ((msgspec.inspect.FloatType,), "1.5"),
    ((msgspec.inspect.CollectionType, msgspec.inspect.TupleType, msgspec.inspect.NamedTupleType), "[…]"),
    (
        (
            msgspec.inspect.StrType,
            msgspec.inspect.BytesType,
            msgspec.inspect.ByteArrayType,
            msgspec.inspect.DateTimeType,
            msgspec.inspect.DateType,
            msgspec.inspect.TimeType,
            msgspec.inspect.TimeDeltaType,
            msgspec.inspect.UUIDType,
            msgspec.inspect.DecimalType,
        ),
        '"…"',
    ),
)


# What was wrong, in words.


def _complaint(error: BaseException) -> str:
    """What is wrong with a value, with the path to it; without a full stop."""
    place = ""
    if isinstance(error, _InParameter) and error.__cause__ is not None:
        place, error = str(error), error.__cause__
    path = _PATH.search(str(error)) if isinstance(error, msgspec.ValidationError) else None
    if path:
        place = f"{place}{path[1].removeprefix('$')}".removeprefix(".")
    cause = error if hasattr(error, "errors") else error.__cause__
    if cause is not None and hasattr(cause, "errors"):
        return _pydantic_complaint(cause.errors(include_url=False), place)
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    text = str(error) or type(error).__name__
    text = _lowered(text[: path.start()] if path else text).rstrip(".")
    return f"`{place}`: {text}" if place else text


def _pydantic_complaint(problems: Sequence[Mapping[str, Any]], place: str) -> str:
    shown = []
    for problem in problems[:_PROBLEMS_SHOWN_MAX]:
        steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in problem["loc"])
        where = f"{place}{steps}".removeprefix(".")
        text = _lowered(problem["msg"])
        shown.append(f"`{where}`: {text}" if where else text)
    more = len(problems) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more > 0 else "")


def _unwritable(value: Any, error: Exception) -> str:
    if isinstance(error, NotImplementedError):
        return (
            f"A value of type {error} has no JSON form: use plain values, dataclasses, TypedDicts, msgspec structs or "
            "pydantic models."
        )
    if isinstance(error, _NotAwaited):
        return f"{error}; only its outcome can be returned or handed over."
    return f"The value {_short(value)} cannot be written as JSON: {_lowered(str(error))}."


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - the user's own __repr__
        text = f"<{type(value).__qualname__}>"
    return text if len(text) <= 80 else f"{text[:80]}…"


def _lowered(text: str) -> str:
    return text if text[:2].isupper() else text[:1].lower() + text[1:]  # JSON stays JSON


def _type_name(type: Any) -> str:
    if isinstance(type, typing.TypeVar | str) or not hasattr(type, "__qualname__") or typing.get_args(type):
        return str(type).replace("typing.", "")
    return str(type.__qualname__)


_PATH = re.compile(r" - at (?:`key` in )?`([^`]*)`$")
