"""How is a run's code brought back to where its history ends? By repeating every decision of the past."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

import msgspec

from penstock.engine.execution.program import ORDERS, Program
from penstock.schemas.encoding.codec import decode
from penstock.schemas.records import events as e
from penstock.schemas.records.decisions import DecisionRecorded

if TYPE_CHECKING:
    from penstock.engine.authoring.workflow import WorkflowDefinition


class Rebuilt(msgspec.Struct, frozen=True):
    """The code at the end of its history, and the facts recorded while the run was BLOCKED, which it has not seen."""

    program: Program
    unread: list[Any]


def rebuild(
    definition: WorkflowDefinition[Any, Any],
    workflow_id: str,
    run_id: str,
    records: Iterable[DecisionRecorded],
) -> Rebuilt:
    """Drive `definition` through `records`, the run's history in order. Raises NonDeterminism."""
    program = Program(definition, workflow_id, run_id)
    replay = _Replay(program)
    try:
        for now_ms, events in decisions(records):
            replay.repeat(now_ms, events)
    except BaseException:
        program.close()
        raise
    return Rebuilt(program, replay.unread)


class _Replay:
    """Where a replay stands: a BLOCKED run's facts wait unread until it is unblocked, as they did the first time."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.parked = False
        self.unread: list[Any] = []

    def repeat(self, now_ms: int, events: list[Any]) -> None:
        """Repeat one decision of the past."""
        orders = [event for event in events if type(event) in ORDERS]
        facts = [event for event in events if type(event) not in ORDERS and type(event) not in _MARKS]
        kinds = {type(event) for event in events}
        if e.WorkflowBlocked in kinds:
            self.parked = True
            self.unread.extend(facts)
        elif e.WorkflowUnblocked in kinds:
            self.parked = False
            unread, self.unread = self.unread, []
            self.program.replay(unread, now_ms, orders)
        elif self.parked:
            self.unread.extend(facts)
        elif orders or not kinds <= _SILENT:
            self.program.replay(facts, now_ms, orders)


_MARKS = frozenset({e.WorkflowBlocked, e.WorkflowUnblocked})
_SILENT = frozenset({e.ActivityAttemptFailed, e.ActivityRetried, e.WorkflowTerminated})


def decisions(records: Iterable[DecisionRecorded]) -> Iterator[tuple[int, list[Any]]]:
    """Each decision's time and events; a decision too large for one record is put together again."""
    number, now_ms = -1, 0
    events: list[Any] = []
    for record in records:
        if record.decision != number and events:
            yield now_ms, events
            events = []
        number, now_ms = record.decision, record.now_ms
        events.extend(decode(data) for data in record.events)
    if events:
        yield now_ms, events


def history_record(data: bytes) -> DecisionRecorded:
    """A history row."""
    return cast("DecisionRecorded", decode(data))
