"""Verbs that end an attempt from outside, by its token: `complete`, `fail`."""

from __future__ import annotations

import asyncio

import click

from penstock.cli.command import Invocation, opened_client, verb
from penstock.cli.inputs import read_input


@verb("complete")
@click.argument("token", metavar="TOKEN")
@click.option("--result", "result_", metavar="JSON|@FILE|-", help="Result of the activity; null by default.")
def complete(invocation: Invocation, token: str, result_: str | None) -> None:
    """End the activity of an attempt's TOKEN with a result."""
    value = read_input(result_)

    async def run() -> None:
        async with opened_client(invocation.settings) as client:
            await client.complete_json(token, value)

    asyncio.run(run())
    click.echo("the activity has the result", err=True)


@verb("fail")
@click.argument("token", metavar="TOKEN")
@click.argument("message", metavar="MESSAGE")
@click.option("--final", is_flag=True, help="Let no other attempt follow.")
@click.option("--retry-after", metavar="DURATION", help="When the next attempt begins: 90s, 1h.")
def fail(invocation: Invocation, token: str, message: str, retry_after: str | None, *, final: bool) -> None:
    """Fail the attempt of TOKEN; the activity's options say whether another one follows."""

    async def run() -> None:
        async with opened_client(invocation.settings) as client:
            await client.fail(token, message, retryable=not final, retry_after=retry_after)

    asyncio.run(run())
    click.echo("the attempt has failed", err=True)
