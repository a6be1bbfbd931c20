"""Check of an edit for `penstock dev --reload`: a process of its own loads the code and replays the open runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.cli.command import Invocation, opened_log
from penstock.cli.hosted_code import StdinEnded, loaded_for_dev
from penstock.cli.source_files import loaded_source_files
from penstock.schemas.errors import PenstockError

if TYPE_CHECKING:
    from penstock.client.recorded import RecordedRun


class CheckedRun(msgspec.Struct, frozen=True):
    """What an edit does to an open run. `blocks`: it would become BLOCKED; `text`: the differences, as lines."""

    workflow_id: str
    run_id: str
    type: str
    version: int
    hosted: bool
    blocks: bool
    text: list[str]


class Checked(msgspec.Struct):
    """What a check found. `sources`: files to watch; `types`: versions by workflow type; `problem`: why the code cannot
    be loaded, or the runs not be read; `runs`: open ones that do not go the same way, and that are not BLOCKED now;
    `compared`: number of open runs."""

    sources: list[str] = []
    types: dict[str, list[int]] = {}
    problem: str = ""
    runs: list[CheckedRun] = []
    compared: int = 0


def check(invocation: Invocation, modules: tuple[str, ...], descriptor: int) -> None:
    """Load the modules, replay open runs, and write what was found as JSON to an open file. Ends with its parent."""
    StdinEnded(then=lambda: os._exit(1))
    found = Checked()
    try:
        workflows, _ = loaded_for_dev(invocation, modules)
        found.types = _versions(workflows)
        _replay(invocation, workflows, found)
    except PenstockError as error:
        found.problem = str(error)
    finally:
        found.sources = loaded_source_files()
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(found))


def _versions(workflows: Mapping[str, Any]) -> dict[str, list[int]]:
    from penstock.engine.core.versions import versions_of

    return {name: sorted(versions_of(workflows, name)) for name in workflows}


def _replay(invocation: Invocation, workflows: Mapping[str, Any], found: Checked) -> None:
    from penstock.client.recorded import runs_in_log
    from penstock.engine.execution import guards
    from penstock.schemas.errors import UnknownTopic

    guards.install()
    try:
        with opened_log(invocation.settings, must_exist=True) as (log, topics):
            for run in runs_in_log(log, topics):
                if run.closing or run.started is None or _is_blocked(run):
                    continue
                found.compared += 1
                checked = _checked(run, workflows)
                if checked is not None:
                    found.runs.append(checked)
    except UnknownTopic:  # nothing has run yet
        return


def _is_blocked(run: RecordedRun) -> bool:
    from penstock.engine.execution.replayer import is_blocked
    from penstock.schemas.encoding.codec import decode

    return is_blocked(decode(event) for record in run.records for event in record.events)


def _checked(run: RecordedRun, workflows: Mapping[str, Any]) -> CheckedRun | None:
    """What differs in one run; None if nothing does."""
    from penstock.engine.core.versions import versions_of
    from penstock.engine.execution.comparison import compare, differences_in_text

    started = run.started
    assert started is not None, "checked by _replay"
    type_, version = started.workflow_type, started.version
    definition = versions_of(workflows, type_).get(version)
    if definition is None:
        return CheckedRun(run.workflow_id, run.run_id, type_, version, hosted=False, blocks=True, text=[])
    comparison = compare(definition, run.workflow_id, run.run_id, run.records)
    if not comparison.differences:
        return None
    text = differences_in_text(comparison)
    return CheckedRun(run.workflow_id, run.run_id, type_, version, hosted=True, blocks=comparison.blocks, text=text)
