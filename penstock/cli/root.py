"""Root command `penstock` with all its verbs."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import click

from penstock.cli.act_verbs import (
    cancel,
    delete,
    pause,
    query,
    reset,
    result,
    resume,
    retry,
    signal,
    skip,
    terminate,
    unblock,
    update,
)
from penstock.cli.change_verb import change_activity
from penstock.cli.command import GuardedGroup, with_global_options
from penstock.cli.dead_letters import dead_letters
from penstock.cli.demo import demo
from penstock.cli.exit_codes import EPILOG
from penstock.cli.host_verbs import dev, processor, worker
from penstock.cli.inside_verbs import debug, stack
from penstock.cli.moving_verbs import export_run, import_run
from penstock.cli.namespace import namespace
from penstock.cli.outside_verbs import complete, fail
from penstock.cli.read_verbs import history, list_runs, show
from penstock.cli.replay_verb import replay
from penstock.cli.schedule_verbs import schedule
from penstock.cli.start_verb import start
from penstock.cli.topics import topics
from penstock.cli.versions import versions
from penstock.cli.why_verb import why


def _version() -> str:
    try:
        return version("penstock")
    except PackageNotFoundError:  # run from a source tree
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
    why,
    stack,
    debug,
    replay,
    result,
    signal,
    query,
    update,
    cancel,
    terminate,
    unblock,
    pause,
    resume,
    skip,
    change_activity,
    complete,
    fail,
    reset,
    retry,
    delete,
    export_run,
    import_run,
    topics,
    namespace,
    versions,
    schedule,
    dead_letters,
    demo,
):
    penstock.add_command(command)
