"""Comparison of a run's history with the code at hand: a replay that says line by line what differs.

Changed inputs let a run go on, so all of them are named. Other requests than the recorded ones end the comparison: what
follows them means nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from itertools import takewhile
from types import FrameType
from typing import Any

import msgspec

from penstock.engine.core.catalogue import EVENTS, REQUESTS
from penstock.engine.core.execution import CodeError, InputDifference
from penstock.engine.execution.code import Code
from penstock.engine.execution.matching import described, payload_text
from penstock.engine.execution.program import Program
from penstock.engine.execution.replayer import Replay, decisions
from penstock.schemas.errors import NonDeterminism
from penstock.schemas.records.decisions import DecisionRecorded
from penstock.schemas.records.kinds import Event
from penstock.schemas.records.run import WorkflowCompleted, WorkflowStarted
from penstock.schemas.values.call import Call
from penstock.schemas.values.frames import called_by, outward, place

PAYLOAD_CHARS_MAX = 120


class Difference(msgspec.Struct, frozen=True):
    """Something that the code does otherwise than the history records.

    `number`: of the first event of its decision; `message`: a sentence; `recorded`, `asked`: the decision's requests,
    a line each, with the line of code that makes them. `ends`: the run could not go on with this code."""

    number: int
    message: str
    recorded: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    ends: bool = True


class Comparison(msgspec.Struct, frozen=True):
    """What a replay of one run found. `events`: number of events that were repeated."""

    workflow_id: str
    run_id: str
    workflow_type: str
    events: int
    differences: tuple[Difference, ...] = ()

    @property
    def blocks(self) -> bool:
        """Whether the run would become BLOCKED with this code."""
        return any(difference.ends for difference in self.differences)


def compare(definition: Code, workflow_id: str, run_id: str, records: Iterable[DecisionRecorded]) -> Comparison:
    """Replay a run's history, in order, with the code at hand. `records` begin with the run's start."""
    replay: Replay | None = None
    found: list[Difference] = []
    events = 0
    try:
        for now_ms, decided in decisions(records):
            if replay is None:
                replay = _begun(definition, workflow_id, run_id, decided[0], now_ms)
            ended = _repeat(replay, now_ms, decided, found)
            events += len(decided)
            if ended:
                break
    finally:
        if replay is not None:
            replay.program.close()
    return Comparison(workflow_id, run_id, definition.name, events, tuple(found))


def differences_in_text(comparison: Comparison) -> list[str]:
    """The differences, as lines of text: `-` what the history holds, `+` what the code asks for."""
    lines: list[str] = []
    for difference in comparison.differences:
        lines.append(f"event {difference.number}: {difference.message}")
        lines += _beside(difference.recorded, difference.asked)
    return lines


class _ComparedProgram(Program):
    """Program that keeps what it asks for, with the line of code that asks."""

    def __init__(self, definition: Code, workflow_id: str, run_id: str, seed: str) -> None:
        super().__init__(definition, workflow_id, run_id, seed)
        self.asked: list[tuple[Event, str]] = []
        self._made_at = ""

    def perform(self, call: Call[Any]) -> Any:
        self._made_at = call.made_at
        try:
            return super().perform(call)
        finally:
            self._made_at = ""

    def request(self, request: Event, rewrite: Any = None) -> None:
        self.asked.append((request, self._made_at or _place(sys._getframe(1))))  # noqa: SLF001 - the line that asks
        super().request(request, rewrite)


def _begun(definition: Code, workflow_id: str, run_id: str, started: Event, now_ms: int) -> Replay:
    assert isinstance(started, WorkflowStarted), "a history begins with WorkflowStarted"
    program = _ComparedProgram(definition, workflow_id, started.message_id or run_id, started.seed)
    program.started_ms = now_ms
    return Replay(program, started.python, strict_inputs=False)


def _repeat(replay: Replay, now_ms: int, decided: list[Event], found: list[Difference]) -> bool:
    """Repeat one decision; returns whether the comparison ends with it."""
    program = replay.program
    assert isinstance(program, _ComparedProgram), "made by _begun"
    number, known, program.asked = program.first_event, len(replay.differences), []
    recorded = [event for event in decided if type(event) in REQUESTS]
    try:
        replay.repeat(now_ms, decided)
    except NonDeterminism as error:
        asked = tuple(_line(request, at) for request, at in program.asked)
        found.append(Difference(number, str(error), tuple(_line(event) for event in recorded), asked))
        return True
    except CodeError as error:
        message, *traceback = str(error).split("\n")
        recorded_lines = tuple(_line(event) for event in recorded)
        found.append(Difference(number, f"the code raises {message}", recorded_lines, tuple(traceback)))
        return True
    found += [_input_difference(number, one) for one in replay.differences[known:]]
    found += _result_difference(program, number, recorded)
    return False


def _input_difference(number: int, one: InputDifference) -> Difference:
    return Difference(
        number,
        f"the input of {one.request} (request {one.sequence}) differs; the recorded result is used",
        (payload_text(one.recorded, PAYLOAD_CHARS_MAX),),
        (payload_text(one.asked, PAYLOAD_CHARS_MAX),),
        ends=False,
    )


def _result_difference(program: _ComparedProgram, number: int, recorded: Sequence[Event]) -> list[Difference]:
    """The result of a run that has closed, if the code now returns another one."""
    was = next((event for event in recorded if isinstance(event, WorkflowCompleted)), None)
    now = next((event for event, _ in program.asked if isinstance(event, WorkflowCompleted)), None)
    if was is None or now is None:
        return []
    returns = program.definition.signature.returns
    try:
        before = returns.encode(returns.decode(was.result))
    except Exception:  # noqa: BLE001 - today's type may refuse it in any way; it then differs as it was recorded
        before = was.result
    if before == now.result:
        return []
    lines = (payload_text(before, PAYLOAD_CHARS_MAX),), (payload_text(now.result, PAYLOAD_CHARS_MAX),)
    return [Difference(number, "the run's result differs", *lines, ends=False)]


def _line(request: Event, at: str = "") -> str:
    payload = EVENTS[type(request)].payload
    text = described(request)
    if payload is not None:
        text += f" {payload_text(payload(request), PAYLOAD_CHARS_MAX)}"
    return f"{text}  ({at})" if at else text


def _beside(recorded: Sequence[str], asked: Sequence[str]) -> list[str]:
    """Both lists as a difference: lines that agree but for their places are shown once."""
    lines, at = [], 0
    while at < min(len(recorded), len(asked)) and recorded[at] == asked[at].partition("  (")[0]:
        lines.append(f"    {asked[at]}")
        at += 1
    return [*lines, *(f"  - {line}" for line in recorded[at:]), *(f"  + {line}" for line in asked[at:])]


def _place(innermost: FrameType) -> str:
    """The line of workflow code that is being run; empty if none is."""
    driver = called_by(_DELIVER, innermost)
    frames = takewhile(lambda frame: frame is not driver, outward(innermost))
    names = [str(frame.f_globals.get("__name__", "")) for frame in frames]
    if driver is None or all(name.startswith(("penstock.", "asyncio.")) for name in names):
        return ""
    return place(innermost, driver)


_DELIVER = Program._deliver.__code__  # noqa: SLF001 - every activation of code passes it
