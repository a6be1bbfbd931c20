"""What do all commands share? The global flags, the settings that follow from them, and how failures end a command."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import click

from penstock.cli.exits import guarded, tell
from penstock.config import Settings, load
from penstock.hosting import interrupts

if TYPE_CHECKING:
    from penstock.client.client import Client

F = TypeVar("F", bound=Callable[..., Any])


class Session:
    """One command line's flags, and the settings that follow from them."""

    def __init__(self) -> None:
        self.flags: dict[str, Any] = {}
        self.debug = False

    @cached_property
    def settings(self) -> Settings:
        """The settings; reading them sets logging up."""
        from penstock.observe.logs import configure

        settings = load(self.flags, os.environ, said_in="the command line")
        configure(settings.log_format, settings.log_level)
        return settings


class GuardedGroup(click.Group):
    """A group whose every failure becomes one sentence and an exit code."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002 - click's signature
        **extra: Any,
    ) -> Any:
        """Run a command line; exits with its code, or returns it when not `standalone_mode`."""
        session = Session()
        extra["obj"] = session
        run = super().main

        def interruptible() -> Any:
            interrupts.let_in()  # those that `with_fixed_hash_seed` held back
            return run(args, prog_name, complete_var, standalone_mode=False, **extra)

        code = guarded(interruptible, debug=lambda: session.debug)
        if standalone_mode:
            sys.exit(code)
        return code


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Client]:
    """A client that tells of a long silence as commands do: in a sentence on stderr, not as a line of log."""
    from penstock.client.client import Client

    async with Client(settings=settings) as client:
        client.exchange.silence.tell = tell
        yield client


def remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Option callback: keep a setting's flag; the one nearest to the end of the line wins."""
    if value is not None and parameter.name is not None:
        context.find_object(Session).flags[parameter.name] = value  # type: ignore[union-attr]


def _debug(context: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's callback
    if value:
        context.find_object(Session).debug = True  # type: ignore[union-attr]


def setting(flag: str, help: str, **extra: Any) -> Callable[[F], F]:
    """An option that sets a field of Settings."""
    return click.option(flag, help=help, expose_value=False, callback=remember, **extra)


GLOBAL = (
    setting("--log", "The log: embedded:PATH or kafka://HOST:PORT,…", metavar="URL"),
    setting("--namespace", "The deployment that is meant.", metavar="NAME"),
    setting("--log-format", "How log lines look.", type=click.Choice(["console", "json"])),
    setting("--log-level", "The least level that is logged.", type=click.Choice(["debug", "info", "warning", "error"])),
    click.option("--debug", is_flag=True, expose_value=False, callback=_debug, help="Show tracebacks of failures."),
)


def with_global_options(function: F) -> F:
    """Let the flags that every command knows stand here, after the command's own."""
    own = list(getattr(function, "__click_params__", ()))
    function.__click_params__ = []  # type: ignore[attr-defined]  # click's own list, last option first
    for option in reversed(GLOBAL):
        function = option(function)
    function.__click_params__ += own  # type: ignore[attr-defined]
    return function


def verb(name: str | None = None, **extra: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a function a command: it gets the Session first and knows the global flags."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        return _command(name, extra)(with_global_options(_with_session(function)))

    return decorate


def _command(name: str | None, extra: dict[str, Any]) -> Callable[[Callable[..., Any]], click.Command]:
    return click.command(name, **extra)


def _with_session(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        return function(click.get_current_context().find_object(Session), *args, **kwargs)

    return called


output_option = click.option(
    "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="For people or programs."
)
