"""Tests of events as JSON objects."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.engine.runtime.reads import plain
from penstock.schemas.encoding.json_event import event_of
from penstock.schemas.encoding.record_types import EVENTS
from penstock.schemas.errors import Undecodable
from penstock.schemas.failure import Failure
from penstock.schemas.records.activity import ActivityScheduled
from penstock.schemas.records.marker import SideEffectRecorded
from penstock.schemas.records.retention import WorkflowImported
from penstock.schemas.records.run import WorkflowCompleted, WorkflowStarted
from tests.schemas.samples import sample_of


def in_json(event: Any) -> dict[str, Any]:
    """The event as `history` returns it."""
    found: dict[str, Any] = msgspec.json.decode(
        msgspec.json.encode({"number": 1, "event": type(event).__name__, "at_ms": 1, "decision": 1, **plain(event)})
    )
    return found


def with_json_payloads(event: Any) -> Any:
    """The sample with JSON where it has bytes."""
    payloads = {
        field.name: b'{"a":[1,2.5,null]}'
        for field in msgspec.structs.fields(event)
        if isinstance(getattr(event, field.name), bytes)
    }
    return msgspec.structs.replace(event, **payloads)


# An import belongs to no history, and holds records.
@pytest.mark.parametrize(
    "kind", [kind for kind in EVENTS.values() if kind is not WorkflowImported], ids=lambda kind: kind.__name__
)
def test_every_event_comes_back(kind: Any) -> None:
    """Each event that history returns is read back as it was."""
    event = with_json_payloads(sample_of(kind))
    assert event_of(in_json(event)) == event


def test_empty_payloads() -> None:
    """A payload of null stays null, and one that may be empty is empty."""
    started = WorkflowStarted(workflow_type="t", version=1, input=b"null", message_id="m", seed="s")
    assert event_of(in_json(started)) == started
    assert event_of(in_json(WorkflowCompleted(result=b"null"))) == WorkflowCompleted(result=b"null")


def test_a_side_effect_that_raised() -> None:
    """The failure that a side effect recorded comes back, and a text that only looks like one stays a text."""
    failure = b"!" + msgspec.json.encode(Failure(type="ValueError", message="no"))
    for value in (failure, b'"!no failure"', b'"text"'):
        event = SideEffectRecorded(sequence=1, value=value)
        assert event_of(in_json(event)) == event


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"event": "Strange"}, "'Strange' is no event of this version"),
        ({"sequence": "one"}, "ActivityScheduled of the history is not complete"),
        ({"sequence": None}, "ActivityScheduled of the history is not complete"),
    ],
)
def test_what_is_no_event(change: dict[str, Any], message: str) -> None:
    """An unknown event, and fields of another type, are refused with the event's name."""
    event = ActivityScheduled(sequence=1, activity="charge", input=b"1", queue="default")
    with pytest.raises(Undecodable, match=message):
        event_of({**in_json(event), **change})
    with pytest.raises(Undecodable, match="not complete"):
        event_of({"event": "ActivityScheduled"})
