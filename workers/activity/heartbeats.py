"""Heartbeats of the running activity: that it goes on, and how far it has come."""

from __future__ import annotations

from typing import Any, TypeVar, overload

from penstock.schemas.values.bounds import HEARTBEAT_BYTES_MAX
from penstock.schemas.values.payload import adapter_for, check_size
from penstock.workers.activity.info import running

T = TypeVar("T")
D = TypeVar("D")

_DETAILS = adapter_for(None)


def encoded_details(details: Any, activity: str) -> bytes:
    """The details of a heartbeat as JSON. Raises BadInput, PayloadTooLarge."""
    data = _DETAILS.encode(details)
    check_size(data, limit=HEARTBEAT_BYTES_MAX, what=f"The details of a heartbeat of activity {activity}")
    return data


def heartbeat(details: Any = None) -> None:
    """Report that the running activity goes on, and how far it has come.

    With the option `heartbeat` of `@activity`, an attempt that does not call this for so long has failed. `details`:
    any value with a JSON form of at most 64 kB; the next attempt gets the last one from `heartbeat_details`. Call it as
    often as you like: the worker sends few of them. May be called from any thread to which the activity's context was
    copied, such as that of `asyncio.to_thread`.

    Raises ActivityCancelledError in a sync activity for which its run no longer waits; an async one is cancelled
    instead. Raises BadInput, PayloadTooLarge (of details), NotInActivity."""
    running("heartbeat()").beat(details)


@overload
def heartbeat_details() -> Any: ...
@overload
def heartbeat_details(type: type[T]) -> T | None: ...
@overload
def heartbeat_details(type: type[T], default: D) -> T | D: ...
def heartbeat_details(type: Any = None, default: Any = None) -> Any:
    """Return the details of the last heartbeat of earlier attempts, as a value of `type`; `default` without any.

    Raises BadInput if they do not fit the type, NotInActivity."""
    data = running("heartbeat_details()").task.details
    return adapter_for(type).decode(data, "The details of the last heartbeat") if data else default
