"""Verbs that read runs: `list`, `show` and `history`, as text or JSON."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

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
from penstock.engine.core.statuses import STATUSES

if TYPE_CHECKING:
    from penstock.client.client import Client

T = TypeVar("T")


@verb("list")
@click.option("--status", type=click.Choice(STATUSES), help="Only runs with this status.")
@click.option("--type", "type_", metavar="TYPE", help="Only runs of this workflow type.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Maximum number of runs.")
@click.option("--after", default="", metavar="ID", help="Only ids that sort after this one.")
@reads_option
@output_option
def list_runs(
    invocation: Invocation, status: str | None, type_: str | None, limit: int, after: str, output: str
) -> None:
    """List runs, sorted by id."""
    from penstock.cli.output import print_json, print_runs

    runs = _read(invocation, lambda client: client.list(status=status, type=type_, limit=limit, after=after))
    if output == "json":
        print_json(runs)
    else:
        print_runs(runs)
        if len(runs) == limit:
            click.echo(f"there may be more: use --after {escaped(runs[-1]['workflow_id'])}", err=True)


@verb("show")
@id_argument
@reads_option
@output_option
def show(invocation: Invocation, id_: str, output: str) -> None:
    """Show the current run of ID: its state and what it waits for."""
    from penstock.cli.output import print_json
    from penstock.cli.run_text import print_run

    run = _read(invocation, lambda client: client.describe(id_))
    if output == "json":
        print_json(run)
    else:
        print_run(run, time.time_ns() // 1_000_000)


@verb("history")
@id_argument
@run_id_option
@reads_option
@output_option
def history(invocation: Invocation, id_: str, run_id: str, output: str) -> None:
    """Print the numbered events of a run of ID."""
    from penstock.cli.output import print_history, print_json

    events = _read(invocation, lambda client: client.get(id_, run_id=run_id).history())
    if output == "json":
        print_json(events)
    else:
        print_history(events)


def _read(invocation: Invocation, read: Callable[[Client], Awaitable[T]]) -> T:
    async def run() -> T:
        async with opened_client(invocation.settings) as client:
            return await read(client)

    return asyncio.run(run())
