"""Conversion of exceptions into failures, within the bounds of a result record."""

from __future__ import annotations

from penstock.schemas.failure import Failure
from penstock.schemas.values import failure
from penstock.schemas.values.failure import Bounds

MESSAGE_CHARACTERS_MAX = 4_000
TRACEBACK_CHARACTERS_MAX = 12_000
CAUSES_MAX = 10

_BOUNDS = Bounds(
    message_chars_max=MESSAGE_CHARACTERS_MAX,
    traceback_chars_max=TRACEBACK_CHARACTERS_MAX,
    causes_max=CAUSES_MAX,
)


def failure_of(error: BaseException, *, attempt: int, non_retryable: bool) -> Failure:
    """Return the failure for `error`; its traceback omits the worker's own frames."""
    return failure.failure_of(error, non_retryable=non_retryable, attempts=attempt, bounds=_BOUNDS)


def message_of(error: BaseException) -> str:
    """Return the exception's text, or a substitute if its `__str__` fails."""
    return failure.message_of(error, MESSAGE_CHARACTERS_MAX)
