"""What the runs of an engine called and received, read from their histories, for assertions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from penstock.client.outcome import failure_text
from penstock.engine.runtime.reads import json_value
from penstock.schemas.records.activity import (
    ActivityAttemptFailed,
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
)
from penstock.schemas.records.external import RecordPublished
from penstock.schemas.records.signal import SignalReceived
from penstock.schemas.values.payload import Signature
from penstock.testing.histories import History


class ActivityCalled(msgspec.Struct, frozen=True):
    """An activity that a run called.

    `arguments`: as the function gets them, if the engine hosts the activity, otherwise the JSON value. `status`:
    running, completed, failed or cancelled. `result`: the JSON value; `failure`: empty unless it failed."""

    name: str
    workflow_id: str
    arguments: tuple[Any, ...]
    status: str = "running"
    attempts: int = 1
    result: Any = None
    failure: str = ""


class SignalSent(msgspec.Struct, frozen=True):
    """A signal that a run received. `value`: the JSON value."""

    name: str
    workflow_id: str
    value: Any


class Published(msgspec.Struct, frozen=True):
    """A record that a run published. `value`: the JSON value, the bytes that were given, or None for a deletion."""

    topic: str
    workflow_id: str
    key: str | None
    value: Any


def activities(found: Iterable[History], signatures: Mapping[str, Signature]) -> list[ActivityCalled]:
    """The activities that were called, run by run, in the order of their calls."""
    return [called for history in found for called in _activities(history, signatures)]


def signals(found: Iterable[History]) -> list[SignalSent]:
    """The signals that were received, run by run."""
    return [
        SignalSent(event.signal, history.workflow_id, json_value(event.input))
        for history in found
        for _, _, event in history.events()
        if isinstance(event, SignalReceived)
    ]


def published(found: Iterable[History]) -> list[Published]:
    """The records that were published, run by run, in their order."""
    return [
        Published(event.topic, history.workflow_id, event.key, _published_value(event))
        for history in found
        for _, _, event in history.events()
        if isinstance(event, RecordPublished)
    ]


def activity_inputs(found: Iterable[History], name: str) -> list[bytes]:
    """The inputs (JSON) with which an activity was called."""
    events = (event for history in found for _, _, event in history.events())
    return [event.input for event in events if isinstance(event, ActivityScheduled) and event.activity == name]


def workflow_inputs(found: Iterable[History], name: str) -> list[bytes]:
    """The inputs (JSON) with which runs of a type were started."""
    return [history.started.input for history in found if history.started.workflow_type == name]


def _activities(history: History, signatures: Mapping[str, Signature]) -> list[ActivityCalled]:
    called: dict[int, ActivityCalled] = {}
    for _, _, event in history.events():
        if isinstance(event, ActivityScheduled):
            arguments = _decoded(signatures.get(event.activity), event.input)
            called[event.sequence] = ActivityCalled(event.activity, history.workflow_id, arguments)
            continue
        sequence = getattr(event, "sequence", 0)
        if sequence in called:
            called[sequence] = _after(called[sequence], event)
    return list(called.values())


def _after(called: ActivityCalled, event: Any) -> ActivityCalled:
    change = msgspec.structs.replace
    if isinstance(event, ActivityAttemptFailed):
        return change(called, attempts=event.attempt + 1, failure=failure_text(event.failure))
    if isinstance(event, ActivityCompleted):
        return change(called, status="completed", attempts=event.attempt, result=json_value(event.result), failure="")
    if isinstance(event, ActivityFailed):
        return change(called, status="failed", failure=failure_text(event.failure))
    if isinstance(event, ActivityCancelled):
        return change(called, status="cancelled")
    return called


def _decoded(signature: Signature | None, data: bytes) -> tuple[Any, ...]:
    return signature.decode(data) if signature is not None else (json_value(data),)


def _published_value(event: RecordPublished) -> Any:
    if event.deletes:
        return None
    return event.value if event.raw else json_value(event.value)
