"""Verbs that run processes: `dev` runs everything in one, `processor` and `worker` one part each."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.command import Invocation, opened_log, setting, verb
from penstock.cli.hosted_code import StdinEnded, loaded, loaded_for_dev, own_command
from penstock.schemas.errors import BadInput, ModuleNotLoaded

if TYPE_CHECKING:
    from penstock.engine.authoring.definition import WorkflowDefinition
    from penstock.hosting.parts import Activities, Workflows

modules_argument = click.argument("modules", nargs=-1, required=True, metavar="MODULE…")
application_option = setting("--application", "Name of the application that the namespace belongs to.", metavar="NAME")
data_option = setting("--data", "Directory of the processors' state.", metavar="DIR")
concurrency_option = click.option(
    "--concurrency",
    type=click.IntRange(1, 100_000),
    default=100,
    show_default=True,
    help="Maximum number of concurrent activities.",
)


@verb("dev")
@click.argument("modules", nargs=-1, required=True, metavar="FILE_OR_MODULE…")
@data_option
@application_option
@concurrency_option
@click.option("--reload", is_flag=True, help="Host changed code as soon as no open run breaks by it.")
@click.option("--supervised", is_flag=True, hidden=True, help="Stop when stdin ends: the parent is gone.")
@click.option("--reloaded", is_flag=True, hidden=True, help="Print no banner.")
@click.option("--check-to", type=int, hidden=True, help="Check the code instead, and write what was found there.")
def dev(
    invocation: Invocation,
    modules: tuple[str, ...],
    concurrency: int,
    *,
    reload: bool,
    supervised: bool,
    reloaded: bool,
    check_to: int | None,
) -> int:
    """Run processor, worker and reads in this process; missing topics are created.

    By default the log is embedded, in ./.penstock. With --reload, source files are watched: open runs are replayed with
    changed code first. If one would break, it is named and the code before goes on; otherwise the new code is hosted.
    """
    from penstock.cli.dev_reload import Reloader
    from penstock.cli.reload_check import check
    from penstock.hosting.hash_seed import with_fixed_hash_seed

    with_fixed_hash_seed()
    if check_to is not None:
        check(invocation, modules, check_to)
    elif reload:
        return Reloader(invocation, modules, concurrency).run()
    else:
        _host_all(invocation, modules, concurrency, parent=StdinEnded() if supervised else None, banner=not reloaded)
    return 0


def _host_all(
    invocation: Invocation, modules: tuple[str, ...], concurrency: int, *, parent: StdinEnded | None, banner: bool
) -> None:
    from penstock.hosting.declared_schedules import schedule_parts
    from penstock.hosting.membership import announcement, joined
    from penstock.hosting.namespace import Namespace, make_topics, only_one_dev, queues_of
    from penstock.hosting.parts import processor_part, run_until_signalled, worker_part

    workflows, activities = loaded_for_dev(invocation, modules)
    settings = invocation.settings
    with only_one_dev(settings.log_file), opened_log(settings, must_exist=False) as (log, topics):
        shards = make_topics(log, topics, settings, queues_of(activities))
        namespace = Namespace(log, topics, shards)
        with joined(namespace, settings, announcement(settings, workflows, activities)) as membership:
            processor = processor_part(namespace, settings, workflows, membership=membership)
            workers = [worker_part(namespace, activities, settings, concurrency=concurrency)] if activities else []
            if banner:
                _print_banner(invocation, workflows, activities, processor.address)
            schedules = schedule_parts(log, settings, workflows)
            run_until_signalled(
                [*schedules, *workers, processor],
                also=lambda: membership.error is not None or (parent is not None and parent()),
            )
    if parent is None:
        click.echo("stopped", err=True)


@verb("processor")
@modules_argument
@click.option("--processes", type=click.IntRange(1, 256), default=1, show_default=True, help="Number of processes.")
@click.option("--supervised", is_flag=True, hidden=True, help="Stop when stdin ends: the supervisor is gone.")
@click.option("--reset-clock", is_flag=True, help="Set the clocks of shards back that a wrong clock had put ahead.")
@click.option("--accept-loss", is_flag=True, help="Open shards whose state does not fit the log with what there is.")
@data_option
@application_option
def processor(
    invocation: Invocation,
    modules: tuple[str, ...],
    processes: int,
    *,
    supervised: bool,
    reset_clock: bool,
    accept_loss: bool,
) -> int:
    """Run processors that host the workflows of these modules."""
    from penstock.engine.runtime.driver import DriverSettings
    from penstock.hosting.declared_schedules import schedule_parts
    from penstock.hosting.hash_seed import with_fixed_hash_seed
    from penstock.hosting.membership import announcement, joined
    from penstock.hosting.namespace import Namespace, check_topics, queues_of
    from penstock.hosting.parts import processor_part, run_until_signalled
    from penstock.hosting.supervisor import supervise

    with_fixed_hash_seed()
    workflows, activities = loaded(invocation, modules)
    if not workflows:
        raise ModuleNotLoaded(f"{', '.join(modules)} defines no workflow; use the decorator @workflow.")
    settings = invocation.settings
    with opened_log(settings, must_exist=False) as (log, topics):
        namespace = Namespace(log, topics, check_topics(log, topics, settings, queues_of(activities)))
        if processes == 1:
            with joined(namespace, settings, announcement(settings, workflows)) as membership:
                driver = DriverSettings(reset_clock=reset_clock, accept_loss=accept_loss)
                part = processor_part(namespace, settings, workflows, driver=driver, membership=membership)
                _log_started(invocation, workflows, namespace.shards, part.address)
                parent = StdinEnded() if supervised else None
                run_until_signalled(
                    [*schedule_parts(log, settings, workflows), part],
                    also=lambda: membership.error is not None or (parent is not None and parent()),
                )
            return 0
    once = [flag for flag, is_set in (("--reset-clock", reset_clock), ("--accept-loss", accept_loss)) if is_set]
    first = _child_command(invocation, modules, once)  # a child that is restarted must not accept another loss
    return supervise(_child_command(invocation, modules, []), processes, first)


@verb("worker")
@modules_argument
@click.option(
    "--queue", "queues", multiple=True, metavar="QUEUE", help="Task queue to serve instead of all; may be repeated."
)
@application_option
@concurrency_option
def worker(invocation: Invocation, modules: tuple[str, ...], queues: tuple[str, ...], concurrency: int) -> None:
    """Run a worker for the activities of these modules."""
    from penstock.hosting.hash_seed import with_fixed_hash_seed
    from penstock.hosting.membership import announcement, joined
    from penstock.hosting.namespace import Namespace, check_worker_topics, queues_of
    from penstock.hosting.parts import run_until_signalled, worker_part

    with_fixed_hash_seed()
    _, activities = loaded(invocation, modules)
    if not activities:
        raise ModuleNotLoaded(f"{', '.join(modules)} defines no activity; use the decorator @activity.")
    settings = invocation.settings
    with opened_log(settings, must_exist=False) as (log, topics):
        check_worker_topics(log, topics, settings, queues or queues_of(activities))
        namespace = Namespace(log, topics, 0)  # a worker has no use for the number of shards
        part = worker_part(namespace, activities, settings, queues=queues or None, concurrency=concurrency)
        announced = announcement(settings, activities=activities, queues=queues)
        with joined(namespace, settings, announced) as membership:
            run_until_signalled([part], also=lambda: membership.error is not None)


def _log_started(invocation: Invocation, workflows: Workflows, shards: int, address: str) -> None:
    import structlog

    structlog.get_logger("penstock").info(
        "processor started", log=_log_url(invocation), workflows=sorted(workflows), shards=shards, reads=address
    )


def _log_url(invocation: Invocation) -> str:
    """Return the log's URL without its properties, which may include a password."""
    return invocation.settings.log.partition("?")[0]


