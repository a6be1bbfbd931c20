"""Changes of rows: the one writer of state, live and on replay.

Rows are written here, in the evolve functions of the machines, in messages.py and in expiry.py, and nowhere else
(tests/test_architecture.py: `rows_written_elsewhere`).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.engine.core.catalogue import EVENTS
from penstock.engine.core.keys import (
    CLOSED,
    HISTORY,
    JOINED,
    MEMO,
    MESSAGE,
    NEVER_MS,
    RUN,
    SHARD_KEY,
    UPDATE,
)
from penstock.engine.core.machine import Cause
from penstock.engine.core.machines import kept
from penstock.engine.core.rows import ShardRow, pack
from penstock.engine.core.statuses import CANCELLED, COMPLETED, CONTINUED, FAILED, OPEN, TERMINATED
from penstock.engine.core.working import WorkingRun
from penstock.schemas.records.decisions import DecisionRecorded, Listening
from penstock.schemas.records.kept import CommandTaken
from penstock.schemas.records.kinds import NO_REPLY, Event
from penstock.schemas.records.reset import WorkflowForked
from penstock.schemas.records.retention import WorkflowImported
from penstock.schemas.records.run import WorkflowStarted
from penstock.schemas.records.update import UpdateAccepted, UpdateAwaited, UpdateHeld

ENDED = frozenset({COMPLETED, FAILED, CANCELLED, TERMINATED})
OF_CLOSED = frozenset({RUN, HISTORY, UPDATE, MEMO, MESSAGE, JOINED, CLOSED})
"""Statuses, and kinds of rows, of a run that may be imported."""

EVOLVERS = {kind: rule.evolve for kind, rule in EVENTS.items()}


def begin(run: WorkingRun, run_id: str, events: Sequence[Event]) -> int:
    """Prepare the working copy for these events of the run `run_id`; returns the number of the first in its history.

    `run_id` is empty for events of commands that came before any run."""
    first = events[0]
    if type(first) is WorkflowStarted:
        run.run_id = run_id
        return 1
    if type(first) is WorkflowForked:
        return _copy(run, first)
    if type(first) is WorkflowImported:
        _take_in(run, first)
        return 0
    row = run.row
    if row is None and not run_id:
        return 0
    assert row is not None, "only WorkflowStarted begins a run"
    return row.next_number


def _copy(run: WorkingRun, forked: WorkflowForked) -> int:
    """Let the working copy be a run that begins with the history of another one up to an event: with its records, and
    with the rows that its events leave. Returns the number of the event that follows."""
    run.run_id = forked.run_id
    for _, value in run.rows(HISTORY, forked.base_run_id):
        record = run.decode(value)
        if record.first_sequence > forked.to_event:
            break
        cause = Cause(record.now_ms, record.trigger.message_id, record.appended_ms)
        for event in map(run.decode, record.events):
            if type(event) is CommandTaken:
                kept.take_again(run, event)
            elif type(event) is not UpdateAwaited:
                EVOLVERS[type(event)](run, _copied(event, forked), cause)
        run.header.next_number += len(record.events)
        run.writes[run.key(HISTORY, record.first_sequence)] = value
    run.forget_dropped()
    return forked.to_event + 1


def _take_in(run: WorkingRun, imported: WorkflowImported) -> None:
    """Let the working copy be a closed run with this history: with its records, and the rows that its events leave.

    AssertionError for a history that no closed run has."""
    run.run_id = imported.run_id
    for value in imported.records:
        record = run.decode(value)
        assert isinstance(record, DecisionRecorded), "a record is no decision"
        _take_in_decision(run, record)
        run.writes[run.key(HISTORY, record.first_sequence)] = value
    assert imported.records, "there is no event"
    assert run.header.status in ENDED, f"the run is {run.header.status}"
    # What was pending on the way is gone: nothing of it was ever stored here.
    run.writes = {key: value for key, value in run.writes.items() if value is not None}
    strange = {key[:1] for key in run.writes} - OF_CLOSED
    assert not strange, f"it leaves rows of the kinds {sorted(strange)}"
    run.forget_dropped()
    run.due_ms = NEVER_MS


def _take_in_decision(run: WorkingRun, record: DecisionRecorded) -> None:
    """Apply one decision of a history that is imported. AssertionError if it does not follow."""
    events = [run.decode(event) for event in record.events]
    assert record.workflow_id == run.workflow_id, f"it is that of {record.workflow_id}"
    assert events, f"decision {record.decision} has no event"
    number = run.row.next_number if run.row is not None else 1
    assert record.first_sequence == number, f"event {number} is missing"
    assert (run.row is None) == (type(events[0]) is WorkflowStarted), "it has another beginning than WorkflowStarted"
    cause = Cause(record.now_ms, record.trigger.message_id, record.appended_ms)
    for event in events:
        assert run.row is None or run.row.status in OPEN, f"it goes on with {type(event).__name__} after its end"
        if type(event) is not CommandTaken:  # the command was kept elsewhere; the event after it says what it was
            EVOLVERS[type(event)](run, event, cause)
    run.header.next_number += len(events)


def _copied(event: Event, forked: WorkflowForked) -> Event:
    """An event of the base as that of the run that goes on with its history: those who awaited the base are known, and
    the decision that follows says who awaits an update."""
    match event:
        case WorkflowStarted():
            return msgspec.structs.replace(event, first_run_id=forked.first_run_id, reply_to=NO_REPLY)
        case UpdateAccepted():
            return msgspec.structs.replace(event, reply_to=NO_REPLY)
        case UpdateHeld():
            return msgspec.structs.replace(event, reply_to=NO_REPLY, also_accepted=(), also_ended=())
    return event


def evolve(run: WorkingRun, event: Event, cause: Cause) -> None:
    """Apply one event to the working copy of its run. AssertionError for one that its machine's table forbids."""
    EVOLVERS[type(event)](run, event, cause)


def finish(run: WorkingRun, numbered: int, listening: Listening | None) -> None:
    """Write the header after the events of a decision, of which `numbered` take a number in the history."""
    row = run.row
    if row is None and not numbered:
        return
    assert row is not None, "a decision with events leaves a run"
    row.next_number += numbered
    row.listening = listening
    run.writes[run.header_key] = pack(row)


def keep_history(run: WorkingRun, first_sequence: int, data: bytes) -> None:
    """Write a history row: `data` is the encoded DecisionRecorded whose first event has that number.

    A run that continued as new keeps none."""
    row = run.row
    assert row is not None, "only a run has a history"
    if row.status == CONTINUED:
        return
    run.writes[run.key(HISTORY, first_sequence)] = data


def write_shard(writes: dict[bytes, bytes | None], row: ShardRow) -> None:
    """Write the shard's own row."""
    writes[SHARD_KEY] = pack(row)
