"""How are the long-running processes started? `dev` runs all in one, `processor` and `worker` one kind each."""

from __future__ import annotations

import os
import shlex
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.session import Session, setting, verb
from penstock.hosting.interrupts import insistent
from penstock.schemas.errors import BadInput, ModuleNotLoaded

if TYPE_CHECKING:
    from penstock.engine.authoring.workflow import WorkflowDefinition
    from penstock.hosting.parts import Activities, Workflows
    from penstock.topics.catalogue import Topics
    from penstock.topics.log import Log

modules_argument = click.argument("modules", nargs=-1, required=True, metavar="MODULE…")
data_option = setting("--data", "Directory of the processor's state.", metavar="DIR")
concurrency_option = click.option(
    "--concurrency", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Activities at once."
)


@verb("dev")
@click.argument("modules", nargs=-1, required=True, metavar="FILE_OR_MODULE…")
@data_option
@concurrency_option
def dev(session: Session, modules: tuple[str, ...], concurrency: int) -> None:
    """Run everything in this process: processor, workers, reads; topics are made as needed.

    The log is embedded, in ./.penstock, unless --log or a setting names another.
    """
    from penstock.hosting import parts as hosting

    hosting.with_fixed_hash_seed()
    workflows, activities = _loaded(session, modules)
    if not workflows and not activities:
        raise ModuleNotLoaded(f"{', '.join(modules)} defined neither a workflow nor an activity; use the decorators.")
    with _connected(session) as (log, topics):
        shards = hosting.make_topics(log, topics, session.settings, hosting.queues_of(activities))
        reach = hosting.Reach(log, topics, shards)
        processor = hosting.processor_part(reach, session.settings, workflows)
        workers = [hosting.worker_part(reach, activities, concurrency=concurrency)] if activities else []
        _banner(session, workflows, activities, processor.address)
        hosting.run_until_signalled([*workers, processor])
    click.echo("stopped", err=True)


@verb("processor")
@modules_argument
@click.option("--processes", type=click.IntRange(1, 256), default=1, show_default=True, help="Run that many of them.")
@click.option("--supervised", is_flag=True, hidden=True, help="Stop when stdin ends: a parent watches.")
@data_option
def processor(session: Session, modules: tuple[str, ...], processes: int, *, supervised: bool) -> int:
    """Run stream processors that host the workflows of these modules."""
    from penstock.hosting import parts as hosting

    hosting.with_fixed_hash_seed()
    workflows, activities = _loaded(session, modules)
    if not workflows:
        raise ModuleNotLoaded(f"{', '.join(modules)} defined no workflow; use the decorator @workflow.")
    with _connected(session) as (log, topics):
        shards = hosting.check_topics(log, topics, session.settings, hosting.queues_of(activities))
        if processes == 1:
            part = hosting.processor_part(hosting.Reach(log, topics, shards), session.settings, workflows)
            session_log(session, "processor started", workflows=sorted(workflows), shards=shards, reads=part.address)
            hosting.run_until_signalled([part], also=_StdinEnded() if supervised else lambda: False)
            return 0
    from penstock.hosting.supervising import supervise

    return supervise(_child_command(session, modules), processes)


@verb("worker")
@modules_argument
@click.option("--queue", "queues", multiple=True, metavar="QUEUE", help="Serve these queues only; may be repeated.")
@concurrency_option
def worker(session: Session, modules: tuple[str, ...], queues: tuple[str, ...], concurrency: int) -> None:
    """Run the activities of these modules."""
    from penstock.hosting import parts as hosting

    hosting.with_fixed_hash_seed()
    _, activities = _loaded(session, modules)
    if not activities:
        raise ModuleNotLoaded(f"{', '.join(modules)} defined no activity; use the decorator @activity.")
    with _connected(session) as (log, topics):
        reach = hosting.Reach(log, topics, 0)
        part = hosting.worker_part(reach, activities, queues=queues or None, concurrency=concurrency)
        hosting.run_until_signalled([part])


def session_log(session: Session, event: str, **facts: object) -> None:
    """One line of log of the command itself."""
    import structlog

    structlog.get_logger("penstock").info(event, log=session.settings.log.partition("?")[0], **facts)


def _loaded(session: Session, modules: tuple[str, ...]) -> tuple[Workflows, Activities]:
    from penstock.engine.authoring.workflow import registered_workflows
    from penstock.loading import load_modules
    from penstock.workers.activity.decorator import registered

    _ = session.settings  # logging stands before users' code runs
    with insistent():
        load_modules(modules)
    return registered_workflows(), registered()


@contextmanager
def _connected(session: Session) -> Iterator[tuple[Log, Topics]]:
    from penstock.topics.catalogue import Topics
    from penstock.topics.connect import connect

    topics = Topics(session.settings.namespace, session.settings.prefix)
    log = connect(session.settings.log)
    try:
        yield log, topics
    finally:
        log.close()


def _banner(session: Session, workflows: Workflows, activities: Activities, address: str) -> None:
    from penstock.hosting.parts import queues_of

    name = next(iter(sorted(workflows)), "TYPE")
    given = _input_hint(workflows[name]) if name in workflows else "--input '{…}' "
    settings = session.settings
    flags = "" if settings.log == type(settings)().log else f" --log {settings.log.partition('?')[0]}"
    flags += "" if settings.namespace == "default" else f" --namespace {settings.namespace}"
    lines = (
        f"workflows   {', '.join(sorted(workflows)) or '(none)'}",
        f"activities  {', '.join(sorted(activities)) or '(none)'}  on {', '.join(queues_of(activities)) or 'no queue'}",
        f"log         {settings.log.partition('?')[0]}, namespace {settings.namespace}",
        f"state       {settings.state_path or 'in memory'}",
        f"reads       {address}",
        "",
        "In another shell:",
        f"  penstock start{flags} {name} --id {name}-1 {given}--wait",
        f"  penstock history{flags} {name}-1",
        "Ctrl-C finishes what runs and stops; a second one stops at once.",
    )
    click.echo("\n".join(("penstock dev", *(f"  {line}".rstrip() for line in lines))), err=True)


def _input_hint(workflow: WorkflowDefinition[Any, Any]) -> str:
    """`--input '"…"' `, or what fits the workflow's parameters otherwise; empty when it has none."""
    try:
        sketch = workflow.signature.sketch
    except BadInput:  # annotations that cannot be resolved are told by whoever starts it
        sketch = "{…}"
    return f"--input {shlex.quote(sketch)} " if sketch else ""


def _child_command(session: Session, modules: tuple[str, ...]) -> list[str]:
    flags = [part for name, value in session.flags.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    return [sys.executable, "-m", "penstock", "processor", "--supervised", *flags, "--", *modules]


class _StdinEnded:
    """Whether stdin has ended: the parent that held its other end is gone."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        threading.Thread(target=self._watch, name="penstock-parent-watch", daemon=True).start()

    def __call__(self) -> bool:
        return self._ended.is_set()

    def _watch(self) -> None:
        # Not through sys.stdin: a thread that waits inside its buffer makes the interpreter's end a fatal error.
        while os.read(0, 4096):
            pass
        self._ended.set()
