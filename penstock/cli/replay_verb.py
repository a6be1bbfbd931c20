"""Verb `replay`: recorded runs, repeated with the code at hand, and what differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.command import Invocation, opened_log, output_option, verb
from penstock.cli.escape import escaped
from penstock.hosting import interrupts
from penstock.schemas.errors import BadInput, ModuleNotLoaded

if TYPE_CHECKING:
    from penstock.client.recorded import RecordedRun
    from penstock.engine.authoring.definition import WorkflowDefinition
    from penstock.engine.execution.comparison import Comparison

Definitions = Mapping[str, "WorkflowDefinition[Any, Any]"]


@verb("replay")
@click.argument("sources", nargs=-1, required=True, metavar="MODULE… [FILE…]")
@click.option("--id", "id_", default="", metavar="ID", help="Only the runs of this id.")
@output_option
def replay(invocation: Invocation, sources: tuple[str, ...], id_: str, output: str) -> int:
    """Replay runs with the code of these modules, and say line by line what differs.

    Open and closed runs are read from the log (no processor is needed), or from files whose names end in .json or
    .jsonl, as `penstock history ID --output json > ID.json` writes them. Exits with 1 if a run differs: an open one
    would become BLOCKED with this code, or use a recorded result for another input.
    """
    from penstock.cli.output import print_json
    from penstock.hosting.hash_seed import with_fixed_hash_seed

    with_fixed_hash_seed()
    files = [Path(source) for source in sources if is_history(source)]
    definitions = load_definitions(invocation, [source for source in sources if not is_history(source)])
    reports = []
    for run in _runs(invocation, files, id_):
        report = _compared(run, definitions)
        reports.append(report)
        if output == "text":
            _print(report)
    if output == "json":
        print_json(reports)
    else:
        _print_summary(reports, id_)
    return int(any(report["differences"] for report in reports))


def is_history(source: str) -> bool:
    """Whether an argument names a file with a history, and no module."""
    from penstock.client.recorded import FILE_SUFFIXES

    return source.endswith(FILE_SUFFIXES)


def load_definitions(invocation: Invocation, modules: list[str], *, guarded: bool = True) -> Definitions:
    """Import modules; returns all workflow types that this process defines. Raises ModuleNotLoaded.

    `guarded`: workflow code may not use the real clock, files or the network, as in a processor."""
    from penstock.engine.authoring.definition import registered_workflows
    from penstock.engine.execution import guards
    from penstock.loading import load_modules

    _ = invocation.settings  # configures logging before user code runs
    if not modules:
        raise ModuleNotLoaded(
            "name the modules with the code: `penstock replay orders.flow`, or a file such as flow.py."
        )
    with interrupts.reraised():
        load_modules(modules)
    definitions = registered_workflows()
    if not definitions:
        raise ModuleNotLoaded(f"{', '.join(modules)} defines no workflow; use the decorator @workflow.")
    if guarded:
        guards.install()
    return definitions


def _runs(invocation: Invocation, files: list[Path], id: str) -> Iterator[RecordedRun]:
    from penstock.client.recorded import runs_in_file, runs_in_log

    if files:
        for file in files:
            yield from (run for run in runs_in_file(file) if id in {"", run.workflow_id})
        return
    with opened_log(invocation.settings, must_exist=True) as (log, topics):
        yield from runs_in_log(log, topics, id)


def _compared(run: RecordedRun, definitions: Definitions) -> dict[str, Any]:
    """What is said of one run, as plain values. `problem`: why it could not be compared."""
    from penstock.engine.core.versions import listed, versions_of

    started = run.started
    report: dict[str, Any] = {
        "workflow_id": run.workflow_id,
        "run_id": run.run_id,
        "type": started.workflow_type if started is not None else None,
        "closing": run.closing or None,
        "events": sum(len(record.events) for record in run.records),
        "blocks": False,
        "differences": [],
        "text": [],
        "problem": None,
    }
    if started is None:
        return report | {"problem": "the beginning of its history is no longer in the log"}
    versions = versions_of(definitions, started.workflow_type)
    definition = versions.get(started.version)
    if definition is None and versions:
        return report | {"problem": f"the modules define its type in version {listed(versions)}, not {started.version}"}
    if definition is None:
        return report | {"problem": "the modules do not define its type"}
    return report | _differences(run, definition)


def _differences(run: RecordedRun, definition: WorkflowDefinition[Any, Any]) -> dict[str, Any]:
    from penstock.engine.execution.comparison import compare, differences_in_text

    comparison: Comparison = compare(definition, run.workflow_id, run.run_id, run.records)
    return {
        "blocks": comparison.blocks and not run.closing,
        "differences": list(comparison.differences),
        "text": differences_in_text(comparison),
    }


def _print(report: Mapping[str, Any]) -> None:
    state = report["closing"] or "open"
    if report["problem"]:
        outcome = f"not compared: {report['problem']}"
    elif not report["differences"]:
        outcome = "the same"
    else:
        outcome = "DIFFERS, and would be BLOCKED" if report["blocks"] else "DIFFERS"
    line = f"{report['workflow_id']}  {report['type'] or 'unknown type'}  {state}, {report['events']} events  {outcome}"
    click.echo(escaped(line))
    for text in report["text"]:
        click.echo(f"  {escaped(text)}".rstrip())


def _print_summary(reports: list[dict[str, Any]], id: str) -> None:
    if not reports:
        raise BadInput(f"there is no run {'of ' + id + ' ' if id else ''}to compare: the log has no such history.")
    different = sum(bool(report["differences"]) for report in reports)
    left_out = sum(report["problem"] is not None for report in reports)
    text = f"{len(reports) - left_out} runs compared, {different} differ"
    click.echo(text + (f"; {left_out} not compared" if left_out else ""), err=True)
