"""How does a failure travel? As plain text and names, never as a pickled exception."""

from __future__ import annotations

import traceback
from collections.abc import Iterator

import msgspec

CAUSES_MAX = 8
MESSAGE_CHARS_MAX = 8_000


class Cause(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One exception further down a failure's chain of causes."""

    type: str
    message: str


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
    error: BaseException, *, kind: str = "error", non_retryable: bool = False, traceback_chars_max: int = 8_000
) -> Failure:
    """The failure that `error` stands for. Reads the source files its traceback names, so not within workflow code."""
    return Failure(
        type=type_name(type(error)),
        message=_message(error),
        kind=kind,
        traceback=_traceback(error, traceback_chars_max),
        non_retryable=non_retryable,
        causes=tuple(_causes(error)),
    )


def type_name(error: type[BaseException]) -> str:
    """The class's qualified name, built-in ones without their module: what `Failure.type` holds."""
    return error.__qualname__ if error.__module__ == "builtins" else f"{error.__module__}.{error.__qualname__}"


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - the user's own __str__
        text = f"<a {type(error).__qualname__} whose text cannot be made>"
    return _head(_writable(text), MESSAGE_CHARS_MAX)


def _causes(error: BaseException) -> list[Cause]:
    """The chain of causes, nearest first, at most CAUSES_MAX."""
    causes: list[Cause] = []
    for cause in _chain(error):
        causes.append(Cause(type=type_name(type(cause)), message=_message(cause)))
        known = _failure_within(cause)
        if known is not None:
            causes += _remote_causes(known)
    known = _failure_within(error)
    return [*(_remote_causes(known) if known is not None else ()), *causes][:CAUSES_MAX]


def _chain(error: BaseException) -> Iterator[BaseException]:
    """What is below `error`: its cause, or else its context, or a group's members; each once."""
    seen, waiting = {id(error)}, _below(error)
    while waiting and len(seen) <= CAUSES_MAX:
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
    failure = getattr(error, "failure", None)
    return failure if isinstance(failure, Failure) else None


def _remote_causes(failure: Failure) -> tuple[Cause, ...]:
    return (Cause(type=failure.type, message=failure.message), *failure.causes)


def _traceback(error: BaseException, chars_max: int) -> str:
    told = traceback.TracebackException.from_exception(error, limit=-_FRAMES_MAX)
    _leave_out_penstock(told, error, depth=0)
    text = _writable("".join(told.format()))
    # The end names the exception and the frame that raised it, so the beginning goes.
    return text if len(text) <= chars_max else f"…{text[len(text) - chars_max + 1 :]}"


def _leave_out_penstock(told: traceback.TracebackException, error: BaseException, depth: int) -> None:
    """Keep the frames of user code, neither Penstock's nor the loop's, unless there are none."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    pairs = zip(told.stack, modules[-_FRAMES_MAX:], strict=False)
    kept = [summary for summary, module in pairs if not str(module).startswith(_NOT_USER_CODE)]
    if kept:
        told.stack[:] = kept
    if depth < CAUSES_MAX:
        for told_below, below in ((told.__cause__, error.__cause__), (told.__context__, error.__context__)):
            if told_below is not None and below is not None:
                _leave_out_penstock(told_below, below, depth + 1)
        if told.exceptions and isinstance(error, BaseExceptionGroup):
            for told_member, member in zip(told.exceptions, error.exceptions, strict=True):
                _leave_out_penstock(told_member, member, depth + 1)


_FRAMES_MAX = 100
_NOT_USER_CODE = ("penstock.", "asyncio.", "concurrent.")


def _writable(text: str) -> str:
    """The text as UTF-8 can hold it: a lone surrogate is shown as its escape."""
    return text.encode("utf-8", "backslashreplace").decode()


def _head(text: str, chars_max: int) -> str:
    return text if len(text) <= chars_max else f"{text[: chars_max - 1]}…"
