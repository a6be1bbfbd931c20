"""Are the topics right? `topics plan` tells what would change, `apply` changes it, `verify` tells what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import click

from penstock.cli.exits import FAILED
from penstock.cli.session import Session, output_option, setting, verb, with_global_options
from penstock.hosting.interrupts import insistent
from penstock.schemas.errors import TopicMismatch

if TYPE_CHECKING:
    from penstock.topics.catalogue import Topics
    from penstock.topics.log import Log, TopicSpec

shards_option = setting(
    "--shards", "Shards of a new namespace: 4 on Kafka, 1 embedded.", type=click.IntRange(1, 10_000)
)
replication_option = setting(
    "--replication", "Copies of each partition; the broker's default unless told.", type=click.IntRange(1, 100)
)
queue_option = click.option("--queue", "queues", multiple=True, metavar="QUEUE", help="A task queue; may be repeated.")
modules_argument = click.argument("modules", nargs=-1, metavar="[MODULE…]")


class Wanted(NamedTuple):
    """A namespace's topics as they must be."""

    log: Log
    topics: Topics
    shards: int
    specs: list[TopicSpec]


@click.group("topics")
@with_global_options
def topics() -> None:
    """The topics of a namespace: what they must be, make them so, check.

    Task queues are those that the MODULEs' activities name, those given by --queue, `default`, and those that have a
    topic already.
    """


@verb("plan")
@modules_argument
@queue_option
@shards_option
@replication_option
@output_option
def plan(session: Session, modules: tuple[str, ...], queues: tuple[str, ...], output: str) -> int:
    """Tell what `apply` would change; changes nothing. Exit code 1 if a change is impossible."""
    from penstock.cli.output import print_json
    from penstock.topics import admin

    with _wanted(session, modules, queues) as wanted:
        planned = admin.plan(wanted.log, wanted.specs)
    if output == "json":
        print_json(planned)
    elif not planned.changes:
        click.echo(f"nothing to do: {len(wanted.specs)} topics are as they must be", err=True)
    else:
        for change in planned.changes:
            click.echo(str(change))
    return FAILED if planned.mismatches else 0


@verb("apply")
@modules_argument
@queue_option
@shards_option
@replication_option
def apply(session: Session, modules: tuple[str, ...], queues: tuple[str, ...]) -> None:
    """Make the topics as they must be; may be repeated."""
    from penstock.topics import admin

    with _wanted(session, modules, queues) as wanted:
        planned = admin.plan(wanted.log, wanted.specs)
        for mismatch in planned.mismatches:
            click.echo(str(mismatch), err=True)
        if planned.mismatches:
            raise TopicMismatch("nothing was changed, since not all of it can be done.")
        admin.apply(wanted.log, planned)
        admin.declare_namespace(wanted.log, wanted.topics, wanted.shards)
    for change in planned.changes:
        click.echo(str(change))
    many = f"{len(wanted.specs)} topics are as they must be, {wanted.shards} shard{'s' * (wanted.shards != 1)}"
    click.echo(f"namespace {wanted.topics.namespace}: {many}", err=True)


@verb("verify")
@modules_argument
@queue_option
@shards_option
@replication_option
@output_option
def verify(session: Session, modules: tuple[str, ...], queues: tuple[str, ...], output: str) -> int:
    """Tell what is wrong with the topics. Exit code 1 if anything is."""
    from penstock.cli.output import print_json
    from penstock.topics import admin
    from penstock.topics.catalogue import creation_advice

    with _wanted(session, modules, queues) as wanted:
        problems = admin.verify(wanted.log, wanted.specs)
        if admin.declared_shards(wanted.log, wanted.topics) is None:
            problems.append(f"namespace {wanted.topics.namespace} is not declared: {creation_advice()}")
    if output == "json":
        print_json(problems)
    elif problems:
        for problem in problems:
            click.echo(problem)
    else:
        click.echo(f"{len(wanted.specs)} topics are as they must be", err=True)
    return FAILED if problems else 0


for command in (plan, apply, verify):
    topics.add_command(command)


@contextmanager
def _wanted(session: Session, modules: tuple[str, ...], queues: tuple[str, ...]) -> Iterator[Wanted]:
    from penstock.hosting.parts import queues_of, replication_of, shards_of
    from penstock.loading import load_modules
    from penstock.topics.catalogue import Topics, specs
    from penstock.topics.connect import connect
    from penstock.workers.activity.decorator import registered

    settings = session.settings
    with insistent():
        load_modules(modules)
    topics = Topics(settings.namespace, settings.prefix)
    log = connect(settings.log)
    try:
        there = [queue for topic in log.describe() if (queue := topics.queue_of(topic)) is not None]
        shards = shards_of(log, topics, settings)
        wanted = {"default", *there, *queues, *queues_of(registered())}
        yield Wanted(log, topics, shards, specs(topics, shards, wanted, replication_of(settings)))
    finally:
        log.close()
