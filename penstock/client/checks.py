"""Checks of arguments that a program without a type checker may get wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from penstock.engine.core.statuses import STATUSES
from penstock.engine.runtime.reads import LIMIT_MAX
from penstock.schemas.encoding.json_command import ON_EXISTING
from penstock.schemas.errors import BadInput, BadName

Wait = Literal["accepted", "stored"]
"""Which moment of a start its caller waits for."""


def check_wait(wait: Wait) -> Wait:
    """The word; raises BadInput for an unknown one."""
    if wait not in {"accepted", "stored"}:
        raise BadInput(f"wait must be `accepted` or `stored`, not {wait!r}.")
    return wait


def check_on_existing(on_existing: str) -> None:
    """Raise BadInput unless `on_existing` is one of the known words."""
    if on_existing not in ON_EXISTING:
        raise BadInput(f"on_existing must be one of {', '.join(ON_EXISTING)}, not {on_existing!r}.")


def check_named_start(type: object, input: object) -> None:
    """Raise BadName unless the workflow type is a str, BadInput unless the input is bytes."""
    if not isinstance(type, str):
        raise BadName(
            f"The workflow type must be its name, a text, not {type!r}; `start` takes a call such as fulfil(order)."
        )
    if not isinstance(input, bytes):
        kind = input.__class__.__name__
        raise BadInput(
            f"The input of {type} must be JSON as bytes, not a value of type {kind}: write `json.dumps(…).encode()`, "
            "or pass the workflow's call to `start`, which encodes its arguments."
        )


def check_list_filters(status: object, limit: object) -> None:
    """Raise BadInput for an unknown status and for a limit that is not from 1 to LIMIT_MAX."""
    if status is not None and status not in STATUSES:
        raise BadInput(f"status must be one of {', '.join(STATUSES)}, not {status!r}.")
    if not isinstance(limit, int) or not 1 <= limit <= LIMIT_MAX:
        raise BadInput(f"limit must be a number from 1 to {LIMIT_MAX}, not {limit!r}.")


def check_headers(headers: object) -> None:
    """Raise BadInput unless headers are texts by name."""
    if headers is None:
        return
    if not isinstance(headers, Mapping):
        raise BadInput(f"headers must be a mapping of texts, not {headers!r}.")
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise BadInput(f"headers must be texts, not {name!r}: {value!r}; convert them with `str(…)`.")
        try:
            (name + value).encode()
        except UnicodeEncodeError:
            raise BadInput(f"headers must be texts that UTF-8 can express, not {name!r}: {value!r}.") from None
