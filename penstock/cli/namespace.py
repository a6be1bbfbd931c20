"""Verbs for a namespace: `namespace show` lists its processes and feature level, `raise` raises the level."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
import msgspec

from penstock.cli.command import Invocation, opened_log, output_option, verb, with_global_options
from penstock.cli.escape import escaped
from penstock.schemas.errors import SettingsError

if TYPE_CHECKING:
    from penstock.topics.members import Membership
    from penstock.topics.registry import SeenMember


@click.group("namespace")
@with_global_options
def namespace() -> None:
    """Show the processes of a namespace, and raise its feature level."""


@verb("show")
@output_option
def show(invocation: Invocation, output: str) -> None:
    """Show the live processes with what they host, and the feature level."""
    from penstock.cli.output import print_json, print_table

    with observed_members(invocation) as membership:
        members, level = membership.others(), membership.level
    if output == "json":
        print_json({"level": level, "members": [seen.announced for seen in members]})
        return
    click.echo(f"namespace {invocation.settings.namespace}, feature level {level}")
    if not members:
        click.echo("no live processes", err=True)
        return
    print_table(
        ("PROCESS", "APPLICATION", "BUILD", "LEVEL", "WORKFLOWS", "ACTIVITIES"), [_row(seen) for seen in members]
    )


@verb("raise")
@click.option(
    "--to", "level", type=click.IntRange(min=2), help="Level; by default the highest that all processes know."
)
def raise_level(invocation: Invocation, level: int | None) -> None:
    """Raise the feature level, so that records and fields of newer builds are written. It cannot be lowered.

    Refused while a live process does not know the level.
    """
    with observed_members(invocation) as membership:
        wanted = _raised(membership, level)
        if wanted is not None:
            membership.raise_level(wanted, "operator")
    name = invocation.settings.namespace
    if wanted is None:
        click.echo(
            f"namespace {name} has feature level {membership.level}, the highest that all processes know", err=True
        )
    else:
        click.echo(f"namespace {name} was raised to feature level {wanted}", err=True)


for command in (show, raise_level):
    namespace.add_command(command)


def _raised(membership: Membership, level: int | None) -> int | None:
    """The level to raise to, None if there is nothing to do. Raises SettingsError if a process does not know it."""
    known = min(seen.announced.level for seen in membership.live())  # this command's build included
    wanted = known if level is None else level
    if wanted > known:
        older = next(seen.announced for seen in membership.live() if seen.announced.level < wanted)
        raise SettingsError(
            f"level {wanted} is not known to {older.member} (build {older.build or 'not named'}, levels up to "
            f"{older.level}): replace that process by a newer build first."
        )
    return wanted if wanted > membership.level else None


def _row(seen: SeenMember) -> tuple[str, str, str, int, str, str]:
    one = seen.announced
    workflows, activities = ", ".join(sorted(one.workflows)), ", ".join(one.activities)
    return one.member, escaped(one.application), escaped(one.build), one.level, workflows, activities


@contextmanager
def observed_members(invocation: Invocation) -> Iterator[Membership]:
    """The members as they are now, read as one that hosts nothing: the log's clock decides which have expired."""
    from penstock.hosting.membership import announcement, join
    from penstock.hosting.namespace import Namespace

    settings = invocation.settings
    with opened_log(settings, must_exist=True) as (log, topics):
        observer = announcement(msgspec.structs.replace(settings, application=""))
        membership = join(Namespace(log, topics, 0), settings, observer, observe=True)
        try:
            yield membership
        finally:
            membership.leave()
