"""Verbs for topics: `topics plan` shows what would change, `apply` changes it, `verify` checks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import click

from penstock.cli.command import Invocation, opened_log, output_option, setting, verb, with_global_options
from penstock.cli.exit_codes import FAILED
from penstock.hosting import interrupts
from penstock.schemas.errors import TopicMismatch

if TYPE_CHECKING:
    from penstock.topics.catalogue import Topics
    from penstock.topics.log import Log, TopicSpec

shards_option = setting(
    "--shards", "Shards of a new namespace; by default 4 on Kafka, 1 embedded.", type=click.IntRange(1, 10_000)
)
replication_option = setting(
    "--replication", "Replicas of each partition; by default the broker's.", type=click.IntRange(1, 100)
)
queue_option = click.option("--queue", "queues", multiple=True, metavar="QUEUE", help="Task queue; may be repeated.")
modules_argument = click.argument("modules", nargs=-1, metavar="[MODULE…]")


class Required(NamedTuple):
    """The topics that a namespace must have."""

    log: Log
    topics: Topics
    shards: int
    specs: list[TopicSpec]


@click.group("topics")
@with_global_options
def topics() -> None:
    """Plan, create and verify the topics of a namespace.

    Task queues are those of the MODULEs' activities, those given by --queue, `default`, and those that have a topic
    already.
    """


@verb("plan")
@modules_argument
@queue_option
@shards_option
@replication_option
@output_option
def plan(invocation: Invocation, modules: tuple[str, ...], queues: tuple[str, ...], output: str) -> int:
    """Show what `apply` would change, without changing it. Exit code 1 if a change is impossible."""
    from penstock.cli.output import print_json
    from penstock.topics import admin

    with _required(invocation, modules, queues) as required:
        planned = admin.plan(required.log, required.specs)
    if output == "json":
        print_json(planned)
    elif not planned.changes:
        click.echo(f"nothing to do: {len(required.specs)} topics are correct", err=True)
    else:
        for change in planned.changes:
            click.echo(str(change))
    return FAILED if planned.mismatches else 0


@verb("apply")
@modules_argument
@queue_option
@shards_option
@replication_option
def apply(invocation: Invocation, modules: tuple[str, ...], queues: tuple[str, ...]) -> None:
    """Create and change the topics as required; may be repeated."""
    from penstock.topics import admin

    with _required(invocation, modules, queues) as required:
        planned = admin.plan(required.log, required.specs)
        for mismatch in planned.mismatches:
            click.echo(str(mismatch), err=True)
        if planned.mismatches:
            raise TopicMismatch("nothing was changed, since some of the changes are impossible.")
        admin.apply(required.log, planned)
        admin.declare_namespace(required.log, required.topics, required.shards)
    for change in planned.changes:
        click.echo(str(change))
    summary = f"{len(required.specs)} topics are correct, {required.shards} shard{'s' * (required.shards != 1)}"
    click.echo(f"namespace {required.topics.namespace}: {summary}", err=True)


@verb("verify")
@modules_argument
@queue_option
@shards_option
@replication_option
@output_option
def verify(invocation: Invocation, modules: tuple[str, ...], queues: tuple[str, ...], output: str) -> int:
    """List what is wrong with the topics. Exit code 1 if anything is."""
    from penstock.cli.output import print_json
    from penstock.topics import admin
    from penstock.topics.catalogue import creation_advice

    with _required(invocation, modules, queues) as required:
        problems = admin.verify(required.log, required.specs)
        if admin.declared_shards(required.log, required.topics) is None:
            problems.append(f"namespace {required.topics.namespace} is not declared: {creation_advice()}")
    if output == "json":
        print_json(problems)
    elif problems:
        for problem in problems:
            click.echo(problem)
    else:
        click.echo(f"{len(required.specs)} topics are correct", err=True)
    return FAILED if problems else 0


for command in (plan, apply, verify):
    topics.add_command(command)


@contextmanager
def _required(invocation: Invocation, modules: tuple[str, ...], queues: tuple[str, ...]) -> Iterator[Required]:
    from penstock.hosting.namespace import queues_of, replication_of, shards_of
    from penstock.loading import load_modules
    from penstock.topics.catalogue import specs
    from penstock.workers.activity.decorator import registered

    settings = invocation.settings
    with interrupts.reraised():
        load_modules(modules)
    with opened_log(settings, must_exist=False) as (log, topics):
        existing = [queue for topic in log.describe() if (queue := topics.queue_of(topic)) is not None]
        shards = shards_of(log, topics, settings)
        all_queues = {"default", *existing, *queues, *queues_of(registered())}
        yield Required(log, topics, shards, specs(topics, shards, all_queues, replication_of(settings)))
