"""Verbs that rebuild a run from its history in this process: `stack` and `debug`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.command import (
    Invocation,
    id_argument,
    opened_client,
    output_option,
    reads_option,
    run_id_option,
    verb,
)
from penstock.cli.escape import escaped
from penstock.cli.replay_verb import load_definitions
from penstock.schemas.errors import BadInput, NonDeterminism

if TYPE_CHECKING:
    from penstock.client.recorded import RecordedRun
    from penstock.engine.authoring.definition import WorkflowDefinition
    from penstock.engine.execution.program import Program

modules_argument = click.argument("modules", nargs=-1, required=True, metavar="MODULE…")


@verb("stack")
@id_argument
@modules_argument
@run_id_option
@reads_option
@output_option
def stack(invocation: Invocation, id_: str, modules: tuple[str, ...], run_id: str, output: str) -> None:
    """Show the lines where the code of ID's run stands: one stack for each of its tasks that wait.

    The history is read from the processors, and repeated here with the code of the modules.
    """
    from penstock.cli.output import print_json
    from penstock.engine.execution.positions import positions

    found = _with_run(invocation, id_, run_id, modules, positions, guarded=True)
    if output == "json":
        print_json(found)
        return
    for position in found:
        click.echo(escaped(position.task))
        for line in position.lines:
            click.echo(escaped(f"  {line.file}:{line.number} in {line.function}"))
            click.echo(escaped(f"    {line.text}").rstrip())
    if not found:
        click.echo(f"no code of {escaped(id_)} waits: its run has closed, or has not begun", err=True)


@verb("debug")
@id_argument
@modules_argument
@run_id_option
@reads_option
def debug(invocation: Invocation, id_: str, modules: tuple[str, ...], run_id: str) -> None:
    """Repeat ID's run under pdb: it stops at the first line of the run's code, and at what you break at.

    Nothing is sent and no activity is run: results come from the history, which ends where the run stands now.
    """
    from penstock.cli.debugger import Debugger

    debugger = Debugger()

    def under_pdb(rebuild: Callable[[], Program], definition: WorkflowDefinition[Any, Any]) -> Program:
        return debugger.call(rebuild, definition.fn)

    _with_run(invocation, id_, run_id, modules, lambda _: None, guarded=False, rebuild=under_pdb)
    if not debugger.has_quit:
        click.echo("the history ends here", err=True)


def _plainly(rebuild: Callable[[], Program], _: WorkflowDefinition[Any, Any]) -> Program:
    return rebuild()


def _with_run(
    invocation: Invocation,
    id: str,
    run_id: str,
    modules: tuple[str, ...],
    use: Callable[[Program], Any],
    *,
    guarded: bool,
    rebuild: Callable[[Callable[[], Program], WorkflowDefinition[Any, Any]], Program] = _plainly,
) -> Any:
    """Rebuild a run from its history, and look at it. Raises BadInput for code that does not fit."""
    from penstock.client.recorded import run_of_history
    from penstock.hosting.hash_seed import with_fixed_hash_seed

    with_fixed_hash_seed()
    definitions = load_definitions(invocation, list(modules), guarded=guarded)
    history = asyncio.run(_history(invocation, id, run_id))
    run = run_of_history(id, run_id, history)
    started = run.started
    definition = definitions.get(started.workflow_type) if started is not None else None
    if definition is None:
        kind = started.workflow_type if started is not None else "unknown type"
        raise BadInput(f"{', '.join(modules)} does not define the workflow {kind}: name the module that does.")
    program: Program | None = None
    try:
        program = rebuild(lambda: _rebuilt(run, definition), definition)
        return use(program)
    finally:
        if program is not None:
            program.close()


def _rebuilt(run: RecordedRun, definition: WorkflowDefinition[Any, Any]) -> Program:
    from penstock.engine.core.execution import CodeError
    from penstock.engine.execution.program import Program

    try:
        rebuilt = definition.rebuild(run.workflow_id, run.run_id, run.records, strict_inputs=False)
    except (NonDeterminism, CodeError) as error:
        message = str(error).partition("\n")[0]
        raise BadInput(
            f"the code at hand does not repeat the history of {run.workflow_id}: {message}; "
            "`penstock replay` shows what differs."
        ) from error
    assert isinstance(rebuilt.execution, Program), "a definition of coroutines makes programs"
    return rebuilt.execution


async def _history(invocation: Invocation, id: str, run_id: str) -> list[dict[str, Any]]:
    async with opened_client(invocation.settings) as client:
        return await client.get(id, run_id=run_id).history()
