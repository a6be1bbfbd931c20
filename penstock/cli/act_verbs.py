"""Verbs that act on one run: `result`, `signal`, `query`, `update`, `cancel`, `terminate`, `unblock`, `pause`,
`resume`, `skip`, `reset`, `retry`, `delete`."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import click
import msgspec

from penstock.cli.command import Invocation, id_argument, opened_client, run_id_option, verb
from penstock.cli.escape import escaped
from penstock.cli.inputs import read_input
from penstock.schemas.errors import BadInput

if TYPE_CHECKING:
    from penstock.client.run import Run

NOTICE_AFTER_S = 30.0
NUMBER_MAX = 10**9
"""Number of an event or an activity: no history is as long."""

reason_option = click.option("--reason", default="", metavar="TEXT", help="Reason, recorded in the history.")


def number_or_name(activity: str) -> int | str:
    """What ACTIVITY names: the number of an activity, or all that have the name. Raises BadInput."""
    if not activity.isdecimal():
        return activity
    if len(activity) > len(str(NUMBER_MAX)):
        raise BadInput(f"{activity[:40]} is no number of an activity; `penstock show` lists those that are pending.")
    return int(activity)


def login_name() -> str:
    """Name under which the user of the command line is logged in; empty if it is unknown."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""


by_option = click.option(
    "--by", default=login_name, metavar="NAME", help="Who asks for it, recorded in the history: by default your login."
)


@verb("result")
@id_argument
@run_id_option
@click.option("--timeout", metavar="DURATION", help="Maximum wait: 90s, 1h, or a number of seconds.")
def result(invocation: Invocation, id_: str, run_id: str, timeout: str | None) -> None:
    """Wait for a run to close and print its result as JSON."""

    async def wait(run: Run[msgspec.Raw]) -> None:
        notice = asyncio.get_running_loop().call_later(NOTICE_AFTER_S, _print_notice, id_)
        try:
            click.echo(bytes(await run.result(timeout)))
        finally:
            notice.cancel()

    with_run(invocation, id_, run_id, wait)


@verb("signal")
@id_argument
@click.argument("name", metavar="SIGNAL")
@click.option("--input", "input_", metavar="JSON|@FILE|-", help="Value of the signal; null by default.")
@click.option("--signal-id", metavar="TEXT", help="Id of the signal: sent again with the same id, it has no effect.")
@run_id_option
def signal(invocation: Invocation, id_: str, name: str, input_: str | None, signal_id: str | None, run_id: str) -> None:
    """Send SIGNAL to the run of ID."""
    value = read_input(input_)
    with_run(invocation, id_, run_id, lambda run: run.signal_json(name, value, id=signal_id))
    click.echo(f"{escaped(id_)} received the signal {escaped(name)}", err=True)


@verb("query")
@id_argument
@click.argument("name", metavar="NAME")
@click.option("--input", "input_", metavar="JSON|@FILE|-", help="Argument of the query; none by default.")
@click.option("--timeout", metavar="DURATION", help="Maximum wait: 90s, or a number of seconds; 30 s by default.")
@run_id_option
def query(invocation: Invocation, id_: str, name: str, input_: str | None, timeout: str | None, run_id: str) -> None:
    """Print as JSON what the code of ID's run answers to the query NAME."""
    value = read_input(input_)

    async def ask(run: Run[msgspec.Raw]) -> None:
        click.echo(await run.query_json(name, value, timeout=timeout))

    with_run(invocation, id_, run_id, ask)


@verb("update")
@id_argument
@click.argument("name", metavar="NAME")
@click.option("--input", "input_", metavar="JSON|@FILE|-", help="Argument of the update; none by default.")
@click.option("--id", "update_id", metavar="TEXT", help="Id of the update: sent again with it, it happens once.")
@click.option("--no-wait", is_flag=True, help="Return once the run has accepted it.")
@click.option("--timeout", metavar="DURATION", help="Maximum wait: 90s, 1h, or a number of seconds.")
@run_id_option
def update(
    invocation: Invocation,
    id_: str,
    name: str,
    input_: str | None,
    update_id: str | None,
    *,
    no_wait: bool,
    timeout: str | None,
    run_id: str,
) -> None:
    """Update the run of ID by its handler NAME, and print the result as JSON; with --no-wait the update's id."""
    values = () if input_ is None else (msgspec.json.decode(read_input(input_)),)

    async def ask(run: Run[msgspec.Raw]) -> None:
        if no_wait:
            handle = await run.start_update(name, *values, id=update_id, timeout=timeout)
            click.echo(handle.id)
        else:
            click.echo(msgspec.json.encode(await run.update(name, *values, id=update_id, timeout=timeout)))

    with_run(invocation, id_, run_id, ask)


@verb("cancel")
@id_argument
@reason_option
@run_id_option
def cancel(invocation: Invocation, id_: str, reason: str, run_id: str) -> None:
    """Request cancellation of the run of ID; its code may clean up first."""
    with_run(invocation, id_, run_id, lambda run: run.cancel(reason))
    id = escaped(id_)
    click.echo(f"cancellation of {id} requested; `penstock result {id}` waits for its end", err=True)


