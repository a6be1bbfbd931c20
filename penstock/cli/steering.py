"""How is a run steered by hand? `result`, `signal`, `cancel`, `terminate`, `retry`: one order each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import click
import msgspec

from penstock.cli.inputs import read_input
from penstock.cli.session import Session, opened, verb
from penstock.cli.visible import visible

if TYPE_CHECKING:
    from penstock.client.client import Run

NOTICE_AFTER_S = 30.0

id_argument = click.argument("id_", metavar="ID")
run_id_option = click.option("--run-id", default="", metavar="RUN", help="That run of the id, not the current one.")
reason_option = click.option("--reason", default="", metavar="TEXT", help="Why; stands in the history.")


@verb("result")
@id_argument
@run_id_option
@click.option("--timeout", metavar="DURATION", help="Wait no longer than this: 90s, 1h, or a number of seconds.")
def result(session: Session, id_: str, run_id: str, timeout: str | None) -> None:
    """Wait for a run to close and print its result as JSON."""

    async def wait(run: Run[msgspec.Raw]) -> None:
        notice = asyncio.get_running_loop().call_later(NOTICE_AFTER_S, _still_waiting, id_)
        try:
            click.echo(bytes(await run.result(timeout)))
        finally:
            notice.cancel()

    _with_run(session, id_, run_id, wait)


@verb("signal")
@id_argument
@click.argument("name", metavar="SIGNAL")
@click.option("--input", "input_", metavar="JSON|@FILE|-", help="The signal's value; null unless told.")
@run_id_option
def signal(session: Session, id_: str, name: str, input_: str | None, run_id: str) -> None:
    """Send SIGNAL to the run of ID."""
    value = read_input(input_)
    _with_run(session, id_, run_id, lambda run: run.signal_json(name, value))
    click.echo(f"{visible(id_)} has the signal {visible(name)}", err=True)


@verb("cancel")
@id_argument
@reason_option
@run_id_option
def cancel(session: Session, id_: str, reason: str, run_id: str) -> None:
    """Ask the run of ID to stop; its code may clean up first."""
    _with_run(session, id_, run_id, lambda run: run.cancel(reason))
    id = visible(id_)
    click.echo(f"{id} was asked to stop; `penstock result {id}` waits for its end", err=True)


@verb("terminate")
@id_argument
@reason_option
@run_id_option
def terminate(session: Session, id_: str, reason: str, run_id: str) -> None:
    """End the run of ID at once; its code sees nothing and undoes nothing."""
    _with_run(session, id_, run_id, lambda run: run.terminate(reason))
    click.echo(f"{visible(id_)} was terminated", err=True)


@verb("retry")
@id_argument
@run_id_option
def retry(session: Session, id_: str, run_id: str) -> None:
    """Try a BLOCKED run again, now that its code or its topics were mended."""
    _with_run(session, id_, run_id, lambda run: run.retry())
    click.echo(f"{visible(id_)} is tried again", err=True)


def _with_run(session: Session, id: str, run_id: str, use: Callable[[Run[msgspec.Raw]], Awaitable[Any]]) -> None:
    async def run() -> None:
        async with opened(session.settings) as client:
            await use(client.get(id, returns=msgspec.Raw, run_id=run_id))

    asyncio.run(run())


def _still_waiting(id: str) -> None:
    id = visible(id)
    click.echo(f"{id} has not closed yet; `penstock show {id}` tells what it waits for", err=True)
