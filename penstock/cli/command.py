"""Common parts of all commands: global flags, settings, connections, and exit codes for failures."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import click

from penstock.cli.exit_codes import guarded, print_error
from penstock.config import Settings, load
from penstock.hosting import interrupts

if TYPE_CHECKING:
    from penstock.client.client import Client
    from penstock.topics.catalogue import Topics
    from penstock.topics.log import Log

F = TypeVar("F", bound=Callable[..., Any])


class Invocation:
    """The global flags of one command line and the settings that result from them."""

    def __init__(self) -> None:
        self.flags: dict[str, Any] = {}
        self.debug = False

    @cached_property
    def settings(self) -> Settings:
        """The settings; the first access also configures logging."""
        from penstock.observe.logs import configure

        settings = load(self.flags, os.environ, flags_origin="the command line")
        configure(settings.log_format, settings.log_level)
        return settings


class GuardedGroup(click.Group):
    """A group that turns every failure into one error message and an exit code."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002 - click's signature
        **extra: Any,
    ) -> Any:
        """Run a command line; exits with its code, or returns it unless `standalone_mode`."""
        invocation = Invocation()
        extra["obj"] = invocation
        run = super().main

        def run_interruptibly() -> Any:
            interrupts.unblock()  # `with_fixed_hash_seed` blocked them before it restarted the command
            return run(args, prog_name, complete_var, standalone_mode=False, **extra)

        code = guarded(run_interruptibly, debug=lambda: invocation.debug)
        if standalone_mode:
            sys.exit(code)
        return code


@asynccontextmanager
async def opened_client(settings: Settings) -> AsyncIterator[Client]:
    """Open a client that prints its warnings to stderr instead of logging them."""
    from penstock.client.client import Client

    async with Client(settings=settings) as client:
        client.exchange.unanswered.warn = print_error
        yield client


@contextmanager
def opened_log(settings: Settings, *, must_exist: bool) -> Iterator[tuple[Log, Topics]]:
    """Open the log; with `must_exist`, an embedded log is not created. Raises UnknownTopic, LogError."""
    from penstock.client.connection import existing_log
    from penstock.topics.catalogue import Topics
    from penstock.topics.connect import connect

    log = existing_log(settings) if must_exist else connect(settings.log)
    try:
        yield log, Topics(settings.namespace, settings.prefix)
    finally:
        log.close()


def store_flag(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Store the flag of a setting (callback of its option); the last one on the command line wins."""
    if value is not None and parameter.name is not None:
        context.find_object(Invocation).flags[parameter.name] = value  # type: ignore[union-attr]


def _store_debug(context: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's callback
    if value:
        context.find_object(Invocation).debug = True  # type: ignore[union-attr]


def setting(flag: str, help: str, **extra: Any) -> Callable[[F], F]:
    """Make an option that sets a field of Settings."""
    return click.option(flag, help=help, expose_value=False, callback=store_flag, **extra)


GLOBAL = (
    setting("--log", "URL of the log: embedded:PATH or kafka://HOST:PORT,…", metavar="URL"),
    setting("--namespace", "Name of the deployment.", metavar="NAME"),
    setting("--log-format", "Format of log lines.", type=click.Choice(["console", "json"])),
    setting("--log-level", "Lowest level that is logged.", type=click.Choice(["debug", "info", "warning", "error"])),
    click.option("--debug", is_flag=True, expose_value=False, callback=_store_debug, help="Show tracebacks of errors."),
)


def with_global_options(function: F) -> F:
    """Add the global options to a command, after its own."""
    own = list(getattr(function, "__click_params__", ()))
    function.__click_params__ = []  # type: ignore[attr-defined]  # click's own list, last option first
    for option in reversed(GLOBAL):
        function = option(function)
    function.__click_params__ += own  # type: ignore[attr-defined]
    return function


def verb(name: str | None = None, **extra: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a function a command: its first argument is the Invocation, and it accepts the global options."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        return _command(name, extra)(with_global_options(_with_invocation(function)))

    return decorate


def _command(name: str | None, extra: dict[str, Any]) -> Callable[[Callable[..., Any]], click.Command]:
    return click.command(name, **extra)


def _with_invocation(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        return function(click.get_current_context().find_object(Invocation), *args, **kwargs)

    return called


id_argument = click.argument("id_", metavar="ID")
run_id_option = click.option("--run-id", default="", metavar="RUN", help="This run of ID instead of the current one.")
reads_option = setting(
    "--reads",
    "Way to the processors: http where one answers, else the log.",
    type=click.Choice(["auto", "http", "log"]),
)
output_option = click.option(
    "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="For people or programs."
)
