"""JSON encoding and decoding of values that msgspec does not support itself: pydantic models."""

from __future__ import annotations

import inspect
import math
import typing
import warnings
from collections import abc
from collections.abc import Iterator
from typing import Any

import msgspec

from penstock.schemas.errors import BadInput
from penstock.schemas.values.payload_errors import LostValueError, NotAwaitedError, type_name


class PydanticCodec:
    """Codec of a type that msgspec rejects, such as a union of models or of dataclasses. Bytes are base64, as msgspec
    writes them.

    Raises BadInput if pydantic rejects the type as well; `refusal` is the error of msgspec."""

    def __init__(self, type: Any, refusal: TypeError) -> None:
        from pydantic import ConfigDict, PydanticUserError, TypeAdapter

        config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants")
        try:
            try:
                adapter = TypeAdapter(type, config=config)
            except PydanticUserError:  # a model, a dataclass or a TypedDict has a configuration of its own
                adapter = TypeAdapter(type)
        except PydanticUserError as error:
            raise BadInput(f"Values of {type_name(type)} cannot be encoded as JSON: {refusal}.") from error
        self._adapter = adapter
        self.decode = adapter.validate_json

    def encode(self, value: Any) -> bytes:
        """Encode the value. Raises whatever its type's serializers raise, and TypeError for a value of another type."""
        if inspect.isawaitable(value):
            raise NotAwaitedError(value)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                data = self._adapter.dump_json(value, by_alias=True, round_trip=True)
            except UserWarning as unexpected:
                raise TypeError(str(unexpected).replace("\n", " ")) from unexpected
        _refuse_losses(self._adapter.dump_python(value), data)
        if (found := self.decode(data)) != value:
            kinds = f"a value of type {type_name(type(value))} would be read as one of type {type_name(type(found))}"
            raise LostValueError(kinds, "use a type whose values differ in JSON")
        return data


def _write_model(value: Any) -> Any:
    """msgspec's `enc_hook`: encode a pydantic model."""
    if isinstance(value, tuple | frozenset):  # msgspec knows these as values, so this is a key
        raise TypeError(f"a key must be a text or a number, not a {type(value).__name__}")
    if inspect.isawaitable(value):
        raise NotAwaitedError(value)
    write = getattr(value, "model_dump_json", None)
    if write is None or isinstance(value, type):
        raise NotImplementedError(type_name(type(value)))
    # By alias, since models are read by alias; round_trip leaves out what could not be read, such as computed fields.
    data = write(by_alias=True, round_trip=True).encode()
    _refuse_losses(value, data)
    return msgspec.Raw(data)


def read_model(type: Any, value: Any) -> Any:
    """msgspec's `dec_hook`: decode a pydantic model, from JSON so that pydantic's rules for JSON apply.

    `object` is any JSON value, and an abstract collection a list."""
    if type is object:
        return value
    if (typing.get_origin(type) or type) in _READ_AS_LISTS:
        return msgspec.convert(value, list[typing.get_args(type) or (Any,)], dec_hook=read_model)  # type: ignore[misc]
    read = getattr(type, "model_validate_json", None)
    if read is None:
        raise BadInput(f"values of {type_name(type)} cannot be encoded as JSON")
    return read(to_json(value))


_READ_AS_LISTS = frozenset({abc.Iterable, abc.Container, abc.Reversible})

_encode = msgspec.json.Encoder(enc_hook=_write_model).encode


def to_json(value: Any) -> bytes:
    """Encode any supported value as JSON bytes. Raises BadInput for NaN and infinity, which JSON does not have."""
    data = _encode(value)
    if _NULL in data:
        _refuse_floats(msgspec.to_builtins(value, enc_hook=_opaque, str_keys=True), "")
    return data


_NULL = b"null"
_ASTERISKS = b'"**********"'


def _opaque(value: Any) -> Any:
    """Anything but a plain value: `_write_model` looks at it by itself."""
    return None


def _refuse_losses(value: Any, data: bytes) -> None:
    """Refuse a model, or plain value, whose JSON would lose what it holds: NaN, infinity, or a secret."""
    if _NULL in data or b"NaN" in data or b"Infinity" in data:
        _refuse_floats(_plain(value), "")
    if _ASTERISKS in data:
        _refuse_secrets(_plain(value), "")


def _plain(value: Any) -> Any:
    return value.model_dump() if hasattr(value, "model_dump") else value


def _refuse_floats(value: Any, path: str) -> None:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise LostValueError(
                f"{value} at `{path}` has no JSON form" if path else f"{value} has no JSON form", "pass None instead"
            )
        return
    for step, inner in _members(value):
        _refuse_floats(inner, f"{path}{step}".removeprefix("."))


def _refuse_secrets(value: Any, path: str) -> None:
    if type(value).__name__ in {"SecretStr", "SecretBytes", "Secret"} and hasattr(value, "get_secret_value"):
        raise LostValueError(
            f"the secret at `{path}` would arrive as asterisks",
            "pass a reference to it, or give the field a serializer that writes what you want to travel",
        )
    for step, inner in _members(value):
        _refuse_secrets(inner, f"{path}{step}".removeprefix("."))


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((f".{key}", inner) for key, inner in value.items())
    elif isinstance(value, list | tuple | set | frozenset):
        yield from ((f"[{index}]", inner) for index, inner in enumerate(value))
    elif hasattr(value, "__dataclass_fields__"):
        yield from ((f".{name}", getattr(value, name, None)) for name in value.__dataclass_fields__)
    elif hasattr(value, "model_fields_set"):
        yield from _members(dict(value))
