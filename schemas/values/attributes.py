"""What describes a run to those who look at it: its memo, its search attributes, and the details that its code sets.

All three are JSON. A memo is an object of any values. Search attributes are an object of typed values: a text, a whole
number, a number with a point, true or false, a list of texts, and `{"datetime": "2026-11-26T10:00:00Z"}`, as JSON
has no moments of its own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import msgspec

from penstock.schemas.errors import BadInput, BadName, PayloadTooLarge
from penstock.schemas.values.payload import Adapter, adapter_for, check_size

SearchValue = str | int | float | bool | datetime | Sequence[str]
"""Value of a search attribute; a datetime is aware, a sequence is a list or a tuple."""

MEMO_BYTES_MAX = 16_384
DETAILS_BYTES_MAX = 4_096
SEARCH_BYTES_MAX = 4_096
SEARCH_MAX = 32
"""Search attributes of one run."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_RESERVED = frozenset(
    {"id", "workflow_id", "run_id", "type", "version", "status", "started", "closed", "parent"}
    | {"and", "or", "not", "in", "is", "like", "between", "null", "true", "false", "order", "by", "limit"}
)
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1
_MOMENT = "datetime"
_ALLOWED = "give a str, int, float, bool, aware datetime or list[str]"
_ANY: Adapter[Any] = adapter_for(Any)
_object = msgspec.json.Decoder(dict[str, Any]).decode


# Memo and details.


def encode_memo(memo: Mapping[str, Any] | None) -> bytes:
    """A memo as JSON, empty for none. Raises BadInput, PayloadTooLarge."""
    if memo is None:
        return b""
    if not _is_by_text(memo):
        raise BadInput(f"memo must be a mapping of values by text, not {memo!r}.")
    if not memo:
        return b""
    data = _ANY.encode(dict(memo))
    check_size(data, limit=MEMO_BYTES_MAX, what="memo")
    return data


def _is_by_text(memo: object) -> bool:
    return isinstance(memo, Mapping) and all(isinstance(name, str) for name in memo)


def decode_memo(data: bytes) -> dict[str, Any]:
    """The memo in JSON; empty for none. Raises BadInput if it is no object."""
    if not data:
        return {}
    try:
        return _object(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadInput(f"The memo is no JSON object: {error}.") from error


def encode_details(value: Any) -> bytes:
    """Details as JSON, empty for None. Raises BadInput, PayloadTooLarge."""
    if value is None:
        return b""
    data = _ANY.encode(value)
    check_size(data, limit=DETAILS_BYTES_MAX, what="details()")
    return data


def problem_of_memo(data: bytes) -> str:
    """Why a memo in JSON is refused, in a sentence; empty if it is not."""
    try:
        decode_memo(data)
        check_size(data, limit=MEMO_BYTES_MAX, what="memo")
    except (BadInput, PayloadTooLarge) as error:
        return str(error)
    return ""


# Search attributes.


def encode_search(attributes: Mapping[str, Any] | None) -> bytes:
    """The search attributes of a start as JSON, empty for none. Raises BadName, BadInput, PayloadTooLarge."""
    if attributes is None:
        return b""
    if not isinstance(attributes, Mapping):
        raise BadInput(f"search must be a mapping of values by name, not {attributes!r}.")
    return _checked({name: _plain(name, value) for name, value in attributes.items()})


def search_changes(known: bytes, attributes: Mapping[str, Any]) -> bytes:
    """Those of the attributes that change what is known (JSON), as JSON; empty if none does. None removes one.

    Raises BadName, BadInput (also for one whose type changes), PayloadTooLarge."""
    before = _object(known) if known else {}
    changes = {name: None if value is None else _plain(name, value) for name, value in attributes.items()}
    changes = {
        name: value for name, value in changes.items() if _kind(value) != _kind(was := before.get(name)) or value != was
    }
    for name, value in changes.items():
        if value is not None and name in before and _kind(before[name]) != _kind(value):
            raise BadInput(
                f"The search attribute {name} is of type {_kind(before[name])} and cannot become one of type "
                f"{_kind(value)}: convert the value, or use another name."
            )
    _checked(_merged(before, changes))
    return msgspec.json.encode(changes) if changes else b""


def search_after(known: bytes, changes: bytes) -> bytes:
    """Search attributes after changes, all in JSON."""
    found = _merged(_object(known) if known else {}, _object(changes))
    return msgspec.json.encode(found) if found else b""


def read_search(data: bytes) -> dict[str, Any]:
    """Search attributes in JSON as Python values. Raises BadInput."""
    if not data:
        return {}
    try:
        found = _object(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadInput(f"The search attributes are no JSON object: {error}.") from error
    return {name: _moment_of(name, value) if isinstance(value, dict) else value for name, value in found.items()}


def problem_of_search(data: bytes) -> str:
    """Why search attributes in JSON are refused, in a sentence; empty if they are not."""
    try:
        encode_search(read_search(data))
    except (BadInput, BadName, PayloadTooLarge) as error:
        return str(error)
    return ""


def shown_search(data: bytes) -> dict[str, Any]:
    """Search attributes in JSON as readers see them: moments as texts."""
    found = _object(data) if data else {}
    return {name: value[_MOMENT] if isinstance(value, dict) else value for name, value in found.items()}


def _merged(known: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**known, **changes}.items() if value is not None}


def _checked(attributes: Mapping[str, Any]) -> bytes:
    if len(attributes) > SEARCH_MAX:
        raise BadInput(f"There are {len(attributes)} search attributes; at most {SEARCH_MAX} are allowed.")
    data = msgspec.json.encode(attributes) if attributes else b""
    check_size(data, limit=SEARCH_BYTES_MAX, what="search attributes")
    return data


def _plain(name: object, value: Any) -> Any:
    """The value in its JSON form. Raises BadName, BadInput."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadName(
            f"A search attribute cannot be called {name!r}: its name has at most 64 letters, digits and underscores, "
            "and begins with no digit."
        )
    if name in _RESERVED:
        raise BadName(f"A search attribute cannot be called {name}, which lists of runs use themselves: rename it.")
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise BadInput(f"The search attribute {name} is a naive datetime, {value}: give it a time zone.")
        return {_MOMENT: msgspec.to_builtins(value.astimezone(UTC))}
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        return [_text(name, one) for one in value]
    if isinstance(value, str):
        return _text(name, value)
    if isinstance(value, int) and (isinstance(value, bool) or _INT_MIN <= value <= _INT_MAX):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise BadInput(f"The search attribute {name} cannot be {value!r} of type {type(value).__name__}: {_ALLOWED}.")


def _text(name: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadInput(f"The search attribute {name} is a text that UTF-8 cannot express: {value!r}.") from None
    return value


def _moment_of(name: str, value: dict[str, Any]) -> datetime:
    try:
        return msgspec.convert(value, dict[str, datetime])[_MOMENT]
    except (msgspec.ValidationError, KeyError):
        raise BadInput(
            f"The search attribute {name} cannot be an object; for a moment, write "
            '{"datetime": "2026-11-26T10:00:00Z"}.'
        ) from None


def _kind(value: object) -> str:
    name = type(value).__name__
    return {"dict": "datetime", "list": "list[str]"}.get(name, name)