def _print_banner(invocation: Invocation, workflows: Workflows, activities: Activities, address: str) -> None:
    from penstock.hosting.namespace import queues_of

    name = next(iter(sorted(workflows)), "TYPE")
    input_ = _input_hint(workflows[name]) if name in workflows else "--input '{…}' "
    settings = invocation.settings
    flags = "" if settings.log == type(settings)().log else f" --log {_log_url(invocation)}"
    flags += "" if settings.namespace == "default" else f" --namespace {settings.namespace}"
    lines = (
        f"workflows   {', '.join(sorted(workflows)) or '(none)'}",
        f"activities  {', '.join(sorted(activities)) or '(none)'}  on {', '.join(queues_of(activities)) or 'no queue'}",
        f"log         {_log_url(invocation)}, namespace {settings.namespace}",
        f"state       {settings.state_path or 'in memory'}",
        f"reads       {address}",
        "",
        "In another shell:",
        f"  penstock start{flags} {name} --id {name}-1 {input_}--wait",
        f"  penstock history{flags} {name}-1",
        "Ctrl-C lets running activities finish, then stops; a second one stops at once.",
    )
    click.echo("\n".join(("penstock dev", *(f"  {line}".rstrip() for line in lines))), err=True)


def _input_hint(workflow: WorkflowDefinition[Any, Any]) -> str:
    """Return an example such as `--input '"…"' ` for the workflow's parameters; empty if it has none."""
    try:
        sketch = workflow.signature.sketch
    except BadInput:  # annotations that cannot be resolved; a start reports them
        sketch = "{…}"
    return f"--input {shlex.quote(sketch)} " if sketch else ""


def _child_command(invocation: Invocation, modules: tuple[str, ...], once: list[str]) -> list[str]:
    return [*own_command("processor", invocation), "--supervised", *once, "--", *modules]
