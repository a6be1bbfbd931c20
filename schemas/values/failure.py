"""How does a failure travel? As plain text and names, never as a pickled exception."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

CAUSES_MAX = 8
MESSAGE_CHARS_MAX = 8_000
TRACEBACK_CHARS_MAX = 8_000


class Cause(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One exception further down a failure's chain of causes."""

    type: str
    message: str


class Bounds(NamedTuple):
    """How much of an exception a failure tells. No record, and so no Struct."""

    message_chars_max: int = MESSAGE_CHARS_MAX
    traceback_chars_max: int = TRACEBACK_CHARS_MAX
    causes_max: int = CAUSES_MAX


class Failure(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Why an attempt, an activity or a run failed, readable without the code that raised it.

    `kind` is one of `error` (an exception), `timeout` (start-to-close), `cancelled`, `terminated`.
    `type` is the exception's qualified name, `traceback` its text (shortened to fit a record).
    """

    type: str
    message: str
    kind: str = "error"
    traceback: str = ""
    non_retryable: bool = False
    attempts: int = 0
    causes: tuple[Cause, ...] = ()


def failure_of(
    error: BaseException,
    *,
    kind: str = "error",
    non_retryable: bool = False,
    attempts: int = 0,
    bounds: Bounds = Bounds(),
) -> Failure:
    """The failure that `error` stands for, within the bounds and with user code's frames alone, whatever it holds.

    Reads the source files its traceback names, so not within workflow code."""
    return Failure(
        type=type_name(type(error)),
        message=message_of(error, bounds.message_chars_max),
        kind=kind,
        traceback=_traceback(error, bounds),
        non_retryable=non_retryable,
        attempts=attempts,
        causes=tuple(_causes(error, bounds)),
    )


def type_name(error: type[BaseException]) -> str:
    """The class's qualified name, built-in ones without their module: what `Failure.type` holds."""
    return error.__qualname__ if error.__module__ == "builtins" else f"{error.__module__}.{error.__qualname__}"


def message_of(error: BaseException, chars_max: int = MESSAGE_CHARS_MAX) -> str:
    """The exception's text as UTF-8 can hold it, shortened at its end, even when its `__str__` fails."""
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - the user's own __str__, which may raise SystemExit
        text = f"<a {type(error).__qualname__} whose text cannot be made>"
    return _head(_writable(text), chars_max)


def _causes(error: BaseException, bounds: Bounds) -> list[Cause]:
    """The chain of causes, nearest first, at most `causes_max`."""
    causes: list[Cause] = []
    for cause in _chain(error, bounds.causes_max):
        causes.append(Cause(type=type_name(type(cause)), message=message_of(cause, bounds.message_chars_max)))
        known = _failure_within(cause)
        if known is not None:
            causes += _remote_causes(known)
    known = _failure_within(error)
    return [*(_remote_causes(known) if known is not None else ()), *causes][: bounds.causes_max]


def _chain(error: BaseException, causes_max: int) -> Iterator[BaseException]:
    """What is below `error`: its cause, or else its context, or a group's members; each once."""
    seen, waiting = {id(error)}, _below(error)
    while waiting and len(seen) <= causes_max:
        cause = waiting.pop(0)
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        waiting = [*_below(cause), *waiting]


def _below(error: BaseException) -> list[BaseException]:
    members = list(error.exceptions) if isinstance(error, BaseExceptionGroup) else []
    if error.__cause__ is not None:
        return [*members, error.__cause__]
    if error.__context__ is not None and not error.__suppress_context__:
        return [*members, error.__context__]
    return members


def _failure_within(error: BaseException) -> Failure | None:
    """What failed elsewhere, when `error` reports just that (ActivityFailed and its like)."""
    try:
        failure = getattr(error, "failure", None)
    except Exception:  # noqa: BLE001 - a user's property that happens to have this name
        return None
    return failure if isinstance(failure, Failure) else None


def _remote_causes(failure: Failure) -> tuple[Cause, ...]:
    return (Cause(type=failure.type, message=failure.message), *failure.causes)


def _traceback(error: BaseException, bounds: Bounds) -> str:
    chars_max = bounds.traceback_chars_max
    try:
        told = traceback.TracebackException.from_exception(error, limit=-_FRAMES_MAX)
        _keep_user_code(told, error, levels=bounds.causes_max)
        text = "".join(told.format())
    except Exception:  # noqa: BLE001 - a SyntaxError made by hand, say, whose text is no string
        stack = traceback.extract_tb(error.__traceback__, limit=-_FRAMES_MAX)
        text = "".join(traceback.format_list(_user_code(stack, error)))
    text = _writable(text)
    # The end names the exception and the frame that raised it, so the beginning goes.
    return text if len(text) <= chars_max else f"…{text[len(text) - chars_max + 1 :]}"


def _keep_user_code(told: traceback.TracebackException, error: BaseException, levels: int) -> None:
    """Leave other frames than user code's out of what is told of the error and of those below it."""
    told.stack[:] = _user_code(told.stack, error)
    if levels:
        for told_below, below in ((told.__cause__, error.__cause__), (told.__context__, error.__context__)):
            if told_below is not None and below is not None:
                _keep_user_code(told_below, below, levels - 1)
        if told.exceptions and isinstance(error, BaseExceptionGroup):
            for told_member, member in zip(told.exceptions, error.exceptions, strict=True):
                _keep_user_code(told_member, member, levels - 1)


def _user_code(stack: list[traceback.FrameSummary], error: BaseException) -> list[traceback.FrameSummary]:
    """The stack's frames that are neither Penstock's nor the loop's; without any, all but a worker's own."""
    modules = [str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    frames = list(zip(stack, modules[-_FRAMES_MAX:], strict=False))
    kept = [frame for frame, module in frames if not module.startswith(_NOT_USER_CODE)]
    return kept or [frame for frame, module in frames if not module.startswith(_WORKERS)]


_FRAMES_MAX = 100
_NOT_USER_CODE = ("penstock.", "asyncio.", "concurrent.")
_WORKERS = "penstock.workers."


def _writable(text: str) -> str:
    """The text as UTF-8 can hold it: a lone surrogate is shown as its escape."""
    return text.encode("utf-8", "backslashreplace").decode()


def _head(text: str, chars_max: int) -> str:
    return text if len(text) <= chars_max else f"{text[: chars_max - 1]}…"
