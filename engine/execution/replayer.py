"""Replay of a run's history: its code is brought to where the history ends by repeating every decision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from penstock.engine.core.catalogue import DELIVERED, REQUESTS
from penstock.engine.core.execution import InputDifference, OtherPython, Rebuilt
from penstock.engine.core.machines.run import PYTHON
from penstock.engine.execution.code import Code
from penstock.engine.execution.observed import ObservedProgram
from penstock.engine.execution.program import Program
from penstock.schemas.encoding.codec import decode
from penstock.schemas.errors import NonDeterminism
from penstock.schemas.records.decisions import DecisionRecorded
from penstock.schemas.records.kinds import Event
from penstock.schemas.records.pause import WorkflowPaused, WorkflowResumed
from penstock.schemas.records.reset import WorkflowForked
from penstock.schemas.records.run import HistoryExceeded, WorkflowBlocked, WorkflowStarted, WorkflowUnblocked

DIFFERENCES_MAX = 20

HALTING: tuple[type, ...] = (WorkflowBlocked, WorkflowPaused, HistoryExceeded)
RELEASING: tuple[type, ...] = (WorkflowUnblocked, WorkflowResumed, WorkflowForked)
"""Events after which inputs stay unread, or reach the code. A run that goes on may be BLOCKED by the same decision, and
one whose history is full fails by one that leaves out what the code requested."""


def is_blocked(events: Iterable[Event]) -> bool:
    """Whether a run with this history is BLOCKED. A pause leaves it so; a run that goes on may be BLOCKED again."""
    decisive = [event for event in events if isinstance(event, (WorkflowBlocked, *RELEASING))]
    return bool(decisive) and isinstance(decisive[-1], WorkflowBlocked)


def rebuild(
    definition: Code,
    workflow_id: str,
    run_id: str,
    records: Iterable[DecisionRecorded],
    *,
    strict_inputs: bool = False,
    observed: bool = False,
) -> Rebuilt:
    """Repeat `records`, the run's history in order, with today's code. Raises NonDeterminism, CodeError."""
    replay: Replay | None = None
    make = ObservedProgram if observed else Program
    try:
        for now_ms, events in decisions(records):
            if replay is None:
                started = events[0]
                assert isinstance(started, WorkflowStarted), "a history begins with WorkflowStarted"
                program = make(definition, workflow_id, started.message_id or run_id, started.seed)
                program.started_ms = now_ms  # its code may have received the start later, when it was unblocked
                replay = Replay(program, started.python, strict_inputs=strict_inputs)
            replay.repeat(now_ms, events)
    except BaseException as error:
        if replay is not None:
            replay.program.close()
            if isinstance(error, NonDeterminism):
                raise _with_python(error, replay.python) from None
        raise
    assert replay is not None, f"run {run_id} of {workflow_id} has no history"
    return Rebuilt(replay.program, replay.unread, replay.differences[:DIFFERENCES_MAX])


class Replay:
    """Progress of a replay. Inputs of a BLOCKED or paused run stay unread until it goes on, as the first time."""

    def __init__(self, program: Program, python: str, *, strict_inputs: bool) -> None:
        self.program, self.python, self._strict_inputs = program, python, strict_inputs
        self.unread: list[Event] = []
        self.differences: list[InputDifference] = []
        self._halted = False

    def repeat(self, now_ms: int, events: list[Event]) -> None:
        """Repeat one decision."""
        requests = [event for event in events if type(event) in REQUESTS]
        inputs = [event for event in events if type(event) in DELIVERED]
        kinds = {type(event) for event in events}
        if not kinds.isdisjoint(HALTING):
            self._halted = True
            self.unread.extend(inputs)
        elif not kinds.isdisjoint(RELEASING):
            self._halted = False
            inputs, self.unread = [*self.unread, *inputs], []
            self._activate(inputs, now_ms, requests)
        elif self._halted:
            self.unread.extend(inputs)
        elif requests or inputs:
            self._activate(inputs, now_ms, requests)
        self.program.first_event += len(events)

    def _activate(self, inputs: list[Event], now_ms: int, requests: list[Event]) -> None:
        self.differences += self.program.replay(inputs, now_ms, requests, strict_inputs=self._strict_inputs)


def _with_python(error: NonDeterminism, python: str) -> NonDeterminism:
    """The error, which names the run's Python if this is another: asyncio may order tasks otherwise there."""
    if python in {"", PYTHON}:
        return error
    return OtherPython(
        f"the run began under Python {python}, and this processor's Python {PYTHON} may order the code's tasks "
        f"otherwise: {error}"
    )


def decisions(records: Iterable[DecisionRecorded]) -> Iterator[tuple[int, list[Event]]]:
    """Time (epoch) and events of each decision; one that needed several records is put together."""
    number, now_ms = -1, 0
    events: list[Event] = []
    for record in records:
        if record.decision != number and events:
            yield now_ms, events
            events = []
        number, now_ms = record.decision, record.now_ms
        events.extend(decode(data) for data in record.events)
    if events:
        yield now_ms, events
