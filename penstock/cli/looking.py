"""What do the runs look like? `list`, `show` and `history`, for people or as JSON."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import click

from penstock.cli.session import Session, opened, output_option, verb
from penstock.cli.steering import id_argument, run_id_option
from penstock.cli.visible import visible
from penstock.engine.core.statuses import STATUSES

if TYPE_CHECKING:
    from penstock.client.client import Client

T = TypeVar("T")


@verb("list")
@click.option("--status", type=click.Choice(STATUSES), help="Only runs in this state.")
@click.option("--type", "type_", metavar="TYPE", help="Only runs of this workflow type.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@click.option("--after", default="", metavar="ID", help="Only ids that sort after this one: the next page.")
@output_option
def list_runs(session: Session, status: str | None, type_: str | None, limit: int, after: str, output: str) -> None:
    """List runs in the order of their ids."""
    from penstock.cli.output import print_json, print_runs

    runs = _ask(session, lambda client: client.list(status=status, type=type_, limit=limit, after=after))
    if output == "json":
        print_json(runs)
    else:
        print_runs(runs)
        if len(runs) == limit:
            click.echo(f"more may follow: --after {visible(runs[-1]['workflow_id'])}", err=True)


@verb("show")
@id_argument
@output_option
def show(session: Session, id_: str, output: str) -> None:
    """Show the current run of ID: its state, and what it waits for."""
    from penstock.cli.output import print_json
    from penstock.cli.showing import print_run

    run = _ask(session, lambda client: client.describe(id_))
    if output == "json":
        print_json(run)
    else:
        print_run(run, time.time_ns() // 1_000_000)


@verb("history")
@id_argument
@run_id_option
@output_option
def history(session: Session, id_: str, run_id: str, output: str) -> None:
    """Print the numbered events of a run of ID."""
    from penstock.cli.output import print_history, print_json

    events = _ask(session, lambda client: client.get(id_, run_id=run_id).history())
    if output == "json":
        print_json(events)
    else:
        print_history(events)


def _ask(session: Session, question: Callable[[Client], Awaitable[T]]) -> T:
    async def run() -> T:
        async with opened(session.settings) as client:
            return await question(client)

    return asyncio.run(run())
