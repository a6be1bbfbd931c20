"""Which commands are there? All of them, under `penstock`."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import click

from penstock.cli import dead_letters, demo, hosts, looking, starting, steering, topics
from penstock.cli.exits import EPILOG
from penstock.cli.session import GuardedGroup, with_global_options


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
    hosts.dev,
    hosts.processor,
    hosts.worker,
    starting.start,
    looking.list_runs,
    looking.show,
    looking.history,
    steering.result,
    steering.signal,
    steering.cancel,
    steering.terminate,
    steering.retry,
    topics.topics,
    dead_letters.dead_letters,
    demo.demo,
):
    penstock.add_command(command)
