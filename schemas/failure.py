"""Failure of an attempt, an activity or a run, as other records carry it."""

from __future__ import annotations

import msgspec


class Cause(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One exception further down a failure's chain of causes."""

    type: str
    message: str


class Failure(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Why an attempt, an activity or a run failed, readable without the code that raised it.

    `kind` is one of `error` (an exception), `timeout` (an attempt, or a run, did not end in time), `cancelled`,
    `terminated`, `worker_died` (the attempt ended its worker's process).
    `type` is the exception's qualified name, `traceback` its text (shortened to fit a record).
    """

    type: str
    message: str
    kind: str = "error"
    traceback: str = ""
    non_retryable: bool = False
    attempts: int = 0
    causes: tuple[Cause, ...] = ()
