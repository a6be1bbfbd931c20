"""Verb `why`: in words, why a run does not go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection

import click

from penstock.cli.command import Invocation, id_argument, opened_client, output_option, reads_option, verb
from penstock.cli.escape import escaped
from penstock.client.reads import Json, JsonList
from penstock.schemas.errors import LogError, NotAdmitted

LINES_MAX = 20


@verb("why")
@id_argument
@reads_option
@output_option
def why(invocation: Invocation, id_: str, output: str) -> None:
    """Say in words what the current run of ID waits for, since when, and what ends the wait."""
    from penstock.cli.output import print_json
    from penstock.cli.why_text import headline, reasons

    run, history = asyncio.run(_read(invocation, id_))
    now_ms = time.time_ns() // 1_000_000
    found = reasons(run, history, _queues(invocation) if run["pending_activities"] else None, now_ms)
    if output == "json":
        waits = [one._asdict() for one in found]
        print_json(
            {"workflow_id": run["workflow_id"], "run_id": run["run_id"], "status": run["status"], "waits": waits}
        )
        return
    click.echo(escaped(headline(run, now_ms)))
    for one in found[:LINES_MAX]:
        click.echo(f"  {escaped(one.text)}")
    if len(found) > LINES_MAX:
        click.echo(f"  and {len(found) - LINES_MAX} more; `--output json` shows all")


async def _read(invocation: Invocation, id: str) -> tuple[Json, JsonList]:
    async with opened_client(invocation.settings) as client:
        return await client.describe(id), await client.history(id)


def _queues(invocation: Invocation) -> Collection[str] | None:
    """The queues that live workers serve; None if that cannot be read."""
    from penstock.cli.namespace import observed_members

    try:
        with observed_members(invocation) as membership:
            return {queue for seen in membership.others() for queue in seen.announced.queues}
    except (LogError, NotAdmitted):
        return None
