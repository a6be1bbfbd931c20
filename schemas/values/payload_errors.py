"""Descriptions of what is wrong with a payload: parts of error messages, without a full stop."""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from penstock.schemas.values.lazy import Lazy

_PROBLEMS_SHOWN_MAX = 3
_VALUE_CHARACTERS_MAX = 80
_PATH = re.compile(r" - at (?:`key` in )?`([^`]*)`$")


class ParameterError(Exception):
    """Invalid value of one of several parameters. The argument is the parameter's name, the cause the actual error."""


class LostValueError(Exception):
    """A value that its JSON would not hold. The arguments say what is wrong and what to do."""


class NotAwaitedError(Exception):
    """A call, wait or coroutine was given in place of its outcome. The argument is that object."""

    def __str__(self) -> str:
        (value,) = self.args
        if isinstance(value, Lazy):
            return f"{value.name}(…) at {value.made_at} was not awaited: write `await {value.name}(…)`"
        name = getattr(value, "__qualname__", "")
        return f"{name}(…) was not awaited: write `await {name}(…)`" if name else f"{_shortened(value)} was not awaited"


def decoding_problem(error: BaseException) -> str:
    """What is wrong with a decoded value, with the path to it."""
    place = ""
    if isinstance(error, ParameterError) and error.__cause__ is not None:
        place, error = str(error), error.__cause__
    path = _PATH.search(str(error)) if isinstance(error, msgspec.ValidationError) else None
    if path:
        place = f"{place}{path[1].removeprefix('$')}".removeprefix(".")
    cause = error if hasattr(error, "errors") else error.__cause__
    if cause is not None and hasattr(cause, "errors"):
        return _pydantic_problems(cause.errors(include_url=False), place)
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    text = str(error) or type(error).__name__
    text = lowered(text[: path.start()] if path else text).rstrip(".")
    return f"`{place}`: {text}" if place else text


def encoding_problem(value: Any, error: BaseException) -> str:
    """Why a value cannot be encoded as JSON: a full sentence."""
    if isinstance(error, NotImplementedError):
        return (
            f"A value of type {error} has no JSON form: use plain values, dataclasses, TypedDicts, msgspec structs or "
            "pydantic models."
        )
    if isinstance(error, LostValueError):
        what, remedy = error.args
        return f"The value cannot be encoded as JSON: {what}; {remedy}."
    if isinstance(error, NotAwaitedError):
        return f"{error}; only its outcome can be returned or passed on."
    return f"The value {_shortened(value)} cannot be encoded as JSON: {lowered(str(error))}."


def lowered(text: str) -> str:
    """The text with a small first letter, unless it begins with an abbreviation such as JSON."""
    return text if text[:2].isupper() else text[:1].lower() + text[1:]


def type_name(type: Any) -> str:
    """The name of a type or annotation, without `typing.`."""
    if isinstance(type, typing.TypeVar | str) or not hasattr(type, "__qualname__") or typing.get_args(type):
        return str(type).replace("typing.", "")
    return str(type.__qualname__)


def _pydantic_problems(problems: Sequence[Mapping[str, Any]], place: str) -> str:
    shown = []
    for problem in problems[:_PROBLEMS_SHOWN_MAX]:
        steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in problem["loc"])
        where = f"{place}{steps}".removeprefix(".")
        text = lowered(problem["msg"])
        shown.append(f"`{where}`: {text}" if where else text)
    more = len(problems) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more > 0 else "")


def _shortened(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - the user's own __repr__
        text = f"<{type(value).__qualname__}>"
    return text if len(text) <= _VALUE_CHARACTERS_MAX else f"{text[:_VALUE_CHARACTERS_MAX]}…"
