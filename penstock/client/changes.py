"""Changes of an activity that a run waits for, as a command of milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.schemas.values.durations import Duration
from penstock.schemas.values.retry_options import DEFAULT, UNSET, Unset, changed_policy, timeout_ms_of

Backoff = float | Sequence[Duration]


def changes_of(
    *,
    queue: str,
    timeout: Duration | Unset | None,
    retries: int | Unset | None,
    backoff: Backoff | Unset,
    schedule_to_start: Duration | Unset | None,
    schedule_to_close: Duration | Unset | None,
    heartbeat: Duration | Unset | None,
) -> dict[str, Any]:
    """The fields of ChangeActivity for these options. Raises BadInput, BadDuration."""
    times = {
        "timeout": timeout,
        "schedule_to_start": schedule_to_start,
        "schedule_to_close": schedule_to_close,
        "heartbeat": heartbeat,
    }
    fields: dict[str, Any] = {
        f"{name}_ms": timeout_ms_of(given, name)
        for name, given in times.items()
        if not isinstance(given, msgspec.UnsetType)
    }
    if not isinstance(retries, msgspec.UnsetType):
        fields["retries_max"] = changed_policy(DEFAULT, retries, UNSET).retries_max
    if not isinstance(backoff, msgspec.UnsetType):
        fields["delays"] = changed_policy(DEFAULT, UNSET, backoff)
    return fields | {"queue": queue}
