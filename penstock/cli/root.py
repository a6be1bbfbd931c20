"""Which commands are there? All of them, under `penstock`."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import click

from penstock.cli.dead_letters import dead_letters
from penstock.cli.demo import demo
from penstock.cli.exits import EPILOG
from penstock.cli.hosts import dev, processor, worker
from penstock.cli.looking import history, list_runs, show
from penstock.cli.session import GuardedGroup, with_global_options
from penstock.cli.starting import start
from penstock.cli.steering import cancel, result, retry, signal, terminate
from penstock.cli.topics import topics


def _version() -> str:
    try:
        return version("penstock")
    except PackageNotFoundError:  # run from a tree that was never installed
        return "not installed"


@click.group(
    cls=GuardedGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(_version(), prog_name="penstock")
@with_global_options
def penstock() -> None:
    """Durable workflows in plain async Python on Kafka, with no server to operate."""


for command in (
    dev,
    processor,
    worker,
    start,
    list_runs,
    show,
    history,
    result,
    signal,
    cancel,
    terminate,
    retry,
    topics,
    dead_letters,
    demo,
):
    penstock.add_command(command)
