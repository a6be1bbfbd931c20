"""Validation of an activity's declaration: its name, queue, priority and error classes."""

from __future__ import annotations

import re
from typing import Literal, get_args

from penstock.schemas.errors import BadInput, BadName
from penstock.topics.catalogue import Topics

Priority = Literal["high", "normal", "low"]
Errors = type[BaseException] | tuple[type[BaseException], ...]

_NAME = re.compile(r"[^\x00-\x20<>\x7f]{1,255}")
_topics = Topics()


def check_name(name: str) -> str:
    """Return `name` if it can name an activity. Raises BadName."""
    if not _NAME.fullmatch(name):
        raise BadName(
            f"{name!r} cannot name an activity: give it a name of 1 to 255 characters without blanks, '<' or '>', "
            'such as @activity(name="charge").'
        )
    return name


def check_queue(queue: str) -> str:
    """Return `queue` if it can be part of a topic's name. Raises BadName."""
    _topics.tasks(queue)
    return queue


def check_priority(priority: str) -> Priority:
    """Return `priority` if it is a known one. Raises BadInput."""
    for known in get_args(Priority):
        if priority == known:
            return known  # type: ignore[no-any-return]
    raise BadInput(f"Priority {priority!r} is unknown: use high, normal or low.")


def check_errors(non_retryable: Errors) -> tuple[type[BaseException], ...]:
    """Return the exception classes as a tuple; one class stands for a tuple of it. Raises BadInput."""
    errors: tuple[object, ...] = non_retryable if isinstance(non_retryable, tuple) else (non_retryable,)
    for error in errors:
        if not (isinstance(error, type) and issubclass(error, BaseException)):
            raise BadInput(f"non_retryable takes exception classes, not {error!r}.")
    return tuple(error for error in errors if isinstance(error, type) and issubclass(error, BaseException))
