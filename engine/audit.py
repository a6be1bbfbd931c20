"""Rows from the topic `events` alone: recorded decisions, applied by `evolve` from nothing."""

from __future__ import annotations

from penstock.engine.core.evolve import begin, evolve, finish, keep_history
from penstock.engine.core.machine import Cause
from penstock.engine.core.working import WorkingRun
from penstock.schemas.encoding.codec import decode
from penstock.schemas.records.decisions import DecisionRecorded
from penstock.schemas.records.run import InputIgnored


def message_of(decision: bytes) -> str:
    """Id of the message that caused an encoded decision; empty for none."""
    record: DecisionRecorded = decode(decision)
    return record.trigger.message_id


def apply(run: WorkingRun, data: bytes) -> None:
    """Apply an encoded DecisionRecorded to the working copy of its run: the same rows as when it was decided."""
    record: DecisionRecorded = decode(data)
    events = [decode(event) for event in record.events]
    if isinstance(events[0], InputIgnored):
        return
    begin(run, record.run_id, events)
    cause = Cause(record.now_ms, record.trigger.message_id, record.appended_ms)
    for event in events:
        evolve(run, event, cause)
    finish(run, len(events) if record.first_sequence else 0, record.listening)
    if record.first_sequence:
        keep_history(run, record.first_sequence, data)
