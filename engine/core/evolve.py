"""Changes of rows: the one writer of state, live and on replay.

Rows are written here, in the evolve functions of the machines, in messages.py and in expiry.py, and nowhere else
(tests/test_architecture.py: `rows_written_elsewhere`).
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.engine.core.catalogue import EVENTS
from penstock.engine.core.keys import HISTORY, SHARD_KEY
from penstock.engine.core.machine import Cause
from penstock.engine.core.rows import ShardRow, pack
from penstock.engine.core.statuses import CONTINUED
from penstock.engine.core.working import WorkingRun
from penstock.schemas.records.decisions import Listening
from penstock.schemas.records.kinds import Event
from penstock.schemas.records.run import WorkflowStarted

EVOLVERS = {kind: rule.evolve for kind, rule in EVENTS.items()}


def begin(run: WorkingRun, run_id: str, events: Sequence[Event]) -> int:
    """Prepare the working copy for these events of the run `run_id`; returns the number of the first in its history.

    `run_id` is empty for events of commands that came before any run."""
    if type(events[0]) is WorkflowStarted:
        run.run_id = run_id
        return 1
    row = run.row
    if row is None and not run_id:
        return 0
    assert row is not None, "only WorkflowStarted begins a run"
    return row.next_number


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
