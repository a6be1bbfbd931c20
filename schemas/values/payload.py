"""Payloads: values of user code as JSON, encoded and decoded by the annotations of a function.

    no parameter        null
    one parameter       the bare value
    several             a JSON object by parameter name (a JSON array by position is accepted too)

msgspec handles plain values, dataclasses, TypedDicts, msgspec structs, datetime, UUID, Decimal and Enum. pydantic
models, at any depth, are handled by pydantic, as are types that msgspec does not support (a union of models). Nothing
is pickled.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache, partial
from typing import Any, Generic, TypeVar, overload

import msgspec

from penstock.schemas.errors import BadInput, PayloadTooLarge
from penstock.schemas.values.functions import handed_by_name
from penstock.schemas.values.json_hooks import PydanticCodec, read_model, to_json
from penstock.schemas.values.payload_errors import (
    ParameterError,
    decoding_problem,
    encoding_problem,
    lowered,
    type_name,
)
from penstock.schemas.values.sketch import sketch_of

T = TypeVar("T")

PAYLOAD_BYTES_MAX = 900_000
"""A record with one payload of this size fits into Kafka's default of 1 MB a message."""

REASON_CHARS_MAX = 2_000
"""Why a run is cancelled or terminated."""

_IMMUTABLE = (str, int, float, bool, bytes, type(None))
_NULL = b"null"
_ANY_JSON: tuple[Any, ...] = (None, type(None), inspect.Parameter.empty)


@overload
def adapter_for(type: type[T]) -> Adapter[T]: ...
@overload
def adapter_for(type: Any) -> Adapter[Any]: ...
def adapter_for(type: Any) -> Adapter[Any]:
    """The adapter of a type, cached. None and a missing annotation mean any JSON value."""
    try:
        return _adapter_for(type)
    except TypeError:  # a type that cannot be hashed, such as Annotated[int, []]
        return Adapter(type)


def check_size(data: bytes, *, limit: int = PAYLOAD_BYTES_MAX, what: str) -> None:
    """Raise PayloadTooLarge if `data` has more than `limit` bytes. `what` names the payload in the message."""
    if len(data) > limit:
        raise PayloadTooLarge(
            f"{what}: the value takes {len(data):,} bytes as JSON and the limit is {limit:,}; "
            "store it elsewhere and pass a reference."
        )


def check_reason(reason: str) -> None:
    """Raise PayloadTooLarge for a reason (of a cancellation, a termination) that is too long to be kept."""
    if len(reason) > REASON_CHARS_MAX:
        raise PayloadTooLarge(f"The reason has {len(reason):,} characters; at most {REASON_CHARS_MAX:,} are allowed.")


class Adapter(Generic[T]):
    """Codec between values of one type and JSON bytes.

    Every payload passes through an Adapter or a Signature. Both end in `to_json` and in a decoder's `decode`, which is
    where a chain of payload codecs (bytes to bytes, such as encryption) would be added.
    """

    def __init__(self, type: Any) -> None:
        self.type = Any if type in _ANY_JSON else type

    def encode(self, value: T) -> bytes:
        """Encode the value as JSON. Raises BadInput if it has no JSON form."""
        try:
            return self._write(value)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever the user's own models raise: SystemExit, a panic of pydantic's
            raise BadInput(encoding_problem(value, error)) from error

    def decode(self, data: bytes, what: str = "The value") -> T:
        """Decode a value; empty `data` means `null`. Raises BadInput with the fault's path, about `what`."""
        read = self._read
        try:
            return read(data or _NULL)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever the user's own models raise: SystemExit, a panic of pydantic's
            raise BadInput(f"{what} does not fit {type_name(self.type)}: {decoding_problem(error)}.") from error

    @property
    def native(self) -> bool:
        """Whether msgspec decodes the type (pydantic models may be inside); if not, pydantic does."""
        return isinstance(self._decoder, msgspec.json.Decoder)

    @cached_property
    def _write(self) -> Callable[[Any], bytes]:
        # What pydantic reads, pydantic writes: the two differ in bytes.
        return to_json if self.native else self._decoder.encode

    @cached_property
    def _read(self) -> Callable[[bytes], T]:
        # A model decodes bytes directly, without a dictionary in between.
        read: Callable[[bytes], T] | None = getattr(self.type, "model_validate_json", None)
        return read or self._decoder.decode

    @cached_property
    def _decoder(self) -> Any:
        try:
            return msgspec.json.Decoder(self.type, dec_hook=read_model)
        except TypeError as error:
            return PydanticCodec(self.type, error)


