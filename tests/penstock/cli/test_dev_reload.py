"""Tests of `dev --reload`, as a process with children: edits while runs are open."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.penstock.cli.reloading import (
    BREAKING,
    CODE,
    HARMLESS,
    LONG,
    RENAMED,
    SYNTAX_ERROR,
    WAIT_S,
    Dev,
    alive,
    wait_for,
)


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    """A running `dev --reload`."""
    made = Dev(tmp_path)
    yield made
    children = made.children()
    made.close()
    wait_for("the end of its children", lambda: not any(map(alive, children)))


def test_a_harmless_edit_goes_live(dev: Dev) -> None:
    """A new run has the edited code, and a run that was open ends right, with what the code before had recorded."""
    dev.start("open")
    hosts = dev.children()
    dev.edit(HARMLESS)
    said = dev.says("flow.py changed", "Reloaded: 1 open runs go on with the new code.")
    assert "In another shell" not in said, "the banner is printed once"
    dev.start("new")
    assert dev.finish("open") == 11
    assert dev.finish("new") == 21
    assert len(dev.children()) == 1
    assert dev.children() != hosts


def test_a_breaking_edit_is_named_and_not_hosted(dev: Dev) -> None:
    """An edit that would block an open run is named with its lines; the code before goes on, until a fix."""
    dev.start("open")
    hosts = dev.children()
    dev.edit(BREAKING)
    said = dev.says("flow.py changed", "would be BLOCKED by this edit", "stop this command and start it")
    assert "penstock dev: open  reload-order  DIFFERS, and would be BLOCKED\n" in said
    assert "- ActivityScheduled reload-price as request 1 1\n" in said
    assert "+ ActivityScheduled reload-check as request 1 1  (" in said
    assert "1 of 1 open runs would be BLOCKED" in said
    assert dev.children() == hosts
    dev.start("new")
    assert dev.finish("new") == 11
    dev.edit(HARMLESS)
    dev.says("Reloaded")
    assert dev.finish("open") == 11


def test_a_type_that_is_gone_breaks_its_runs(dev: Dev) -> None:
    """A workflow that was renamed while a run of it is open is named, and the code before goes on."""
    dev.start("open")
    dev.edit(RENAMED)
    said = dev.says("stop this command and start it")
    assert "open  reload-order  would be BLOCKED: version 1 of its type is no longer there" in said
    assert dev.finish("open") == 11
    dev.edit(RENAMED + "\n")
    dev.says("Reloaded: 0 open runs")


def test_a_blocked_run_is_mended(dev: Dev) -> None:
    """A run that a bug has BLOCKED keeps no edit away, and goes on by itself with the mended code."""
    dev.edit(CODE.replace("return first + await go.wait()", "return first + (await go.wait()).missing"))
    dev.says("Reloaded")
    dev.start("open")
    dev.client.signal("open", "reload-go", 1)
    wait_for("the run to be BLOCKED", lambda: dev.client.describe("open")["status"] == "blocked")
    dev.edit(CODE)
    dev.says("Reloaded: 0 open runs")
    assert dev.client.result("open", timeout=f"{WAIT_S}s") == 11


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (SYNTAX_ERROR, "cannot load flow.py: SyntaxError: '(' was never closed in "),
        (
            f"import reload_missing\n{CODE}",
            "cannot load flow.py: ModuleNotFoundError: No module named 'reload_missing'",
        ),
    ],
    ids=["syntax", "import"],
)
def test_code_that_cannot_be_loaded_is_not_hosted(dev: Dev, code: str, message: str) -> None:
    """A syntax or import error is printed with its line, once; the code before goes on, until the file is mended."""
    dev.edit(code)
    said = dev.says("The code before goes on: save again after a fix.")
    assert said.count(message) == 1
    assert "Traceback" not in said
    dev.start("new")
    assert dev.finish("new") == 11
    if "reload_missing" in code:
        (dev.folder / "reload_missing.py").write_text("")
    else:
        dev.edit(HARMLESS)
    dev.says("Reloaded")


def test_the_files_of_imported_modules_are_watched(dev: Dev) -> None:
    """A module beside the hosted one is watched as soon as that imports it, and reloads nothing before."""
    (dev.folder / "reload_rates.py").write_text("RATE = 30\n")
    time.sleep(1)
    assert "changed" not in dev.says()
    dev.edit("import reload_rates\n" + CODE.replace("10 * number", "reload_rates.RATE * number"))
    dev.says("flow.py changed", "Reloaded")
    (dev.folder / "reload_rates.py").write_text("RATE = 40\n")
    dev.says("reload_rates.py changed", "Reloaded")
    dev.start("new")
    assert dev.finish("new") == 41


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_processes(dev: Dev, number: int) -> None:
    """SIGINT and SIGTERM drain the hosting process, and the command ends with 0."""
    children = dev.children()
    dev.process.send_signal(number)
    assert dev.process.wait(WAIT_S) == 0
    assert not any(map(alive, children))


def test_a_second_signal_ends_all_processes_at_once(dev: Dev) -> None:
    """While an activity runs, the first signal waits for it, and the second one ends the hosting process too."""
    dev.edit(LONG)
    dev.says("Reloaded")
    dev.client.start_by_name("reload-order", b"1", "open")
    wait_for("the activity", lambda: (dev.folder / "begun").exists())
    (child,) = dev.children()
    dev.process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert dev.process.poll() is None, "it must wait for the activity"
    dev.process.send_signal(signal.SIGTERM)
    assert dev.process.wait(WAIT_S) == 128 + signal.SIGTERM
    wait_for("the end of the hosting process", lambda: not alive(child))


def test_a_kill_leaves_no_orphan(dev: Dev) -> None:
    """When the command is killed, the hosting process ends too."""
    (child,) = dev.children()
    dev.process.kill()
    wait_for("the end of the hosting process", lambda: not alive(child))


def test_a_log_in_memory_is_refused(tmp_path: Path) -> None:
    """A log in memory would lose its runs with the first edit: --reload refuses it in one sentence."""
    (tmp_path / "flow.py").write_text(CODE)
    ended = subprocess.run(
        [sys.executable, "-m", "penstock", "dev", "--reload", "--log", "embedded::memory:", "flow.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=WAIT_S, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr == (
        "penstock: --reload needs a log that outlives a process, such as --log embedded:.penstock.\n"
    )


def test_code_that_cannot_be_loaded_at_the_start(tmp_path: Path) -> None:
    """Without code to go on with, the command ends with exit code 2 and the same message as without --reload."""
    (tmp_path / "flow.py").write_text(SYNTAX_ERROR)
    ended = subprocess.run(
        [sys.executable, "-m", "penstock", "dev", "--reload", "flow.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=WAIT_S, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr.startswith("penstock: cannot load flow.py: SyntaxError")
