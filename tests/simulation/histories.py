"""Bounds of histories, and their judgement: an open run's is never longer than it may be, no run fails for that before
it is full, and a warning comes before."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from random import Random
from typing import Any
from unittest.mock import patch

from penstock.engine.core.limits import HISTORY_MAX
from penstock.schemas.records.run import HistoryExceeded
from tests.simulation.builds import BUILDS
from tests.simulation.truth import Run

BOUNDS = (HISTORY_MAX, HISTORY_MAX, 60)
"""The usual bound, and one that only verbose runs reach."""

DECISION_EVENTS_MAX = 30
"""Events that one decision of these workflows may have."""


def chosen(seed: int) -> int:
    """Events that a history may have in this simulation."""
    return Random(f"history {seed}").choice(BOUNDS)


@contextmanager
def bounded(most: int) -> Iterator[None]:
    """Let histories be long from half of `most` events on, and full with so many."""
    with ExitStack() as patches:
        for build in BUILDS.values():
            patches.enter_context(patch.object(build.hosted, "history_max", most))
            patches.enter_context(patch.object(build.hosted, "history_long", most // 2))
        yield


def note_warning(warned: set[str], words: str, event: Mapping[str, Any]) -> None:
    """Note the id of a run of which a message of the log says that its history is long."""
    if words.startswith("a run's history is long"):
        warned.add(event["workflow_id"])


def judge(run: Run, most: int, warned: Collection[str]) -> str:
    """What is wrong with a run whose history may have so many events; empty for nothing.

    `warned`: ids of runs of which the log says that their history is long."""
    if len(run.events) >= most // 2 and run.workflow_id not in warned:
        return f"has {len(run.events)} events, and no warning was logged"
    length = before = 0
    for record in run.records:
        before, length = length, length + len(record.events)
        is_last = record is run.records[-1] and run.is_closed
        if length > most and not is_last:
            return f"has {length} events, of {most} at most"
    if not isinstance(run.events[-1], HistoryExceeded):
        return ""
    failure = run.events[-1].failure
    if failure.type != "HistoryTooLong" or not failure.non_retryable:
        return f"failed for its long history by {failure}"
    return "" if before + DECISION_EVENTS_MAX > most else f"failed with {before} events, of {most} at most"
