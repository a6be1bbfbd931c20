"""How does an exception become a worker's Failure? As everywhere, with an attempt and within bounds of its own."""

from __future__ import annotations

from penstock.schemas.values import failure
from penstock.schemas.values.failure import Bounds, Failure

MESSAGE_CHARACTERS_MAX = 4_000
TRACEBACK_CHARACTERS_MAX = 12_000
CAUSES_MAX = 10

_BOUNDS = Bounds(
    message_chars_max=MESSAGE_CHARACTERS_MAX,
    traceback_chars_max=TRACEBACK_CHARACTERS_MAX,
    causes_max=CAUSES_MAX,
)


def failure_of(error: BaseException, *, attempt: int, non_retryable: bool) -> Failure:
    """The failure that `error` stands for; the worker's own frames are left out of its traceback."""
    return failure.failure_of(error, non_retryable=non_retryable, attempts=attempt, bounds=_BOUNDS)


def message_of(error: BaseException) -> str:
    """The exception's text, even when its `__str__` fails."""
    return failure.message_of(error, MESSAGE_CHARACTERS_MAX)
