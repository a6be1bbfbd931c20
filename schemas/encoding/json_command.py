"""Commands as JSON objects, one line each, as written with tools such as `kcat`.

    {"type": "fulfil", "id": "order-7", "input": {"total": 12.5}}
    {"command": "SignalWorkflow", "id": "order-7", "signal": "approval", "input": {"ok": true}}

`command` is StartWorkflow by default. `input` is any JSON value and is kept byte for byte; it is `null` by default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from penstock.schemas.errors import BadName, Undecodable
from penstock.schemas.ids import check_message_id, check_signal_name, check_workflow_id
from penstock.schemas.records.commands import (
    NO_REPLY,
    AwaitResult,
    CancelWorkflow,
    Command,
    RetryWorkflow,
    SignalWorkflow,
    StartWorkflow,
    TerminateWorkflow,
)

ON_EXISTING = ("use_existing", "reject", "restart_closed")
REPLY_TO_MAX = 2**31 - 1


class _Key(NamedTuple):
    """Key of the JSON object: the command's field, its allowed values, and whether it is required."""

    field: str
    type: Any
    allowed: str
    required: bool = False


_TEXT = "a text"
_NAME = "a non-empty text"
_COMMON = {
    "id": _Key("workflow_id", str, "the workflow id, a text of 1 to 255 bytes", required=True),
    "message_id": _Key("message_id", str, _TEXT),
    "reply_to": _Key("reply_to", int, "the number of a partition of the topic of replies"),
}
_INPUT = {"input": _Key("input", msgspec.Raw, "any JSON value")}
_RUN = {"run_id": _Key("run_id", str, _TEXT)}
_REASON = {"reason": _Key("reason", str, _TEXT)}
_START = {
    "type": _Key("workflow_type", str, f"the workflow type, {_NAME}", required=True),
    "on_existing": _Key("on_existing", str, " or ".join(ON_EXISTING)),
}
_SIGNAL = {"signal": _Key("signal", str, f"the signal's name, {_NAME}", required=True)}

_COMMANDS: Mapping[str, tuple[type[Command], Mapping[str, _Key]]] = {
    "StartWorkflow": (StartWorkflow, {**_COMMON, **_START, **_INPUT}),
    "SignalWorkflow": (SignalWorkflow, {**_COMMON, **_SIGNAL, **_INPUT, **_RUN}),
    "CancelWorkflow": (CancelWorkflow, {**_COMMON, **_REASON, **_RUN}),
    "TerminateWorkflow": (TerminateWorkflow, {**_COMMON, **_REASON, **_RUN}),
    "RetryWorkflow": (RetryWorkflow, {**_COMMON, **_RUN}),
    "AwaitResult": (AwaitResult, {**_COMMON, **_RUN}),
}

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def parse(data: bytes) -> Command:
    """Parse a command; `check` validates its values. Raises Undecodable."""
    try:
        raw = _object.decode(data.decode())  # as text: raw values are not parsed, but must be UTF-8
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Undecodable(f"The record begins like JSON but is not valid: {error}.") from error
    name = _value("The command", "command", _COMMAND_KEY, raw.pop("command", msgspec.Raw(b'"StartWorkflow"')))
    if name not in _COMMANDS:
        raise Undecodable(f"The command `{_short(name)}` is unknown; allowed are {', '.join(_COMMANDS)}.")
    record, keys = _COMMANDS[name]
    fields = {keys[key].field: _value(name, key, keys[key], value) for key, value in _known(name, keys, raw).items()}
    if "input" in keys:
        fields["input"] = bytes(fields.get("input", b"null"))
    return record(**fields)


_COMMAND_KEY = _Key("command", str, f"one of {', '.join(_COMMANDS)}")


def _known(name: str, keys: Mapping[str, _Key], raw: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    """Check that all keys of the object are allowed and none is missing."""
    for key in raw:
        if key not in keys:
            raise Undecodable(f"{name} has no key `{_short(key)}`; allowed are command, {', '.join(keys)}.")
    for key, rule in keys.items():
        if rule.required and key not in raw:
            raise Undecodable(f"{name} needs the key `{key}`: {rule.allowed}.")
    return raw


def _value(name: str, key: str, rule: _Key, raw: msgspec.Raw) -> Any:
    if rule.type is msgspec.Raw:
        return raw
    try:
        value = msgspec.json.decode(raw, type=rule.type)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Undecodable(f"{name}: `{key}` must be {rule.allowed}, not {_short(_text(raw))}.") from error
    if rule.required and value == "":
        raise Undecodable(f"{name}: `{key}` is empty; it must be {rule.allowed}.")
    return value


def check(command: Command) -> None:
    """Validate values of a command of either encoding. Raises Undecodable."""
    name = type(command).__name__
    try:
        check_workflow_id(command.workflow_id)
        check_message_id(command.message_id)
        if isinstance(command, SignalWorkflow):
            check_signal_name(command.signal)
    except BadName as error:
        raise Undecodable(f"{name}: {error}") from error
    if not NO_REPLY <= command.reply_to <= REPLY_TO_MAX:
        raise Undecodable(f"{name}: `reply_to` must be a partition, or -1 for no reply, not {command.reply_to}.")
    if isinstance(command, StartWorkflow) and command.on_existing not in ON_EXISTING:
        allowed = ", ".join(ON_EXISTING)
        raise Undecodable(f"{name}: `on_existing` must be one of {allowed}, not `{_short(command.on_existing)}`.")


def _text(raw: msgspec.Raw) -> str:
    return bytes(raw).decode(errors="replace")


def _short(text: str, characters_max: int = 80) -> str:
    return text if len(text) <= characters_max else f"{text[:characters_max]}…"
