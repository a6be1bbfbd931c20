"""Pending activities of a run by name, and results that are given by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.schemas.errors import BadInput


def pending_number(run: Mapping[str, Any], activity: str) -> int:
    """Number of the one activity of that name that a described run waits for. Raises BadInput."""
    pending = run["pending_activities"]
    found = [one["sequence"] for one in pending if one["activity"] == activity]
    if len(found) == 1:
        return int(found[0])
    if found:
        numbers = ", ".join(map(str, found))
        many = f"{run['workflow_id']} waits for {len(found)} activities {activity}"
        raise BadInput(f"{many}: name one by its number, {numbers}.")
    others = ", ".join(f"{one['activity']} ({one['sequence']})" for one in pending) or "none"
    raise BadInput(f"{run['workflow_id']} waits for no activity {activity!r}; it waits for {others}.")


def encoded_json(value: Any, what: str) -> bytes:
    """A value as JSON. Raises BadInput."""
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise BadInput(f"{what} has no JSON form: {error}") from error
