"""Verbs `versions list` and `versions set`: versions of workflow types, who hosts them, the runs that are open on each,
and the shares of new runs that take them."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from penstock.cli.act_verbs import by_option, reason_option
from penstock.cli.command import Invocation, opened_client, output_option, verb, with_global_options
from penstock.cli.escape import escaped
from penstock.cli.namespace import observed_members
from penstock.engine.core.statuses import BLOCKED, PAUSED, RUNNING, WAITING

if TYPE_CHECKING:
    from penstock.schemas.records.registry import MemberAnnounced

PAGE = 1_000
_OPEN = (RUNNING, WAITING, BLOCKED, PAUSED)


class Found(NamedTuple):
    """A version of a type. `share`: that was set for it; `processes`: live ones that host it; `open_runs`: how many."""

    type: str
    version: int
    share: str | None
    processes: int
    open_runs: int


@click.group("versions")
@with_global_options
def versions() -> None:
    """Show the versions of workflow types, and say which share of new runs takes them."""


@verb("list")
@click.argument("type_", metavar="[TYPE]", required=False, default="")
@output_option
def list_versions(invocation: Invocation, type_: str, output: str) -> None:
    """Show the versions of TYPE, or of all types, with the live processes that host them and their open runs.

    SHARE: of the new runs that no higher version takes.

    Open runs of a version that no live process hosts are stranded: they wait for its code.
    """
    from penstock.cli.output import print_json, print_table

    with observed_members(invocation) as membership:
        hosted = Counter(pair for seen in membership.others() for pair in _hosted(seen.announced))
    runs, shares = asyncio.run(_read(invocation, type_))
    pairs = sorted({pair for pair in (*hosted, *runs, *shares) if type_ in {"", pair[0]}})
    found = [Found(*pair, shares.get(pair), hosted[pair], runs[pair]) for pair in pairs]
    if output == "json":
        print_json([one._asdict() for one in found])
        return
    if not found:
        click.echo("no such version is hosted, and none has an open run", err=True)
        return
    print_table(
        ("TYPE", "VERSION", "SHARE", "PROCESSES", "OPEN RUNS"),
        [(escaped(one.type), one.version, _share(one, found), one.processes, one.open_runs) for one in found],
    )
    for one in found:
        if not one.processes and one.open_runs:
            click.echo(
                f"{one.open_runs} open runs of {escaped(one.type)} version {one.version} are stranded: no live process "
                "hosts it; start a processor with its code",
                err=True,
            )


@verb("set")
@click.argument("type_", metavar="TYPE")
@click.argument("version", type=int, metavar="VERSION")
@click.option("--share", metavar="PERCENT", help="Share of the new runs that no higher version takes, as 10%.")
@click.option("--default", "is_default", is_flag=True, help="Take the share back: all of them, as by default.")
@reason_option
@by_option
def set_version(
    invocation: Invocation, type_: str, version: int, share: str | None, *, is_default: bool, reason: str, by: str
) -> None:
    """Let a share of the new runs of TYPE take VERSION, on all shards.

    Open runs keep their version. A larger share takes the same ids and more; what is left takes lower versions.
    """
    from penstock.schemas.errors import BadInput
    from penstock.schemas.ids import check_version
    from penstock.schemas.values.shares import parse_share

    if is_default == (share is not None):
        raise BadInput("Give either the share of the version, such as `--share 10%`, or `--default`.")
    check_version(version)
    if share is not None:
        parse_share(share)  # before a log is opened

    async def act() -> str:
        async with opened_client(invocation.settings) as client:
            return await client.versions.set(type_, version, share, by=by, reason=reason)

    note = asyncio.run(act())
    what = "the default share" if share is None else share.strip()
    click.echo(f"version {version} of {escaped(type_)} has {what} of new runs", err=True)
    if note:
        click.echo(f"note: {escaped(note)}", err=True)


for command in (list_versions, set_version):
    versions.add_command(command)


def _hosted(announced: MemberAnnounced) -> list[tuple[str, int]]:
    """Types and versions that a process hosts."""
    return [
        (type_, version)
        for type_, highest in announced.workflows.items()
        for version in announced.versions.get(type_, (highest,))
    ]


async def _read(invocation: Invocation, type_: str) -> tuple[Counter[tuple[str, int]], dict[tuple[str, int], str]]:
    """Numbers of open runs, and shares, by type and version."""
    found: dict[str, Any] = {}  # a run may change its status between two pages
    async with opened_client(invocation.settings) as client:
        for status in _OPEN:
            after = ""
            while page := await client.list(status=status, type=type_ or None, limit=PAGE, after=after):
                found.update((run["workflow_id"], (run["type"], run["version"])) for run in page)
                after = page[-1]["workflow_id"]
        shares = await client.versions.shares(type_)
        shards = set(range(client.exchange.shards))
    return Counter(found.values()), _by_version(shares, shards)


def _by_version(shares: list[dict[str, Any]], shards: set[int]) -> dict[tuple[str, int], str]:
    """Shares by type and version; where shards differ, each with those that have it."""
    found: dict[tuple[str, int], list[str]] = {}
    for one in shares:
        which = "" if set(one["shards"]) == shards else f" (shard {', '.join(map(str, one['shards']))})"
        found.setdefault((one["type"], one["version"]), []).append(f"{one['share']}{which}")
    return {pair: "; ".join(texts) for pair, texts in found.items()}


def _share(one: Found, found: list[Found]) -> str:
    """Share of a version as the table shows it: the lowest that is hosted takes what the others leave."""
    hosted = [other.version for other in found if other.type == one.type and other.processes]
    if hosted and one.version == min(hosted):
        return "rest"
    return one.share or ("100%" if one.processes else "-")
