"""Events as JSON objects, as `history` returns them, read back into records.

`input`, `result` and other payloads are JSON values there; an event gets them as bytes again. A payload that was empty
and one that was `null` look the same: it becomes what the field has by default, or `null`.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.schemas.encoding.record_types import EVENTS
from penstock.schemas.errors import Undecodable
from penstock.schemas.failure import Failure
from penstock.schemas.records.external import RecordPublished
from penstock.schemas.records.kinds import Event
from penstock.schemas.records.marker import SideEffectRecorded

_RAISED = "!"  # begins the recorded value of a side effect that raised, before its failure (execution/program.py)


def event_of(fields: Mapping[str, Any]) -> Event:
    """The event of a JSON object: its name in `event`, and its fields. Raises Undecodable."""
    name = fields.get("event")
    kind = EVENTS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise Undecodable(f"{name!r} is no event of this version: the history was written by a newer one, or edited.")
    try:
        if kind is RecordPublished and fields.get("raw"):
            return msgspec.convert({**fields, "event": None}, RecordPublished)  # its value is base64
        return kind(**{field: _value(kind, field, fields[field]) for field in _fields(kind) if field in fields})
    except (msgspec.ValidationError, TypeError) as error:
        raise Undecodable(f"The event {name} of the history is not complete: {error}.") from error


def _value(kind: type[Event], field: str, value: Any) -> Any:
    hint, default = _fields(kind)[field]
    if hint is not bytes:
        return msgspec.convert(value, hint)
    if value is None:
        return default if isinstance(default, bytes) else b"null"
    if kind is SideEffectRecorded and isinstance(value, str) and _raised(value):
        return value.encode()
    return msgspec.json.encode(value)


def _raised(value: str) -> bool:
    """Whether a side effect's value, as text, is the failure that it raised."""
    try:
        msgspec.json.decode(value[len(_RAISED) :], type=Failure)
    except msgspec.DecodeError:
        return False
    return value.startswith(_RAISED)


@functools.cache
def _fields(kind: type[Event]) -> dict[str, tuple[Any, Any]]:
    hints = typing.get_type_hints(kind)
    return {field.name: (hints[field.name], field.default) for field in msgspec.structs.fields(kind)}
