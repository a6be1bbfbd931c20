"""Judgement of what describes runs: memo, search attributes and details go along, and end up where they are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from penstock.engine.core.rows import unpack_run
from penstock.schemas.records.completions import WorkflowClosed
from penstock.schemas.records.note import DetailsSet, SearchSet
from penstock.schemas.records.run import StartWorkflow
from tests.simulation.truth import Run


def judge(run: Run, previous: Run | None, command: Any, end: WorkflowClosed | None) -> str:
    """What is wrong with the notes of a run; empty for nothing.

    `previous`: the run that it follows; `command`: that started it, if a client did; `end`: its record of its end."""
    started = run.started
    if previous is not None and run.fork is None:
        expected = (_object(previous.started.memo), search_of(previous))
    elif isinstance(command, StartWorkflow):
        expected = (_object(command.memo), _object(command.search))
    else:
        expected = (_object(started.memo), _object(started.search))
    found = (_object(started.memo), _object(started.search))
    if found != expected:
        return f"started with {found}, not {expected}"
    if end is not None and (_object(end.memo), _object(end.search)) != (found[0], search_of(run)):
        return f"ended with {end.memo!r} and {end.search!r}, not {search_of(run)}"
    return _code_problem(run) if run.workflow_type == "sim_described" else ""


def judge_rows(rows: Mapping[bytes, bytes], runs: Iterable[Run]) -> str:
    """What is wrong with the headers of these runs, the latest of their ids; empty for nothing."""
    for run in runs:
        row = rows.get(b"R" + run.workflow_id.encode())
        if row is None:
            continue  # it has expired
        header = unpack_run(row)
        details = next((event.value for event in reversed(run.of(DetailsSet))), b"")
        if (header.details, _object(header.search)) != (details, search_of(run)):
            return f"{run} has details {header.details!r} and {header.search!r}, not {details!r} and {search_of(run)}"
    return ""


def search_of(run: Run) -> dict[str, Any]:
    """Search attributes of a run after all that its code has set."""
    found = _object(run.started.search)
    for event in run.of(SearchSet):
        found.update(_object(event.attributes))
    return {name: value for name, value in found.items() if value is not None}


def _code_problem(run: Run) -> str:
    """What the code says is recorded in its order, and of search attributes what changes."""
    left, before = msgspec.json.decode(run.started.input), _object(run.started.search)
    begun = {name: value for name, value in (("left", left), ("stage", "begun")) if before.get(name) != value}
    ended = {"stage": "done"} | ({"customer": None} if "customer" in before else {})
    made = [_object(event.attributes) for event in run.of(SearchSet)]
    said = [_object(event.value) for event in run.of(DetailsSet)]
    expected = [begun, ended], [{"left": left}, {"left": left, "done": True}]
    if made != expected[0][: len(made)] or said != expected[1][: len(said)]:
        return f"recorded {made} and {said}, not {expected}"
    return ""


def _object(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(data) if data else {}
    return found
