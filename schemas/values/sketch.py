"""Sketches of JSON values: an example of a type's values, with `…` in place of contents."""

from __future__ import annotations

from typing import Any

import msgspec.inspect as types

from penstock.schemas.values.json_hooks import to_json


def sketch_of(type: Any) -> str:
    """The sketch of a type: `"…"` for a text, 1 for an int, `[…]` for a list, `{…}` for objects and unknown types."""
    try:
        return _sketch(types.type_info(type))
    except TypeError:  # a type that only pydantic reads, such as a union of models
        return "{…}"


def _sketch(found: types.Type) -> str:
    match found:
        case types.UnionType():
            return _sketch(next(one for one in found.types if not isinstance(one, types.NoneType)))
        case types.LiteralType():
            return to_json(found.values[0]).decode()
        case types.EnumType():
            return to_json(next(iter(found.cls))).decode()
    return next((text for kinds, text in _SKETCHES if isinstance(found, kinds)), "{…}")


_SKETCHES: tuple[tuple[tuple[type[types.Type], ...], str], ...] = (
    ((types.AnyType, types.RawType), "…"),
    ((types.NoneType,), "null"),
    ((types.BoolType,), "true"),
    ((types.IntType,), "1"),
    ((types.FloatType,), "1.5"),
    ((types.CollectionType, types.TupleType, types.NamedTupleType), "[…]"),
    (
        (
            types.StrType,
            types.BytesType,
            types.ByteArrayType,
            types.DateTimeType,
            types.DateType,
            types.TimeType,
            types.TimeDeltaType,
            types.UUIDType,
            types.DecimalType,
        ),
        '"…"',
    ),
)
