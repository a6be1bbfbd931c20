"""Verb `versions list`: versions of workflow types, who hosts them, and the runs that are open on each."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from penstock.cli.command import Invocation, opened_client, output_option, verb, with_global_options
from penstock.cli.escape import escaped
from penstock.cli.namespace import observed_members
from penstock.engine.core.statuses import BLOCKED, PAUSED, RUNNING, WAITING

if TYPE_CHECKING:
    from penstock.schemas.records.registry import MemberAnnounced

PAGE = 1_000
_OPEN = (RUNNING, WAITING, BLOCKED, PAUSED)


class Found(NamedTuple):
    """A version of a type. `processes`: live ones that host it; `open_runs`: their number."""

    type: str
    version: int
    processes: int
    open_runs: int


@click.group("versions")
@with_global_options
def versions() -> None:
    """Show the versions of workflow types."""


@verb("list")
@click.argument("type_", metavar="[TYPE]", required=False, default="")
@output_option
def list_versions(invocation: Invocation, type_: str, output: str) -> None:
    """Show the versions of TYPE, or of all types, with the live processes that host them and their open runs.

    Open runs of a version that no live process hosts are stranded: they wait for its code.
    """
    from penstock.cli.output import print_json, print_table

    with observed_members(invocation) as membership:
        hosted = Counter(pair for seen in membership.others() for pair in _hosted(seen.announced))
    runs = asyncio.run(_open_runs(invocation, type_))
    pairs = sorted({pair for pair in (*hosted, *runs) if type_ in {"", pair[0]}})
    found = [Found(*pair, hosted[pair], runs[pair]) for pair in pairs]
    if output == "json":
        print_json([one._asdict() for one in found])
        return
    if not found:
        click.echo("no such version is hosted, and none has an open run", err=True)
        return
    print_table(
        ("TYPE", "VERSION", "PROCESSES", "OPEN RUNS"),
        [(escaped(one.type), one.version, one.processes, one.open_runs) for one in found],
    )
    for one in found:
        if not one.processes:
            click.echo(
                f"{one.open_runs} open runs of {escaped(one.type)} version {one.version} are stranded: no live process "
                "hosts it; start a processor with its code",
                err=True,
            )


versions.add_command(list_versions)


def _hosted(announced: MemberAnnounced) -> list[tuple[str, int]]:
    """Types and versions that a process hosts."""
    return [
        (type_, version)
        for type_, highest in announced.workflows.items()
        for version in announced.versions.get(type_, (highest,))
    ]


async def _open_runs(invocation: Invocation, type_: str) -> Counter[tuple[str, int]]:
    """Numbers of open runs by type and version."""
    found: dict[str, Any] = {}  # a run may change its status between two pages
    async with opened_client(invocation.settings) as client:
        for status in _OPEN:
            after = ""
            while page := await client.list(status=status, type=type_ or None, limit=PAGE, after=after):
                found.update((run["workflow_id"], (run["type"], run["version"])) for run in page)
                after = page[-1]["workflow_id"]
    return Counter(found.values())
