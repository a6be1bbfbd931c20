"""How are workflows started by hand? `penstock start TYPE`: one, or one a line of a file."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

import click
import msgspec

from penstock.cli.exits import FAILED, code_of, tell
from penstock.cli.inputs import is_lines, read_input, read_lines
from penstock.cli.session import Session, opened, verb
from penstock.cli.visible import visible
from penstock.schemas.encoding.json_command import ON_EXISTING
from penstock.schemas.errors import NotAnswered, PenstockError, StillRunning
from penstock.schemas.values.durations import duration_ms

if TYPE_CHECKING:
    from penstock.client.client import OnExisting, Run
    from penstock.config import Settings

PROBLEMS_SHOWN_MAX = 10
WAITING_MAX = 500


class Deadline:
    """What `--timeout` means: one moment for the start and for the wait that follows it; none without a timeout."""

    def __init__(self, timeout: str | None) -> None:
        self._at_s = None if timeout is None else time.monotonic() + duration_ms(timeout) / 1000

    def left_s(self) -> float | None:
        """Seconds that are left, or None for no limit."""
        return None if self._at_s is None else max(0.0, self._at_s - time.monotonic())

    def told(self, error: PenstockError) -> PenstockError:
        """The error as whoever gave the timeout knows it: it is over, although it was the start that it ended."""
        late = self._at_s is not None and isinstance(error, NotAnswered)
        return StillRunning(str(error)) if late else error


@verb("start")
@click.argument("type", metavar="TYPE")
@click.option("--id", "id_", metavar="ID", help="The workflow id; a random one unless told.")
@click.option("--input", "input_", metavar="JSON|@FILE|-", help="The input. @FILE.jsonl starts one run a line.")
@click.option("--id-field", metavar="FIELD", help="With @FILE.jsonl: the field of each line that holds its id.")
@click.option("--wait", is_flag=True, help="Wait for the end and print the result as JSON.")
@click.option(
    "--timeout", metavar="DURATION", help="With --wait, no longer than this: 90s, 1h, or a number of seconds."
)
@click.option(
    "--on-existing", type=click.Choice(ON_EXISTING), default="use_existing", show_default=True,
    help="What to do when the id is taken.",
)  # fmt: skip
def start(
    session: Session,
    type: str,
    id_: str | None,
    input_: str | None,
    id_field: str | None,
    *,
    wait: bool,
    timeout: str | None,
    on_existing: OnExisting,
) -> int:
    """Start a workflow of TYPE; prints its id (on a terminal a sentence says it), or with --wait its result."""
    if timeout is not None and not wait:
        raise click.UsageError("--timeout needs --wait.")
    deadline = Deadline(timeout)  # a wrong one is told before anything is started
    if is_lines(input_):
        if id_ is not None:
            raise click.UsageError("--id is for one run; for a file of many name the field with --id-field.")
        values = read_lines(str(input_), id_field)
        starts = [(type, value, id) for value, id in values]
        return asyncio.run(_start_lines(session.settings, starts, on_existing, deadline, wait=wait))
    if id_field is not None:
        raise click.UsageError("--id-field needs --input @FILE.jsonl.")
    data = read_input(input_)
    return asyncio.run(_start_one(session.settings, type, data, id_, on_existing, deadline, wait=wait))


async def _start_one(
    settings: Settings,
    type: str,
    data: bytes,
    id: str | None,
    on_existing: OnExisting,
    deadline: Deadline,
    *,
    wait: bool,
) -> int:
    async with opened(settings) as client:
        try:
            run = await client.start_by_name(type, data, id, on_existing=on_existing, timeout=deadline.left_s())
        except NotAnswered as error:
            raise deadline.told(error) from None
        if run.existing:
            click.echo(f"{visible(run.id)} was started before (run {run.run_id}); joined it", err=True)
        else:
            click.echo(f"started {visible(run.id)} (run {run.run_id})", err=True)
        if wait:
            raw = client.get(run.id, returns=msgspec.Raw, run_id=run.run_id)
            click.echo(bytes(await raw.result(deadline.left_s())))
        elif not (sys.stdout.isatty() and sys.stderr.isatty()):  # the sentence has just said it to whoever reads both
            click.echo(run.id)
    return 0


async def _start_lines(
    settings: Settings,
    starts: list[tuple[str, bytes, str]],
    on_existing: OnExisting,
    deadline: Deadline,
    *,
    wait: bool,
) -> int:
    from penstock.cli.output import progress

    runs: list[Run[Any]] = []
    problems: list[tuple[str, PenstockError]] = []
    async with opened(settings) as client:
        with progress("starting", len(starts)) as step:
            async for id, run, error in client.start_many(starts, on_existing=on_existing, timeout=deadline.left_s()):
                if error is not None:
                    problems.append((id, deadline.told(error)))
                if run is not None:
                    runs.append(run)
                step()
        failed = await _print_results(runs, deadline) if wait else 0
    joined = sum(run.existing for run in runs)
    click.echo(f"{len(runs) - joined} started, {joined} joined, {len(problems)} refused", err=True)
    for id, error in problems[:PROBLEMS_SHOWN_MAX]:
        tell(f"{visible(id)}: {error}")
    if len(problems) > PROBLEMS_SHOWN_MAX:
        tell(f"… and {len(problems) - PROBLEMS_SHOWN_MAX} more.")
    return code_of(problems[0][1]) if problems else FAILED if failed else 0


async def _print_results(runs: list[Run[Any]], deadline: Deadline) -> int:
    """Print {"id", "result"} or {"id", "error"} of each run as they close; returns how many had no result."""
    from penstock.cli.output import progress

    room, failed = asyncio.Semaphore(WAITING_MAX), 0

    async def outcome(run: Run[Any]) -> dict[str, Any]:
        async with room:
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
