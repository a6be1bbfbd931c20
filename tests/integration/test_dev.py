"""Tests of the first commands that a new user types: `penstock dev examples/order.py`, and other verbs beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.integration.system import ROOT, Typed, wait_until

WAITING = ["approved", "cancelled", "terminated"]
ORDER = str(ROOT / "examples" / "order.py")


class Shell:
    """Folder in which commands run, with default settings."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
        self._typed: list[Typed] = []

    def type(self, *words: str) -> Typed:
        """Run `penstock …`."""
        self._typed.append(Typed(words, self._environment, self._folder))
        return self._typed[-1]

    def dev(self) -> Typed:
        """`penstock dev examples/order.py`, once it answers."""
        dev = self.type("dev", ORDER)
        wait_until("penstock dev to make its log", (self._folder / ".penstock" / "log.sqlite3").exists)
        wait_until("penstock dev to answer", lambda: self.type("list").code() == 0)
        return dev

    def said(self, *commands: Sequence[str]) -> list[str]:
        """Text on stdout of each of these commands, run at the same time."""
        return [typed.ended()[0] for typed in [self.type(*words) for words in commands]]

    def close(self) -> None:
        """Kill commands that still run."""
        for typed in self._typed:
            typed.close()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """Shell in an empty folder."""
    made = Shell(tmp_path)
    yield made
    made.close()


def _order(id: str, total: float = 12.5, rest: str = "10ms") -> str:
    return json.dumps({"id": id, "total": total, "items": ["apple", "pear"], "rest": rest})


def test_the_first_order(shell: Shell) -> None:
    """With dev running, `start --wait` prints the result, `history` the numbered events, and SIGTERM ends it with 0."""
    dev = shell.dev()
    started = shell.type("start", "fulfil", "--id", "order-1", "--input", _order("order-1"), "--wait")
    assert started.ended()[0] == '"TRACK-ORDER-1"\n'
    lines = [line.split() for line in shell.said(["history", "order-1"])[0].splitlines()]
    assert [int(words[0]) for words in lines] == list(range(1, len(lines) + 1))
    events = [words[2] for words in lines]
    assert events[0] == "WorkflowStarted"
    assert events.count("ActivityCompleted") == 3
    assert events[-2:] == ["ChildCompleted", "WorkflowCompleted"]
    dev.terminate()
    stdout, stderr = dev.ended()
    assert stdout == ""
    assert stderr.endswith("stopped\n")
    assert "Traceback" not in stderr


def test_the_other_verbs(shell: Shell) -> None:
    """Orders that wait are listed, shown, signalled, cancelled and terminated, each from another shell."""
    dev = shell.dev()
    shell.said(
        *(["start", "fulfil", "--id", id, "--input", _order(id, 2_000)] for id in WAITING),
    )
    listed, shown = shell.said(["list", "--status", "running", "--output", "json"], ["show", "approved"])
    assert [run["workflow_id"] for run in json.loads(listed)] == WAITING
    assert "RUNNING" in shown
    shell.said(
        ["signal", "approved", "approval", "--input", '{"ok":true,"by":"ann"}'],
        ["cancel", "cancelled", "--reason", "out of stock"],
        ["terminate", "terminated", "--reason", "stock-taking"],
    )
    assert shell.said(["result", "approved", "--timeout", "30s"]) == ['"TRACK-APPROVED"\n']
    for typed, id in [(shell.type("result", id, "--timeout", "30s"), id) for id in ("cancelled", "terminated")]:
        typed.refused(1, id)
    listed, cancelled, terminated = shell.said(["list"], ["history", "cancelled"], ["history", "terminated"])
    assert [line.split()[:3] for line in listed.splitlines()[1:]] == [
        ["approved", "fulfil", "completed"],
        ["cancelled", "fulfil", "cancelled"],
        ["ship-approved", "ship", "completed"],
        ["terminated", "fulfil", "terminated"],
    ]
    assert cancelled.count(" release ") == 2, "a cancelled order gives back what it reserved"
    assert "out of stock" in cancelled
    assert " release " not in terminated, "a terminated order undoes nothing"
    assert "stock-taking" in terminated
    dev.terminate()
    dev.ended()
