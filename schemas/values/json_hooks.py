"""JSON encoding and decoding of values that msgspec does not support itself: pydantic models."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec

from penstock.schemas.errors import BadInput
from penstock.schemas.values.payload_errors import NotAwaitedError, type_name


class PydanticDecoder:
    """Decoder of a type that msgspec rejects, such as a union of models.

    Raises BadInput if pydantic rejects the type as well; `refusal` is the error of msgspec."""

    def __init__(self, type: Any, refusal: TypeError) -> None:
        from pydantic import PydanticUserError, TypeAdapter

        try:
            self.decode = TypeAdapter(type).validate_json
        except PydanticUserError as error:
            raise BadInput(f"Values of {type_name(type)} cannot be encoded as JSON: {refusal}.") from error


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
    return msgspec.Raw(write(by_alias=True, round_trip=True).encode())


def read_model(type: Any, value: Any) -> Any:
    """msgspec's `dec_hook`: decode a pydantic model, from JSON so that pydantic's rules for JSON apply."""
    read = getattr(type, "model_validate_json", None)
    if read is None:
        raise BadInput(f"values of {type_name(type)} cannot be encoded as JSON")
    return read(to_json(value))


to_json = msgspec.json.Encoder(enc_hook=_write_model).encode
"""Encode any supported value as JSON bytes."""
