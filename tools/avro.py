"""Generator of schemas/avro/*.avsc from the record classes.

    make schemas

A released schema that changes is kept first: copy `X.avsc` to `X.1.avsc` (the next free number), then run this. Its
class, and that of a new record, names the feature level from which on it is written: `SINCE`, as in
schemas/values/levels.py.
"""

from __future__ import annotations

import inspect
import json
import sys
import textwrap
import types
import typing
from typing import Any

import msgspec

from penstock.schemas.encoding import codec
from penstock.schemas.encoding.record_types import RECORDS
from penstock.schemas.values.levels import FIRST_LEVEL, level_of

LINE_CHARS_MAX = 110
PLAIN = {str: "string", bytes: "bytes", int: "long", bool: "boolean", float: "double"}


def schema_of(record: type[msgspec.Struct]) -> dict[str, Any]:
    """The Avro record of a Struct: fields in their order, with types, defaults and the docstring."""
    hints = typing.get_type_hints(record)
    fields = []
    for field in msgspec.structs.fields(record):
        entry = {"name": field.name, "type": _type_of(hints[field.name])}
        if field.default is not msgspec.NODEFAULT:
            entry["default"] = _default(field.default)
        elif field.default_factory is not msgspec.NODEFAULT:
            entry["default"] = field.default_factory()
        fields.append(entry)
    doc = " ".join((inspect.getdoc(record) or "").split())
    level = max(level_of(record), *map(_level_of, fields), FIRST_LEVEL)
    levels = {"level": level} if level > FIRST_LEVEL else {}
    return {"type": "record", "name": record.__name__, "doc": doc, **levels, "fields": fields}


def _level_of(value: Any) -> int:
    """The highest level of the records in a part of a schema."""
    if isinstance(value, dict):
        return max(int(value.get("level", FIRST_LEVEL)), *map(_level_of, value.values()), FIRST_LEVEL)
    return max(map(_level_of, value), default=FIRST_LEVEL) if isinstance(value, list) else FIRST_LEVEL


def _type_of(kind: Any) -> Any:
    arguments = typing.get_args(kind)
    match typing.get_origin(kind):
        case typing.Literal:
            return "string"
        case origin if origin is tuple:
            return {"type": "array", "items": _type_of(arguments[0])}
        case origin if origin is dict:
            return {"type": "map", "values": _type_of(arguments[1])}
    if isinstance(kind, types.UnionType):
        return ["null", _type_of(arguments[0])]
    return PLAIN.get(kind) or schema_of(kind)


def _default(value: Any) -> Any:
    match value:
        case bytes():
            return value.decode("latin-1")
        case tuple():
            return [_default(item) for item in value]
        case msgspec.Struct():
            return {name: _default(getattr(value, name)) for name in value.__struct_fields__}
    return value


def text_of(schema: dict[str, Any]) -> str:
    """The file's text: one field a line."""
    lines = ["{", '  "type": "record",', f'  "name": {json.dumps(schema["name"])},', '  "namespace": "penstock",']
    lines += [f'  "doc": {json.dumps(schema["doc"], ensure_ascii=False)},']
    lines += [f'  "level": {schema["level"]},'] if "level" in schema else []
    lines += ['  "fields": [']
    return "\n".join([*lines, ",\n".join(map(_field_text, schema["fields"])), "  ]", "}"]) + "\n"


def _field_text(field: dict[str, Any]) -> str:
    short = json.dumps(field, ensure_ascii=False)
    return textwrap.indent(
        short if len(short) <= LINE_CHARS_MAX else json.dumps(field, ensure_ascii=False, indent=2), "    "
    )


def main() -> None:
    """Write every file that differs from its class."""
    for name, record in RECORDS.items():
        path = codec.AVRO / f"{name}.avsc"
        text = text_of(schema_of(record))
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote {path.name}\n")


if __name__ == "__main__":
    main()
