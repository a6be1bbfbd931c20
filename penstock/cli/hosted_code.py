"""What the verbs that run processes share: the code that they host, and children with their settings."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from penstock.cli.command import Invocation
from penstock.hosting import interrupts
from penstock.schemas.errors import ModuleNotLoaded

if TYPE_CHECKING:
    from penstock.hosting.parts import Activities, Workflows


def loaded(invocation: Invocation, modules: tuple[str, ...]) -> tuple[Workflows, Activities]:
    """Import modules; returns what this process defines. Raises ModuleNotLoaded."""
    from penstock.engine.authoring.definition import registered_workflows
    from penstock.loading import load_modules
    from penstock.workers.activity.decorator import registered

    _ = invocation.settings  # configures logging before user code runs
    with interrupts.reraised():
        load_modules(modules)
    return registered_workflows(), registered()


def loaded_for_dev(invocation: Invocation, modules: tuple[str, ...]) -> tuple[Workflows, Activities]:
    """Import modules; returns what they define. Raises ModuleNotLoaded, also if that is nothing."""
    workflows, activities = loaded(invocation, modules)
    if not workflows and not activities:
        raise ModuleNotLoaded(
            f"{', '.join(modules)} defines no workflow and no activity; use the decorators @workflow and @activity."
        )
    return workflows, activities


def own_command(verb: str, invocation: Invocation) -> list[str]:
    """Command line of a child process with the settings of this one."""
    flags = [part for name, value in invocation.flags.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    return [sys.executable, "-m", "penstock", verb, *flags]


class StdinEnded:
    """Predicate that is True once stdin has ended, since the parent process is gone. `then` is called at that time."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self._ended = threading.Event()
        self._then = then
        threading.Thread(target=self._watch, name="penstock-parent-watch", daemon=True).start()

    def __call__(self) -> bool:
        return self._ended.is_set()

    def _watch(self) -> None:
        # Not through sys.stdin: a thread blocked in its buffer makes the interpreter's shutdown a fatal error.
        while os.read(0, 4096):
            pass
        self._ended.set()
        self._then()
