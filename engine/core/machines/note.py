"""What describes a run to those who look at it: details and search attributes, which its code sets, and its memo.

Nothing of it comes back to the code, so that a difference on replay is reported and blocks nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from penstock.engine.core.keys import memo_key
from penstock.engine.core.limits import HEADERS_BYTES_MAX
from penstock.engine.core.machine import Cause, EventRule, Machine, Table, advance
from penstock.engine.core.working import WorkingRun
from penstock.schemas.records.note import DetailsSet, SearchSet
from penstock.schemas.records.run import StartWorkflow
from penstock.schemas.records.schedule import CreateSchedule, UpdateSchedule
from penstock.schemas.values.attributes import problem_of_memo, problem_of_search, search_after

ABSENT, NOTED = "absent", "noted"

TRANSITIONS: Table = {
    (ABSENT, DetailsSet): NOTED,
    (ABSENT, SearchSet): NOTED,
}


def problem_of(command: StartWorkflow | CreateSchedule | UpdateSchedule) -> str:
    """Why the headers, the memo or the search attributes of a start are refused, in a sentence; empty if they are
    not."""
    headers = command.headers
    size = sum(len(key.encode()) + len(value.encode()) for key, value in headers.items()) if headers else 0
    if size > HEADERS_BYTES_MAX:
        return f"The headers take {size:,} bytes; at most {HEADERS_BYTES_MAX:,} are allowed."
    if not (command.memo or command.search):
        return ""
    return problem_of_memo(command.memo) or problem_of_search(command.search)


def search_of(search: bytes, events: Iterable[Any]) -> bytes:
    """Search attributes (JSON) after a decision's events."""
    for event in events:
        if type(event) is SearchSet:
            search = search_after(search, event.attributes)
    return search


def put_memo(run: WorkingRun, memo: bytes) -> None:
    """Store the memo of a run that starts. For evolve functions."""
    if memo:
        run.header.has_memo = True
        run.writes[memo_key(run.workflow_id, run.run_id)] = memo


def drop_memo(run: WorkingRun) -> None:
    """Remove the memo of a run that another follows. For evolve functions."""
    if run.memo():
        run.writes[memo_key(run.workflow_id, run.run_id)] = None


def _on_details(run: WorkingRun, event: DetailsSet, cause: Cause) -> None:
    advance(TRANSITIONS, ABSENT, event, run.workflow_id)
    run.header.details = event.value


def _on_search(run: WorkingRun, event: SearchSet, cause: Cause) -> None:
    advance(TRANSITIONS, ABSENT, event, run.workflow_id)
    run.header.search = search_after(run.header.search, event.attributes)


MACHINE = Machine(
    name="note",
    transitions=TRANSITIONS,
    inputs={},
    events={
        DetailsSet: EventRule(evolve=_on_details, is_request=True, is_note=True, payload=lambda event: event.value),
        SearchSet: EventRule(evolve=_on_search, is_request=True, is_note=True, payload=lambda event: event.attributes),
    },
)