class Signature:
    """Codec between a function's arguments and JSON bytes. Annotations are resolved at first use."""

    def __init__(
        self, fn: Callable[..., Any], parameters: Sequence[inspect.Parameter], names: Mapping[str, Any]
    ) -> None:
        """Use `Signature.of`. `names` are the local names around a nested function."""
        self._fn, self._parameters, self._names = fn, parameters, names
        self._by_name = handed_by_name(fn, parameters)

    @classmethod
    def of(cls, fn: Callable[..., Any], *, skip_first: bool = False) -> Signature:
        """The signature of `fn`; `skip_first` leaves out its first parameter (a method's `self`).

        Raises BadInput for `*args`, `**kwargs` and keyword-only parameters.
        """
        parameters = list(inspect.signature(fn).parameters.values())[skip_first:]
        for parameter in parameters:
            if parameter.kind not in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}:
                raise BadInput(
                    f"{fn.__name__}: the parameter `{parameter}` is not supported; make it positional (the wrapper of "
                    "another decorator takes it with functools.wraps)."
                )
        return cls(fn, parameters, _enclosing_locals(fn))

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any], what: str = "") -> bytes:
        """Encode the arguments as JSON, defaults included. `what` names the call in errors (default: the function).

        Raises BadInput for arguments that the function does not accept or that have no JSON form, PayloadTooLarge.
        """
        try:
            data = self._bind(args, kwargs)
        except BadInput:
            raise
        except TypeError as error:
            raise BadInput(f"{what or self._fn.__name__}({self._names_listed}): {lowered(str(error))}.") from error
        if len(data) > PAYLOAD_BYTES_MAX:
            check_size(data, what=what or self._fn.__name__)
        return data

    def decode(self, data: bytes) -> tuple[Any, ...]:
        """Decode the arguments, in order; missing ones get their defaults. Raises BadInput with the fault's path."""
        decode = self._decode
        try:
            return decode(data or _NULL)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever the user's own models raise: SystemExit, a panic of pydantic's
            fault = f"The input does not fit {self._fn.__name__}({self._names_listed}): {decoding_problem(error)}."
            raise BadInput(fault) from error

    def handed(self, arguments: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Decoded arguments as the function receives them: by position and by name (see functions.py)."""
        names = self._by_name
        if not names:
            return arguments, {}
        count = len(arguments) - len(names)
        return arguments[:count], dict(zip(names, arguments[count:], strict=True))

    def rewritten(self, data: bytes) -> bytes:
        """A recorded input, read and written again by today's annotations. Raises BadInput, PayloadTooLarge."""
        return self.bind([_completed(value) for value in self.decode(data)], {})

    @cached_property
    def returns(self) -> Adapter[Any]:
        """The adapter of the function's result."""
        return adapter_for(self._hints.get("return"))

    @property
    def parameters(self) -> list[tuple[str, Any]]:
        """Name and type of each parameter, in order; Any without an annotation. Raises BadInput."""
        return [
            (parameter.name, adapter.type) for parameter, adapter in zip(self._parameters, self._adapters, strict=True)
        ]

    @property
    def sketch(self) -> str:
        """Example of an input: JSON with `…` in place of contents (see sketch.py); empty if there are no parameters."""
        match self._parameters:
            case []:
                return ""
            case [only]:
                return sketch_of(self._hints.get(only.name, Any))
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
                foreign = [
                    (parameter.name, adapter)
                    for parameter, adapter in zip(self._parameters, self._adapters, strict=True)
                    if not adapter.native
                ]
                return partial(_bind_several, self._struct, foreign)

    @cached_property
    def _decode(self) -> Callable[[bytes], tuple[Any, ...]]:
        match self._parameters:
            case []:
                return _decode_nothing
            case [only]:
                return partial(_decode_one, only, self._adapters[0])
            case _:
                by_name, by_place = (
                    msgspec.json.Decoder(shape, dec_hook=read_model)
                    for shape in (self._struct, self._parameters_struct(array_like=True))
                )
                foreign = [
                    (at, parameter, adapter)
                    for at, (parameter, adapter) in enumerate(zip(self._parameters, self._adapters, strict=True))
                    if not adapter.native or not self._fits(parameter, adapter)
                ]
                return partial(_decode_several, by_name, by_place, foreign)

    def _fits(self, parameter: inspect.Parameter, adapter: Adapter[Any]) -> bool:
        """Whether the default is a value of its annotation; one that is not (`x: str = None`) is left out in JSON."""
        if parameter.default is parameter.empty:
            return True
        try:
            adapter.decode(adapter.encode(parameter.default))
        except BadInput:
            return False
        return True

    @cached_property
    def _struct(self) -> type[msgspec.Struct]:
        return self._parameters_struct(array_like=False)

    def _parameters_struct(self, *, array_like: bool) -> type[msgspec.Struct]:
        """The parameters as a struct; those that msgspec cannot decode stay raw JSON, for their adapters."""
        fields = [
            (parameter.name, adapter.type if adapter.native else msgspec.Raw, _default(parameter))
            if self._fits(parameter, adapter)
            else (parameter.name, msgspec.Raw | msgspec.UnsetType, msgspec.UNSET)
            for parameter, adapter in zip(self._parameters, self._adapters, strict=True)
        ]
        return msgspec.defstruct("Parameters", fields, array_like=array_like, forbid_unknown_fields=True)


# Binding and decoding of no, one and several parameters.


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


def _bind_several(
    struct: type[msgspec.Struct],
    foreign: Sequence[tuple[str, Adapter[Any]]],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> bytes:
    bound = struct(*args, **kwargs)
    for name, adapter in foreign:
        value = getattr(bound, name)
        if value is not msgspec.UNSET:
            setattr(bound, name, msgspec.Raw(adapter.encode(value)))
    try:
        return to_json(bound)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the user's own models raise
        raise BadInput(encoding_problem(msgspec.structs.asdict(bound), error)) from error


def _decode_nothing(data: bytes) -> tuple[Any, ...]:
    if msgspec.json.decode(data):
        raise ValueError("it takes none")
    return ()


def _decode_one(parameter: inspect.Parameter, adapter: Adapter[Any], data: bytes) -> tuple[Any, ...]:
    try:
        return (adapter.decode(data),)
    except BadInput as error:
        # A missing input is `null` on the wire. It is not a value of this type, so it means the default.
        if data == _NULL and parameter.default is not parameter.empty:
            return (copy.deepcopy(parameter.default),)
        raise error.__cause__ or error from None


def _decode_several(
    by_name: msgspec.json.Decoder[msgspec.Struct],
    by_place: msgspec.json.Decoder[msgspec.Struct],
    foreign: Sequence[tuple[int, inspect.Parameter, Adapter[Any]]],
    data: bytes,
) -> tuple[Any, ...]:
    if data == _NULL:
        data = b"{}"
    decoder = by_place if data[:64].lstrip()[:1] == b"[" else by_name
    values = msgspec.structs.astuple(decoder.decode(data))
    if not foreign:
        return values
    read = list(values)
    for at, parameter, adapter in foreign:
        if isinstance(read[at], msgspec.UnsetType):
            read[at] = _copied(parameter.default, adapter)
        elif isinstance(read[at], msgspec.Raw):  # not a default
            read[at] = _read_foreign(parameter, adapter, bytes(read[at]))
    return tuple(read)


def _copied(default: Any, adapter: Adapter[Any]) -> Any:
    """A default of its own for each call; a sentinel, which has no JSON form, is itself."""
    try:
        adapter.encode(default)
    except BadInput:
        return default
    return copy.deepcopy(default)


def _read_foreign(parameter: inspect.Parameter, adapter: Adapter[Any], data: bytes) -> Any:
    try:
        return adapter.decode(data)
    except BadInput as error:
        if data == _NULL and parameter.default is None:
            return None
        raise ParameterError(parameter.name) from error.__cause__


def _completed(value: Any) -> Any:
    """The value, with all fields of its dataclasses set and in order.

    msgspec leaves a field that the data lacks to the default in the class, and would then not write it."""
    if isinstance(value, list | tuple | set | frozenset):
        for one in value:
            _completed(one)
    elif isinstance(value, dict):
        for one in (*value, *value.values()):
            _completed(one)
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            _completed(getattr(value, name))
    elif dataclasses.is_dataclass(value) and hasattr(value, "__dict__"):
        fields = {field.name: _completed(getattr(value, field.name)) for field in dataclasses.fields(value)}
        others = {name: one for name, one in vars(value).items() if name not in fields}
        vars(value).clear()
        vars(value).update(fields | others)
    return value


def _default(parameter: inspect.Parameter) -> Any:
    """The parameter's default for msgspec; a mutable one is copied, since a shared one would differ on replay."""
    default = parameter.default
    if default is parameter.empty:
        return msgspec.NODEFAULT
    return default if isinstance(default, _IMMUTABLE) else msgspec.field(default_factory=lambda: copy.deepcopy(default))


def _enclosing_locals(fn: Callable[..., Any]) -> Mapping[str, Any]:
    """Local names of the function that encloses `fn`, for the annotations of a nested function."""
    around, inside, _ = getattr(fn, "__qualname__", "").rpartition(".<locals>.")
    frame = sys._getframe(1) if inside else None  # noqa: SLF001 - there is no public way to an enclosing frame
    while frame is not None and frame.f_code.co_qualname != around:
        frame = frame.f_back
    return dict(frame.f_locals) if frame is not None else {}


@lru_cache(maxsize=4096)
def _adapter_for(type: Any) -> Adapter[Any]:
    return Adapter(type)
