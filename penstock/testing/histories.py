"""Histories of an engine's runs: what was called and received, as text, and replayed with the code at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from penstock.client.outcome import failure_text
from penstock.engine.authoring.definition import WorkflowDefinition
from penstock.engine.core.keys import HISTORY, after, run_of_row
from penstock.engine.core.statuses import BLOCKED
from penstock.engine.execution.comparison import compare, differences_in_text
from penstock.engine.execution.replayer import is_blocked
from penstock.engine.runtime.reads import json_value
from penstock.engine.store.store import StoreReader
from penstock.schemas.encoding.codec import decode
from penstock.schemas.errors import NonDeterminism
from penstock.schemas.failure import Failure
from penstock.schemas.records.decisions import DecisionRecorded
from penstock.schemas.records.kinds import Event
from penstock.schemas.records.run import WorkflowStarted

RUNS_SHOWN_MAX = 20
EVENTS_SHOWN_MAX = 60
VALUE_CHARS_MAX = 200

_HIDDEN = frozenset({"seed", "python", "flags", "message_id", "worker", "retry", "reply_to", "awaited_until_ms"})


class History(NamedTuple):
    """The history of one run."""

    workflow_id: str
    run_id: str
    records: list[DecisionRecorded]

    def events(self) -> Iterator[tuple[int, int, Event]]:
        """Number, time (epoch) and event, in order."""
        for record in self.records:
            for number, event in enumerate(record.events, record.first_sequence):
                yield number, record.now_ms, decode(event)

    @property
    def started(self) -> WorkflowStarted:
        """Its first event."""
        event: WorkflowStarted = decode(self.records[0].events[0])
        return event

    @property
    def status(self) -> str:
        """BLOCKED, or empty."""
        return BLOCKED if is_blocked(event for _, _, event in self.events()) else ""


def histories(stores: Mapping[int, StoreReader]) -> list[History]:
    """Every run's history, in the order of their starts."""
    found: dict[tuple[str, str], History] = {}
    for store in stores.values():
        for row, value in store.scan(HISTORY, after(HISTORY)):
            record: DecisionRecorded = decode(value)
            run = run_of_row(row)  # a run that was reset shares records with its base
            found.setdefault(run, History(*run, [])).records.append(record)
    return sorted(found.values(), key=lambda history: (history.records[0].now_ms, history.records[0].decision))


def replay(found: Iterable[History], versions_of: Callable[[str], Mapping[int, WorkflowDefinition[Any, Any]]]) -> None:
    """Replay each history. Raises NonDeterminism, which shows what differs.

    A BLOCKED run is left out: that it differs has been reported."""
    for history in found:
        definition = versions_of(history.started.workflow_type).get(history.started.version)
        if definition is None or history.status == BLOCKED:
            continue
        comparison = compare(definition, history.workflow_id, history.run_id, history.records)
        if comparison.differences:
            lines = "\n".join(differences_in_text(comparison))
            raise NonDeterminism(
                f"{history.workflow_id} ({definition.name}) does not replay: its code asks for something else when its "
                f"history is repeated, as after a restart.\n{lines}"
            )


def in_text(found: Iterable[History]) -> str:
    """Histories as text: a line for each event."""
    found = list(found)
    lines: list[str] = []
    for history in found[:RUNS_SHOWN_MAX]:
        lines += [f"{history.workflow_id} ({history.started.workflow_type})", *_lines(history)]
    if len(found) > RUNS_SHOWN_MAX:
        lines.append(f"… and {len(found) - RUNS_SHOWN_MAX} more runs")
    return "\n".join(lines) or "no run was started"


def _lines(history: History) -> list[str]:
    lines = [_line(*one) for one in history.events()]
    left_out = len(lines) - EVENTS_SHOWN_MAX
    if left_out > 0:
        half = EVENTS_SHOWN_MAX // 2
        lines[half:-half] = [f"   … {left_out} more events"]
    return lines


def _line(number: int, now_ms: int, event: Event) -> str:
    at = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    return f"  {number:>3}  {at}  {type(event).__name__}  {' '.join(_fields(event))}".rstrip()


def _fields(event: Event) -> Iterator[str]:
    for field in msgspec.structs.fields(event):
        value = getattr(event, field.name)
        if field.name in _HIDDEN or value == field.default or value in (None, "", 0, {}):
            continue
        if field.name == "sequence":
            yield f"#{value}"
        elif isinstance(value, Failure):
            yield _short(failure_text(value))
        else:
            shown = msgspec.json.encode(json_value(value)).decode() if isinstance(value, bytes) else str(value)
            yield f"{field.name}={_short(shown)}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= VALUE_CHARS_MAX else f"{line[:VALUE_CHARS_MAX]}…"
