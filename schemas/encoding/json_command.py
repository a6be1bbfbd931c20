"""Commands as JSON objects, one line each, for programs without Avro and for people with `kcat`.

    {"type": "fulfil", "id": "order-7", "input": {"total": 12.5}}
    {"command": "SignalWorkflow", "id": "order-7", "signal": "approval", "input": {"ok": true}}

`command` defaults to StartWorkflow. The keys are the fields of the command's record; `id` and `type` stand for
`workflow_id` and `workflow_type`. `input` is any JSON value and is kept as written; without it, the input is `null`.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from penstock.schemas.encoding.record_types import COMMANDS
from penstock.schemas.errors import BadName, Undecodable
from penstock.schemas.ids import (
    check_message_id,
    check_query_name,
    check_record_id,
    check_signal_name,
    check_update_name,
)
from penstock.schemas.records.kinds import NO_REPLY, Command
from penstock.schemas.records.query import QueryWorkflow
from penstock.schemas.records.reading import ListWorkflows
from penstock.schemas.records.run import OnExisting, StartWorkflow
from penstock.schemas.records.schedule import ListSchedules
from penstock.schemas.records.share import ListVersionShares, SetVersionShare
from penstock.schemas.records.signal import SignalWorkflow
from penstock.schemas.records.update import UpdateWorkflow, WaitFor
from penstock.schemas.values.schedule_spec import OVERLAPS, ScheduleSpec

ON_EXISTING: tuple[str, ...] = typing.get_args(OnExisting)
WAIT_FOR: tuple[str, ...] = typing.get_args(WaitFor)
REPLY_TO_MAX = 2**31 - 1
DEFAULT = StartWorkflow.__name__


class JsonKey(NamedTuple):
    """One key of the JSON object: the command's field, its type, what is allowed there, and whether it is needed."""

    field: str
    type: Any
    allowed: str
    required: bool = False


_NAMES = {"workflow_id": "id", "workflow_type": "type"}
_NOT_IN_JSON = frozenset({"origin"})
_ALLOWED = {
    "workflow_id": "the workflow id, a text of 1 to 255 bytes",
    "workflow_type": "the workflow type, a non-empty text",
    "reply_to": "the number of a partition of the topic of replies",
    "input": "any JSON value",
    "handed": "any JSON value",
    "result": "any JSON value",
    "details": "any JSON value",
    "signal": "the signal's name, a non-empty text",
    "query": "the query's name, a non-empty text",
    "update": "the update's name, a non-empty text",
    "wait_for": "accepted or completed",
    "on_existing": " or ".join(ON_EXISTING),
    "headers": "an object whose values are texts",
    "retry": "a retry policy or null",
    "delays": "a retry policy or null",
    "memo": "a JSON object",
    "spec": "an object with cron, calendar or every_ms, and the other fields of ScheduleSpec",
    "overlap": " or ".join(OVERLAPS),
    "from_ms": "milliseconds since 1970",
    "until_ms": "milliseconds since 1970",
    "search": "a JSON object",
    "records": "an array of texts, each a DecisionRecorded in base64",
}
_ALLOWED_OF_TYPE = {str: "a text", int: "a whole number", bool: "true or false", int | None: "a whole number or null"}


def _keys_of(command: type[Command]) -> dict[str, JsonKey]:
    hints = typing.get_type_hints(command)
    keys: dict[str, JsonKey] = {}
    for field in msgspec.structs.fields(command):
        if field.name in command.INTERNAL | _NOT_IN_JSON:
            continue
        kind = hints[field.name]
        allowed = _ALLOWED.get(field.name) or _ALLOWED_OF_TYPE.get(kind)
        assert allowed, f"describe the values of {command.__name__}.{field.name} in _ALLOWED"
        if kind is bytes:
            kind = msgspec.Raw
        elif field.name in {"on_existing", "wait_for"}:
            kind = str  # `check` names the words that are allowed
        keys[_NAMES.get(field.name, field.name)] = JsonKey(field.name, kind, allowed, field.required)
    return keys