@verb("terminate")
@id_argument
@reason_option
@run_id_option
def terminate(invocation: Invocation, id_: str, reason: str, run_id: str) -> None:
    """End the run of ID at once; its code does not run again and undoes nothing."""
    with_run(invocation, id_, run_id, lambda run: run.terminate(reason))
    click.echo(f"{escaped(id_)} was terminated", err=True)


@verb("unblock")
@id_argument
@reason_option
@by_option
@run_id_option
def unblock(invocation: Invocation, id_: str, reason: str, by: str, run_id: str) -> None:
    """Let a BLOCKED run go on after its code or its topics were corrected."""
    with_run(invocation, id_, run_id, lambda run: run.unblock(reason, by=by))
    click.echo(f"{escaped(id_)} is unblocked, and goes on if it can", err=True)


@verb("pause")
@id_argument
@reason_option
@by_option
@run_id_option
def pause(invocation: Invocation, id_: str, reason: str, by: str, run_id: str) -> None:
    """Halt the run of ID: what comes is recorded, and no activity begins, until it is resumed."""
    with_run(invocation, id_, run_id, lambda run: run.pause(reason, by=by))
    id = escaped(id_)
    click.echo(f"{id} is paused; `penstock resume {id}` lets it go on", err=True)


@verb("resume")
@id_argument
@reason_option
@by_option
@run_id_option
def resume(invocation: Invocation, id_: str, reason: str, by: str, run_id: str) -> None:
    """Let the paused run of ID go on; its code receives what was recorded."""
    with_run(invocation, id_, run_id, lambda run: run.resume(reason, by=by))
    click.echo(f"{escaped(id_)} goes on", err=True)


@verb("skip")
@id_argument
@click.argument("activity", metavar="ACTIVITY")
@click.option("--result", "result_", metavar="JSON|@FILE|-", help="Result of the activity; null by default.")
@reason_option
@by_option
@run_id_option
def skip(
    invocation: Invocation, id_: str, activity: str, result_: str | None, reason: str, by: str, run_id: str
) -> None:
    """Give an activity that the run of ID waits for a result by hand. ACTIVITY: its name, or its number."""
    value, which = read_input(result_), number_or_name(activity)
    with_run(invocation, id_, run_id, lambda run: run.skip_json(which, value, reason=reason, by=by))
    click.echo(f"{escaped(activity)} of {escaped(id_)} has the result that you gave", err=True)


@verb("reset")
@id_argument
@click.option(
    "--to-event",
    required=True,
    type=click.IntRange(0, NUMBER_MAX),
    metavar="N",
    help="Number of the last event to keep; 0: none.",
)
@click.option("--of-run", default="", metavar="RUN_ID", help="An earlier run of ID whose history is taken.")
@reason_option
@by_option
@run_id_option
def reset(invocation: Invocation, id_: str, to_event: int, of_run: str, reason: str, by: str, run_id: str) -> None:
    """Let the run of ID go on from an earlier point of its history, in a new run."""
    with_run(invocation, id_, run_id, lambda run: run.reset(to_event=to_event, of_run=of_run, reason=reason, by=by))
    click.echo(f"{escaped(id_)} goes on from event {to_event}, or the end of the decision before", err=True)


@verb("retry")
@id_argument
@click.option("--force", is_flag=True, help="Also if the code went on after the failure, as compensation does.")
@reason_option
@by_option
@run_id_option
def retry(invocation: Invocation, id_: str, *, force: bool, reason: str, by: str, run_id: str) -> None:
    """Let the failed run of ID go on from before the step that failed, in a new run."""
    with_run(invocation, id_, run_id, lambda run: run.retry(reason, force=force, by=by))
    click.echo(f"{escaped(id_)} goes on from before the step that failed", err=True)


@verb("delete")
@id_argument
@click.option("--force", is_flag=True, help="Also if the run is open: it is terminated first.")
@reason_option
@by_option
@run_id_option
def delete(invocation: Invocation, id_: str, *, force: bool, reason: str, by: str, run_id: str) -> None:
    """Remove at once what is kept of the closed run of ID and of its earlier runs; the topics keep their records."""
    with_run(invocation, id_, run_id, lambda run: run.delete(reason, force=force, by=by))
    click.echo(f"{escaped(id_)} was deleted", err=True)


def with_run(invocation: Invocation, id: str, run_id: str, act: Callable[[Run[msgspec.Raw]], Awaitable[Any]]) -> None:
    """Act on a run with a client of its own."""

    async def run() -> None:
        async with opened_client(invocation.settings) as client:
            await act(client.get(id, returns=msgspec.Raw, run_id=run_id))

    asyncio.run(run())


def _print_notice(id: str) -> None:
    id = escaped(id)
    click.echo(f"{id} has not closed yet; `penstock show {id}` shows what it waits for", err=True)
