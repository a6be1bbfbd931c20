"""Requests that calls of activities and workflows become, and those that withdraw them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from penstock.schemas.records.activity import ActivityCancelled, ActivityScheduled, ActivityStopRequested
from penstock.schemas.records.child import ChildCancelRequested, ChildScheduled, ChildStarted, ChildStopRequested
from penstock.schemas.records.kinds import Event
from penstock.schemas.values.call import Call
from penstock.schemas.values.requests import ActivityRequest

ACTIVITY, CHILD = "activity", "child"

_PARENT_ID_BYTES_MAX = 180
_SEED_CHARS = 8


def request_of(call: Call[Any], sequence: int, workflow_id: str, seed: str) -> tuple[Any, str]:
    """The request that records `call` under that sequence of the run, and its kind: `activity` or `child`."""
    asked = call.request
    if type(asked) is ActivityRequest:
        scheduled = ActivityScheduled(
            sequence=sequence,
            activity=asked.activity,
            input=call.input,
            queue=asked.queue,
            timeout_ms=asked.timeout_ms,
            retry=asked.retry,
            bounds=asked.bounds,
        )
        return scheduled, ACTIVITY
    child_id = asked.workflow_id or default_child_id(workflow_id, seed, sequence)
    child = ChildScheduled(
        sequence=sequence,
        workflow_type=asked.workflow_type,
        workflow_id=child_id,
        input=call.input,
        run_timeout_ms=asked.run_timeout_ms,
        execution_timeout_ms=asked.execution_timeout_ms,
        retry=asked.retry,
        parent_close=asked.parent_close,
        awaits_start=asked.awaits_start,
        memo=asked.memo,
        search=asked.search,
        version=asked.version,
    )
    return child, CHILD


def withdrawal_of(sequence: int, kind: str, workflow_id: str) -> Event:
    """The request of code that no longer waits for that one. `workflow_id`: of a child."""
    if kind == CHILD:
        return ChildCancelRequested(sequence=sequence, workflow_id=workflow_id)
    return ActivityCancelled(sequence=sequence)


def stop_of(sequence: int, kind: str, workflow_id: str) -> Event:
    """The request of code that gave that one up and waits for its end. `workflow_id`: of a child."""
    if kind == CHILD:
        return ChildStopRequested(sequence=sequence, workflow_id=workflow_id)
    return ActivityStopRequested(sequence=sequence)


def default_child_id(workflow_id: str, seed: str, sequence: int) -> str:
    """Workflow id of a child without an id of its own: `<parent id>-<seed>-<sequence>`, at most 255 bytes."""
    return f"{shortened(workflow_id, _PARENT_ID_BYTES_MAX)}-{seed[:_SEED_CHARS]}-{sequence}"


def shortened(text: str, bytes_max: int) -> str:
    """As much of the text's beginning as fits into that many bytes of UTF-8, in whole characters."""
    return text if len(text) * 4 <= bytes_max else text.encode()[:bytes_max].decode(errors="ignore")


def ended_by(inputs: Iterable[Event]) -> frozenset[int]:
    """Sequences of requests that have ended: code that a cancellation reaches first must not withdraw them."""
    ending = (event for event in inputs if hasattr(event, "sequence") and type(event) is not ChildStarted)
    return frozenset(event.sequence for event in ending)
