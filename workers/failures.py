"""How does an exception become a Failure? As names and text, shortened so that it always fits a record."""

from __future__ import annotations

import traceback
from pathlib import Path

from penstock.schemas.failure import Cause, Failure

MESSAGE_CHARACTERS_MAX = 4_000
TRACEBACK_CHARACTERS_MAX = 12_000
CAUSES_MAX = 10

_OWN_FILES = frozenset(str(path) for path in Path(__file__).parent.glob("*.py"))


def failure_of(error: BaseException, *, attempt: int, non_retryable: bool, kind: str = "error") -> Failure:
    """The failure that `error` stands for; the worker's own frames are left out of its traceback."""
    return Failure(
        type=type_name(type(error)),
        message=message_of(error),
        kind=kind,
        traceback=_traceback(error),
        non_retryable=non_retryable,
        attempts=attempt,
        causes=_causes(error),
    )


def type_name(error: type[BaseException]) -> str:
    """The class's qualified name; built-in ones without their module."""
    return error.__qualname__ if error.__module__ == "builtins" else f"{error.__module__}.{error.__qualname__}"


def message_of(error: BaseException) -> str:
    """The exception's text, even when its `__str__` fails."""
    try:
        message = str(error)
    except Exception:  # user code
        message = f"<{type(error).__qualname__} whose text cannot be made>"
    # A lone surrogate cannot be UTF-8, and a failure must always fit its record.
    return _head(message.encode("utf-8", "backslashreplace").decode(), MESSAGE_CHARACTERS_MAX)


def _causes(error: BaseException) -> tuple[Cause, ...]:
    causes: list[Cause] = []
    seen = {id(error)}
    at = _cause(error)
    while at is not None and id(at) not in seen and len(causes) < CAUSES_MAX:
        seen.add(id(at))
        causes.append(Cause(type=type_name(type(at)), message=message_of(at)))
        at = _cause(at)
    return tuple(causes)


def _cause(error: BaseException) -> BaseException | None:
    """What Python would print above `error`: its cause, or else its context."""
    if error.__cause__ is not None or error.__suppress_context__:
        return error.__cause__
    return error.__context__


def _traceback(error: BaseException) -> str:
    """The end of the traceback, where the error happened, if it is too long."""
    at = error.__traceback__
    while at is not None and at.tb_frame.f_code.co_filename in _OWN_FILES:
        at = at.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, at))
    except Exception:  # a failing __str__ once more
        text = "".join(traceback.format_tb(at))
    text = text.encode("utf-8", "backslashreplace").decode()
    if len(text) <= TRACEBACK_CHARACTERS_MAX:
        return text
    return "… " + text[-(TRACEBACK_CHARACTERS_MAX - 2) :]


def _head(text: str, characters_max: int) -> str:
    return text if len(text) <= characters_max else text[: characters_max - 2] + " …"