JSON_COMMANDS: Mapping[str, Mapping[str, JsonKey]] = {
    name: _keys_of(COMMANDS[name])
    for name in sorted(COMMANDS, key=lambda name: name != DEFAULT)
    if not COMMANDS[name].FROM_SHARDS
}
"""The commands that may be written in JSON, with their keys."""

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_COMMAND_KEY = JsonKey("command", str, f"one of {', '.join(JSON_COMMANDS)}")


def parse(data: bytes) -> Command:
    """The command in a JSON object. Raises Undecodable; `check` looks at the values."""
    try:
        raw = _object.decode(data.decode())  # as text, since raw values are not looked at: all of it must be UTF-8
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Undecodable(f"The record begins like JSON but is not valid: {error}.") from error
    name = _value("The command", "command", _COMMAND_KEY, raw.pop("command", msgspec.Raw(f'"{DEFAULT}"'.encode())))
    keys = JSON_COMMANDS.get(name)
    if keys is None:
        raise Undecodable(f"The command `{_short(name)}` is unknown; allowed are {', '.join(JSON_COMMANDS)}.")
    _check_keys(name, keys, raw)
    fields = {keys[key].field: _value(name, key, keys[key], value) for key, value in raw.items()}
    if "input" in keys:
        fields["input"] = bytes(fields.get("input", b"null"))
    fields |= {field: bytes(value) for field, value in fields.items() if isinstance(value, msgspec.Raw)}
    return COMMANDS[name](**fields)


def _check_keys(name: str, keys: Mapping[str, JsonKey], raw: Mapping[str, msgspec.Raw]) -> None:
    for key in raw:
        if key not in keys:
            raise Undecodable(f"{name} has no key `{_short(key)}`; allowed are command, {', '.join(keys)}.")
    for key, rule in keys.items():
        if rule.required and key not in raw:
            raise Undecodable(f"{name} needs the key `{key}`: {rule.allowed}.")


def _value(name: str, key: str, rule: JsonKey, raw: msgspec.Raw) -> Any:
    if rule.type is msgspec.Raw:
        return raw
    try:
        value = msgspec.json.decode(raw, type=rule.type)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Undecodable(f"{name}: `{key}` must be {rule.allowed}, not {_short(_text(raw))}.") from error
    if isinstance(value, ScheduleSpec):
        unknown = sorted(_object.decode(raw).keys() - set(value.__struct_fields__))
        if unknown:
            allowed = ", ".join(value.__struct_fields__)
            raise Undecodable(f"{name}: `{key}` has no key `{_short(unknown[0])}`; allowed are {allowed}.")
    if rule.required and value == "":
        raise Undecodable(f"{name}: `{key}` is empty; it must be {rule.allowed}.")
    return value


def check(command: Command) -> None:
    """Check values that a command of either encoding may get wrong. Raises Undecodable."""
    name = type(command).__name__
    try:
        if not isinstance(command, ListWorkflows | ListSchedules | SetVersionShare | ListVersionShares):
            check_record_id(command.workflow_id)
        check_message_id(command.message_id)
        match command:
            case SignalWorkflow(signal=given):
                check_signal_name(given)
            case StartWorkflow(signal=given, update=updated) if given or updated:
                check_signal_name(given or updated)
            case QueryWorkflow(query=given):
                check_query_name(given)
            case UpdateWorkflow(update=given):
                check_update_name(given)
    except BadName as error:
        raise Undecodable(f"{name}: {error}") from error
    if not NO_REPLY <= command.reply_to <= REPLY_TO_MAX:
        raise Undecodable(f"{name}: `reply_to` must be a partition, or -1 for no reply, not {command.reply_to}.")
    if isinstance(command, StartWorkflow):
        _check_word(name, "on_existing", command.on_existing, ON_EXISTING)
    elif isinstance(command, UpdateWorkflow):
        _check_word(name, "wait_for", command.wait_for, WAIT_FOR)


def _check_word(name: str, key: str, word: str, allowed: tuple[str, ...]) -> None:
    if word not in allowed:
        raise Undecodable(f"{name}: `{key}` must be one of {', '.join(allowed)}, not `{_short(word)}`.")


def _text(raw: msgspec.Raw) -> str:
    return bytes(raw).decode(errors="replace")


def _short(text: str, characters_max: int = 80) -> str:
    return text if len(text) <= characters_max else f"{text[:characters_max]}…"
