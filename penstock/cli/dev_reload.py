"""`penstock dev --reload`: a parent that watches source files, checks an edit, and hosts the code in a child.

One child hosts at a time: that with the new code starts after that with the old code has ended. Children have process
groups of their own, so that Ctrl-C reaches them through the parent only, and end when their stdin does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import click
import msgspec

from penstock.cli.command import Invocation
from penstock.cli.escape import escaped
from penstock.cli.exit_codes import USAGE
from penstock.cli.hosted_code import own_command
from penstock.cli.reload_check import Checked, CheckedRun
from penstock.cli.source_files import Watch
from penstock.hosting.parts import STOP_TIMEOUT_S
from penstock.hosting.stop_signals import StopSignals
from penstock.schemas.errors import ModuleNotLoaded, SettingsError

CHECK_WAIT_S = 120.0
DRAIN_WAIT_S = 2 * STOP_TIMEOUT_S
"""Until a host that was asked to stop is killed: its worker drains first, then its processor."""

LOOK_EVERY_S = 0.3
CHILD_POLL_S = 0.05
RUNS_SHOWN_MAX = 20
WHAT_TO_DO = (
    "The code before goes on. Guard the change with patched(…), keep the old code beside it as a version, or undo it, "
    "and save again. To host it all the same, stop this command and start it: these runs will be BLOCKED."
)
SAVE_AGAIN = "The code before goes on: save again after a fix."


class Reloader:
    """The parent of `penstock dev --reload`. Raises SettingsError for a log in memory."""

    def __init__(self, invocation: Invocation, modules: Sequence[str], concurrency: int) -> None:
        if invocation.settings.in_memory:
            raise SettingsError("--reload needs a log that outlives a process, such as --log embedded:.penstock.")
        self._command = [*own_command("dev", invocation), "--supervised", "--concurrency", str(concurrency)]
        self._modules = ["--", *modules]
        self._children: list[subprocess.Popen[bytes]] = []
        self._host: subprocess.Popen[bytes] | None = None
        self._types: Mapping[str, list[int]] = {}
        self._given_up: set[str] = set()  # runs that the hosted code breaks, as the user knows
        self._watch = Watch()
        self._signals = StopSignals(at_once=self._kill_all)

    def run(self) -> int:
        """Check and host the code, again after each edit, until SIGINT or SIGTERM; returns the exit code.

        Raises ModuleNotLoaded if the code cannot be loaded at the start."""
        ended: int | None = None
        stopped = 0
        try:
            self._begin()
            while ended is None and not self._signals.received:
                if changed := self._watch.look():
                    self._edited(changed)
                self._signals.wait(LOOK_EVERY_S)
                ended = self._ended()
        finally:
            stopped = self._stop_host()
        click.echo("stopped", err=True)
        return ended or stopped

    def _begin(self) -> None:
        found = self._check()
        if found is None:
            return
        if found.problem:
            raise ModuleNotLoaded(found.problem)
        self._say_differences(found)
        self._go_live(found, [])

    def _ended(self) -> int | None:
        """The exit code of a host that ended by itself; None also if the next edit may help it."""
        if self._host is None or self._host.poll() is None:
            return None
        code = self._stop_host()
        if code != USAGE or not self._watch.files:
            return code
        self._watch.watch(self._watch.files, beside=True)
        _say("The new code does not start: save again after a fix.")
        return None

    def _edited(self, changed: list[str]) -> None:
        """Check an edit, and host it if no run breaks by it."""
        _say(f"{', '.join(map(_shown, changed))} changed; replaying open runs with it")
        found: Checked | None = None
        while changed:
            self._settle()
            found = self._check()
            if found is None:
                return
            self._watch.watch(self._watch.files.union(found.sources), beside=bool(found.problem))
            changed = self._watch.look()  # saved again meanwhile: another code would be loaded than was checked
        if found is not None and self._is_accepted(found):
            self._stop_host()
            self._go_live(found, ["--reloaded"])
            _say(f"Reloaded: {found.compared} open runs go on with the new code.")

    def _is_accepted(self, found: Checked) -> bool:
        """Whether new code is to be hosted; says what keeps it from that."""
        if found.problem:
            _say(f"{found.problem}\n{SAVE_AGAIN}")
            return False
        broken = self._say_differences(found)
        if broken:
            _say(f"{broken} of {found.compared} open runs would be BLOCKED by this edit.\n{WHAT_TO_DO}")
        return not broken

    def _say_differences(self, found: Checked) -> int:
        """Name the runs that differ; returns the number of those that would be BLOCKED."""
        of_others = [run for run in found.runs if not (run.hosted or run.version in self._types.get(run.type, ()))]
        runs = [run for run in found.runs if run not in of_others and run.run_id not in self._given_up]
        for run in runs[:RUNS_SHOWN_MAX]:
            _say(_difference(run))
        if len(runs) > RUNS_SHOWN_MAX:
            _say(f"… and {len(runs) - RUNS_SHOWN_MAX} more runs; `penstock replay` shows them all")
        return sum(run.blocks for run in runs)

    def _settle(self) -> None:
        """Wait until the files that were saved differ from those of a later edit for Python, too."""
        while not (self._watch.settled() or self._signals.received):
            self._signals.wait(CHILD_POLL_S)
        self._watch.look()

    # Children.

    def _check(self) -> Checked | None:
        """Load the code and replay open runs in a child. None after a stop signal."""
        with tempfile.TemporaryFile() as file:
            child = self._start(["--check-to", str(file.fileno())], pass_fds=(file.fileno(),))
            deadline = time.monotonic() + CHECK_WAIT_S
            while child.poll() is None and time.monotonic() < deadline and not self._signals.received:
                self._signals.wait(CHILD_POLL_S)
            in_time = child.poll() is not None
            child.kill()
            code = self._end(child)
            if self._signals.received:
                return None
            return _read(file, code) if in_time else Checked(problem=f"The replay took over {CHECK_WAIT_S:g} s.")

    def _go_live(self, found: Checked, flags: list[str]) -> None:
        self._watch.watch(found.sources)
        self._types = found.types
        self._given_up = {run.run_id for run in found.runs if run.blocks}
        if not self._signals.received:
            self._host = self._start(flags)

    def _start(self, flags: list[str], pass_fds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
        words = [*self._command, *flags, *self._modules]
        child = subprocess.Popen(words, stdin=subprocess.PIPE, process_group=0, pass_fds=pass_fds)  # noqa: S603 - ourselves
        self._children.append(child)
        return child

    def _stop_host(self) -> int:
        """Let the host drain, or kill it if that takes too long; returns its exit code."""
        host, self._host = self._host, None
        if host is None:
            return 0
        if host.poll() is None:
            host.terminate()
        try:
            host.wait(DRAIN_WAIT_S)
        except subprocess.TimeoutExpired:
            _say(f"The hosting process did not stop within {DRAIN_WAIT_S:g} s and is killed; nothing is lost.")
            host.kill()
        code = self._end(host)
        return 0 if code == -signal.SIGTERM else code  # it had not begun to work: its handlers were not there yet

    def _end(self, child: subprocess.Popen[bytes]) -> int:
        """Wait for a child that ends, and forget it; returns its exit code."""
        code = child.wait()
        self._children.remove(child)
        if child.stdin is not None:
            child.stdin.close()
        return code

    def _kill_all(self) -> None:
        for child in self._children:
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGKILL)


def _read(file: IO[bytes], code: int) -> Checked:
    """What a check wrote."""
    file.seek(0)
    with contextlib.suppress(msgspec.DecodeError):
        if code == 0:
            return msgspec.json.decode(file.read(), type=Checked)
    return Checked(problem=f"The check ended with exit code {code} before its end.")


def _difference(run: CheckedRun) -> str:
    """What an edit does to a run, as `penstock replay` says it."""
    if not run.hosted:
        return f"{run.workflow_id}  {run.type}  would be BLOCKED: version {run.version} of its type is no longer there"
    outcome = "would be BLOCKED" if run.blocks else "goes on with what was recorded"
    return "\n  ".join([f"{run.workflow_id}  {run.type}  DIFFERS, and {outcome}", *run.text])


def _shown(path: str) -> str:
    """A path as it is seen from the working directory."""
    with contextlib.suppress(ValueError):
        return str(Path(path).relative_to(Path.cwd()))
    return path


def _say(text: str) -> None:
    """Print lines to stderr, the first with the command's name, the others below it."""
    first, *others = text.split("\n")
    click.echo(
        "\n".join([f"penstock dev: {escaped(first)}", *(f"  {escaped(line)}".rstrip() for line in others)]), err=True
    )
