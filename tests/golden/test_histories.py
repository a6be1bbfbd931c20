"""Tests of the histories that every release has recorded: the code at hand replays each of them.

A history that differs is a run that a deploy of this release would have BLOCKED. To mend it, change the engine. While
the present version is not released, its records may change: `python -m tests.golden.record` then replaces its files."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest

from penstock import __version__
from penstock.client.recorded import RecordedRun, run_of_history
from penstock.engine.authoring.definition import registered_workflows
from penstock.engine.core.catalogue import DELIVERED, REQUESTS
from penstock.engine.core.versions import versions_of
from penstock.engine.execution.comparison import compare, differences_in_text
from penstock.engine.runtime.reads import events_of
from penstock.schemas.encoding.codec import decode
from tests.golden import flows, record

UNRECORDED = {
    "ActivationResumed": "takes 5,000 requests in one decision (tests/engine/core/machines/test_suspension.py)",
    "ActivationSuspended": "takes 5,000 requests in one decision",
}
"""Events that reach workflow code, or that it requests, without a recorded history."""


@functools.cache
def recorded(path: Path) -> list[dict[str, Any]]:
    """The runs of a file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


FILES = sorted(record.FOLDER.glob("*/*.jsonl"))
RUNS = [(path, number) for path in FILES for number in range(len(recorded(path)))]


def name_of(path: Path, number: int) -> str:
    """Release, story and workflow id."""
    return f"{path.parent.name}/{path.stem}/{recorded(path)[number]['workflow_id']}-{number}"


@pytest.mark.parametrize(("path", "number"), RUNS, ids=[name_of(*run) for run in RUNS])
def test_a_recorded_history_is_replayed(path: Path, number: int) -> None:
    """A history of a release is replayed without a difference: from its records, and as `history` printed it."""
    line = recorded(path)[number]
    id, run_id = line["workflow_id"], line["run_id"]
    from_log = RecordedRun(id, run_id, [decode(bytes.fromhex(data)) for data in line["decisions"]])
    for run in (from_log, run_of_history(id, run_id, line["events"])):
        started = run.started
        assert started is not None
        definition = versions_of(registered_workflows(), started.workflow_type)[started.version]
        comparison = compare(definition, id, run_id, run.records)
        assert comparison.events == len(line["events"])
        assert not comparison.differences, "\n".join(differences_in_text(comparison))


def test_every_story_is_recorded() -> None:
    """The present release has a history of each story, and each workflow of the stories has one."""
    assert [story.__name__ for story, _ in record.missing()] == [], "run python -m tests.golden.record"
    types = {line["events"][0]["workflow_type"] for path in FILES for line in recorded(path)}
    hosted = {name for name, found in registered_workflows().items() if found.fn.__module__ == flows.__name__}
    assert types == hosted


def test_everything_that_code_sees_is_recorded() -> None:
    """Each event that reaches workflow code, or that it requests, is in a history of the present release."""
    of_release = [path for path in FILES if path.parent.name == __version__]
    seen = {event["event"] for path in of_release for line in recorded(path) for event in line["events"]}
    assert {kind.__name__ for kind in (*DELIVERED, *REQUESTS)} - seen == UNRECORDED.keys()


def test_what_history_prints_has_not_changed() -> None:
    """The records of every release are printed as they were then, but for fields that have been added."""
    for path in FILES:
        for line in recorded(path):
            printed = [event for data in line["decisions"] for event in events_of(bytes.fromhex(data))]
            for now, then in zip(printed, line["events"], strict=True):
                assert {name: now.get(name) for name in then} == then
