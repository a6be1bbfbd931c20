"""Failures made from exceptions: plain text and names, never pickled."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from penstock.schemas.class_names import class_name
from penstock.schemas.failure import Cause, Failure

CAUSES_MAX = 8
MESSAGE_CHARS_MAX = 8_000
TRACEBACK_CHARS_MAX = 8_000
TYPE_CHARS_MAX = 500
CAUSE_CHARS_MAX = 2_000
ANY_TRACEBACK_CHARS_MAX, ANY_CAUSES_MAX = 12_000, 10
"""Bounds of a failure that another program made. All together take less than 200 kB as UTF-8."""


class Bounds(NamedTuple):
    """Limits on the size of a failure. Not a record, hence not a Struct."""

    message_chars_max: int = MESSAGE_CHARS_MAX
    traceback_chars_max: int = TRACEBACK_CHARS_MAX
    causes_max: int = CAUSES_MAX


def failure_of(
    error: BaseException,
    *,
    kind: str = "error",
    non_retryable: bool = False,
    attempts: int = 0,
    bounds: Bounds = Bounds(),
) -> Failure:
    """The failure of an exception, within `bounds`, with a traceback of user code's frames only.

    Reads the source files of the traceback, so it must not be called within workflow code."""
    return Failure(
        type=class_name(type(error))[:TYPE_CHARS_MAX],
        message=message_of(error, bounds.message_chars_max),
        kind=kind,
        traceback=_traceback(error, bounds),
        non_retryable=non_retryable,
        attempts=attempts,
        causes=tuple(_causes(error, bounds)),
    )


def bounded(failure: Failure) -> Failure:
    """The failure within bounds, whichever program made it: each run and activity that it ends keeps it in a row."""
    sizes = [len(failure.message), len(failure.traceback), *(len(cause.message) for cause in failure.causes)]
    if sum(sizes) <= MESSAGE_CHARS_MAX and len(failure.causes) <= CAUSES_MAX and len(failure.type) <= TYPE_CHARS_MAX:
        return failure
    return msgspec.structs.replace(
        failure,
        type=failure.type[:TYPE_CHARS_MAX],
        message=_shortened(failure.message, MESSAGE_CHARS_MAX),
        kind=failure.kind[:TYPE_CHARS_MAX],
        traceback=_end_of(failure.traceback, ANY_TRACEBACK_CHARS_MAX),
        causes=tuple(_cause(cause.type, cause.message, MESSAGE_CHARS_MAX) for cause in failure.causes[:ANY_CAUSES_MAX]),
    )


def _cause(type: str, message: str, chars_max: int) -> Cause:
    return Cause(type=type[:TYPE_CHARS_MAX], message=_shortened(message, min(chars_max, CAUSE_CHARS_MAX)))


def _end_of(text: str, chars_max: int) -> str:
    """The text without so much of its beginning: the end names the exception and the frame that raised it."""
    return text if len(text) <= chars_max else f"…{text[len(text) - chars_max + 1 :]}"


def message_of(error: BaseException, chars_max: int = MESSAGE_CHARS_MAX) -> str:
    """The exception's text, valid as UTF-8 and shortened to `chars_max`; a placeholder if its `__str__` fails."""
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - the user's own __str__, which may raise SystemExit
        text = f"<a {type(error).__qualname__} whose __str__ failed>"
    return _shortened(_valid_utf8(text), chars_max)


def _causes(error: BaseException, bounds: Bounds) -> list[Cause]:
    """The chain of causes, nearest first, at most `causes_max`."""
    causes: list[Cause] = []
    for cause in _chain(error, bounds.causes_max):
        chars_max = min(bounds.message_chars_max, CAUSE_CHARS_MAX)
        causes.append(Cause(type=class_name(type(cause))[:TYPE_CHARS_MAX], message=message_of(cause, chars_max)))
        known = _failure_within(cause)
        if known is not None:
            causes += _remote_causes(known, bounds)
    known = _failure_within(error)
    return [*(_remote_causes(known, bounds) if known is not None else ()), *causes][: bounds.causes_max]


def _chain(error: BaseException, causes_max: int) -> Iterator[BaseException]:
    """The exceptions below `error`, each once: its cause or else its context, and the members of a group."""
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
    """The failure that an error such as ActivityFailedError reports, if any."""
    try:
        failure = getattr(error, "failure", None)
    except Exception:  # noqa: BLE001 - a user's property that happens to have this name
        return None
    return failure if isinstance(failure, Failure) else None


def _remote_causes(failure: Failure, bounds: Bounds) -> list[Cause]:
    found = [Cause(type=failure.type, message=failure.message), *failure.causes[: bounds.causes_max]]
    return [_cause(cause.type, cause.message, bounds.message_chars_max) for cause in found]


def _traceback(error: BaseException, bounds: Bounds) -> str:
    chars_max = bounds.traceback_chars_max
    try:
        extracted = traceback.TracebackException.from_exception(error, limit=-_FRAMES_MAX)
        _keep_user_code(extracted, error, levels=bounds.causes_max)
        text = "".join(extracted.format())
    except Exception:  # noqa: BLE001 - for example a SyntaxError whose text is not a string
        stack = traceback.extract_tb(error.__traceback__, limit=-_FRAMES_MAX)
        text = "".join(traceback.format_list(_user_code(stack, error)))
    text = _valid_utf8(text)
    return _end_of(text, chars_max)


def _keep_user_code(extracted: traceback.TracebackException, error: BaseException, levels: int) -> None:
    """Remove frames that are not user code's, from `error` and the exceptions below it."""
    extracted.stack[:] = _user_code(extracted.stack, error)
    if levels:
        for part, below in ((extracted.__cause__, error.__cause__), (extracted.__context__, error.__context__)):
            if part is not None and below is not None:
                _keep_user_code(part, below, levels - 1)
        if extracted.exceptions and isinstance(error, BaseExceptionGroup):
            for part, member in zip(extracted.exceptions, error.exceptions, strict=True):
                _keep_user_code(part, member, levels - 1)


def _user_code(stack: list[traceback.FrameSummary], error: BaseException) -> list[traceback.FrameSummary]:
    """The frames outside of Penstock and asyncio; if there are none, all frames outside of `penstock.workers`."""
    modules = [str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    frames = list(zip(stack, modules[-_FRAMES_MAX:], strict=False))
    kept = [frame for frame, module in frames if not module.startswith(_NOT_USER_CODE)]
    return kept or [frame for frame, module in frames if not module.startswith(_WORKERS)]


_FRAMES_MAX = 100
_NOT_USER_CODE = ("penstock.", "asyncio.", "concurrent.")
_WORKERS = "penstock.workers."


def _valid_utf8(text: str) -> str:
    """The text with lone surrogates replaced by their escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _shortened(text: str, chars_max: int) -> str:
    return text if len(text) <= chars_max else f"{text[: chars_max - 1]}…"
