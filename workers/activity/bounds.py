"""Conversion of the options that bound an activity into ActivityBounds."""

from __future__ import annotations

from typing import Literal

import msgspec

from penstock.schemas.errors import BadInput
from penstock.schemas.values.bounds import ActivityBounds
from penstock.schemas.values.durations import Duration
from penstock.schemas.values.retry_options import Unset, timeout_ms_of

Cancel = Literal["abandon", "wait"]

_NONE = ActivityBounds()


def activity_bounds(
    given: ActivityBounds | None,
    *,
    schedule_to_start: Duration | Unset | None,
    schedule_to_close: Duration | Unset | None,
    heartbeat: Duration | Unset | None,
    jitter: float | Unset,
    cancel: Cancel | Unset,
    timeouts_final: bool,
) -> ActivityBounds | None:
    """Return `given` with these options replaced; None if there is nothing to bound. Raises BadInput, BadDuration."""
    bounds = given or _NONE
    if not isinstance(schedule_to_start, msgspec.UnsetType):
        start_ms = timeout_ms_of(schedule_to_start, "schedule_to_start")
        bounds = msgspec.structs.replace(bounds, schedule_to_start_ms=start_ms)
    if not isinstance(schedule_to_close, msgspec.UnsetType):
        close_ms = timeout_ms_of(schedule_to_close, "schedule_to_close")
        bounds = msgspec.structs.replace(bounds, schedule_to_close_ms=close_ms)
    if not isinstance(heartbeat, msgspec.UnsetType):
        bounds = msgspec.structs.replace(bounds, heartbeat_ms=timeout_ms_of(heartbeat, "heartbeat"))
    if not isinstance(jitter, msgspec.UnsetType):
        bounds = msgspec.structs.replace(bounds, jitter=_jitter(jitter))
    if not isinstance(cancel, msgspec.UnsetType):
        bounds = msgspec.structs.replace(bounds, waits=_waits(cancel))
    bounds = msgspec.structs.replace(bounds, timeouts_final=False)
    return None if bounds == _NONE else msgspec.structs.replace(bounds, timeouts_final=timeouts_final)


def _jitter(jitter: object) -> float:
    if isinstance(jitter, bool) or not isinstance(jitter, int | float) or not 0.0 <= jitter <= 1.0:
        raise BadInput(f"jitter={jitter!r} is invalid: give a fraction of the delay from 0 to 1, such as 0.2.")
    return float(jitter)


def _waits(cancel: str) -> bool:
    if cancel not in {"abandon", "wait"}:
        raise BadInput(f'cancel={cancel!r} is invalid: give "abandon" or "wait".')
    return cancel == "wait"
