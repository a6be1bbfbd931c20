"""Verb `start`: start one workflow, or one per line of a file."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import click
import msgspec

from penstock.cli.command import Invocation, opened_client, verb
from penstock.cli.escape import escaped
from penstock.cli.exit_codes import FAILED, code_of, print_error
from penstock.cli.inputs import is_lines, read_input, read_lines
from penstock.cli.start_options import options_of, start_options
from penstock.client.deadline import deadline_after, seconds_left
from penstock.schemas.errors import NotAnswered, PenstockError, StillRunning

if TYPE_CHECKING:
    from penstock.client.run import Run
    from penstock.config import Settings

ERRORS_SHOWN_MAX = 10
AWAITED_MAX = 500


class Deadline:
    """The moment at which `--timeout` ends, for the start and the wait that follows it together."""

    def __init__(self, timeout: str | None) -> None:
        self._deadline = deadline_after(timeout)

    def left_s(self) -> float | None:
        """Return the seconds left; None for no limit."""
        return seconds_left(self._deadline)

    def as_timeout(self, error: PenstockError) -> PenstockError:
        """Convert NotAnswered into StillRunning when the timeout ended the start."""
        late = self._deadline is not None and isinstance(error, NotAnswered)
        return StillRunning(str(error)) if late else error


@verb("start")
@click.argument("type", metavar="TYPE")
@click.option("--id", "id_", metavar="ID", help="Workflow id; random by default.")
@click.option("--input", "input_", metavar="JSON|@FILE|-", help="Input. @FILE.jsonl starts one run per line.")
@click.option("--id-field", metavar="FIELD", help="With @FILE.jsonl: field of each line that is its id.")
@click.option("--wait", is_flag=True, help="Wait until the run closes and print its result as JSON.")
@click.option("--timeout", metavar="DURATION", help="With --wait: maximum wait, as 90s, 1h, or a number of seconds.")
@click.option("--stored", is_flag=True, help="Return once the log has the start, which takes no processor.")
@start_options
def start(
    invocation: Invocation,
    type: str,
    id_: str | None,
    input_: str | None,
    id_field: str | None,
    *,
    wait: bool,
    timeout: str | None,
    stored: bool,
    **given: Any,
) -> int:
    """Start a workflow of TYPE; prints its id, or with --wait its result."""
    if timeout is not None and not wait:
        raise click.UsageError("--timeout needs --wait.")
    if stored and (wait or is_lines(input_)):
        raise click.UsageError("--stored waits for no run, so it goes with neither --wait nor a file of runs.")
    options = options_of(given)
    deadline = Deadline(timeout)  # an invalid one is refused before anything is started
    if is_lines(input_):
        if id_ is not None:
            raise click.UsageError("--id is for one run; for a file, give the field of the ids with --id-field.")
        values = read_lines(str(input_), id_field)
        starts = [(type, value, id) for value, id in values]
        return asyncio.run(_start_lines(invocation.settings, starts, options, deadline, wait=wait))
    if id_field is not None:
        raise click.UsageError("--id-field needs --input @FILE.jsonl.")
    data = read_input(input_)
    if stored:
        options["wait"] = "stored"
    return asyncio.run(_start_one(invocation.settings, type, data, id_, options, deadline, wait=wait))


async def _start_one(
    settings: Settings,
    type: str,
    data: bytes,
    id: str | None,
    options: dict[str, Any],
    deadline: Deadline,
    *,
    wait: bool,
) -> int:
    async with opened_client(settings) as client:
        try:
            run = await client.start_by_name(type, data, id, **options, timeout=deadline.left_s())
        except NotAnswered as error:
            raise deadline.as_timeout(error) from None
        if run.existing:
            click.echo(f"{escaped(run.id)} was started before (run {run.run_id}); joined it", err=True)
        elif run.run_id:
            click.echo(f"started {escaped(run.id)} (run {run.run_id})", err=True)
        else:
            click.echo(f"the log has the start of {escaped(run.id)}", err=True)
        if wait:
            raw = client.get(run.id, returns=msgspec.Raw, run_id=run.run_id)
            click.echo(bytes(await raw.result(deadline.left_s())))
        elif not (sys.stdout.isatty() and sys.stderr.isatty()):  # there, the line on stderr shows the id
            click.echo(run.id)
    return 0


async def _start_lines(
    settings: Settings,
    starts: list[tuple[str, bytes, str]],
    options: dict[str, Any],
    deadline: Deadline,
    *,
    wait: bool,
) -> int:
    from penstock.cli.output import progress

    runs: list[Run[Any]] = []
    errors: list[tuple[str, PenstockError]] = []
    async with opened_client(settings) as client:
        with progress("starting", len(starts)) as step:
            async for id, run, error in client.start_many(starts, **options, timeout=deadline.left_s()):
                if error is not None:
                    errors.append((id, deadline.as_timeout(error)))
                if run is not None:
                    runs.append(run)
                step()
        failed = await _print_results(runs, deadline) if wait else 0
    joined = sum(run.existing for run in runs)
    click.echo(f"{len(runs) - joined} started, {joined} joined, {len(errors)} refused", err=True)
    for id, error in errors[:ERRORS_SHOWN_MAX]:
        print_error(f"{escaped(id)}: {error}")
    if len(errors) > ERRORS_SHOWN_MAX:
        print_error(f"… and {len(errors) - ERRORS_SHOWN_MAX} more.")
    return code_of(errors[0][1]) if errors else FAILED if failed else 0


async def _print_results(runs: list[Run[Any]], deadline: Deadline) -> int:
    """Print {"id", "result"} or {"id", "error"} of each run as they close; returns the number of errors."""
    from penstock.cli.output import progress

    slots, failed = asyncio.Semaphore(AWAITED_MAX), 0

    async def outcome(run: Run[Any]) -> dict[str, Any]:
        async with slots:
            try:
                return {"id": run.id, "result": await run.result(deadline.left_s())}
            except PenstockError as error:
                return {"id": run.id, "error": str(error)}

    with progress("running", len(runs)) as step:
        for task in asyncio.as_completed([asyncio.create_task(outcome(run)) for run in runs]):
            found = await task
            failed += "error" in found
            click.echo(msgspec.json.encode(found))
            step()
    return failed
