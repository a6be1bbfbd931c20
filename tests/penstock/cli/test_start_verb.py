"""Tests of `start`: one run, a file of runs, --wait and --timeout."""

import json
import os
import pty
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from penstock.cli.root import penstock
from tests.penstock.cli.helpers import one_message


def test_start_and_wait(run):
    """With --wait, stdout is the result as JSON."""
    ended = run("start", "cli-trial", "--id", "waited", "--input", "21", "--wait", "--timeout", "20s")
    assert ended.stdout == "42\n"
    assert "started waited (run " in ended.stderr


def test_start_twice(run):
    """The second start of an id reports that it joined, and prints the id on stdout."""
    run("start", "cli-waits", "--id", "twice")
    ended = run("start", "cli-waits", "--id", "twice")
    assert ended.stdout == "twice\n"
    assert "twice was started before (run " in ended.stderr
    assert "joined it" in ended.stderr
    one_message(run("start", "cli-waits", "--id", "twice", "--on-existing", "reject", code=1), "twice")


def test_start_of_an_id_of_another_type(run):
    """An id that a run of another type has is an error that names both types; exit code 1."""
    run("start", "cli-trial", "--id", "taken", "--input", "21", "--wait")
    ended = run("start", "cli-waits", "--id", "taken", "--wait", code=1)
    one_message(ended, "taken", "a run of cli-trial", "cli-waits cannot be started")


def test_start_with_another_input(run):
    """A start that joins a run with another input says so on stderr; exit code 0."""
    run("start", "cli-trial", "--id", "other-input", "--input", "21", "--wait")
    ended = run("start", "cli-trial", "--id", "other-input", "--input", "4", "--wait")
    assert ended.stdout == "42\n"
    assert "note on the start of other-input: the run that was joined has another input" in ended.stderr
    assert "note" not in run("start", "cli-trial", "--id", "other-input", "--input", " 21").stderr


@pytest.mark.parametrize("seen", ["both", "stdout", "stderr"])
def test_start_on_a_terminal(namespace, seen):
    """A terminal shows the id of a start once: in the message, or by itself if stderr is not the terminal."""
    terminal, end = pty.openpty()
    subprocess.run(
        [sys.executable, "-m", "penstock", "start", "cli-waits", "--id", "seen", "--log", namespace, "--namespace=cli"],
        stdout=end if seen != "stderr" else subprocess.PIPE,
        stderr=end if seen != "stdout" else subprocess.PIPE,
        timeout=60,
        check=True,
    )
    os.close(end)
    shown = os.read(terminal, 10_000).decode().splitlines()
    os.close(terminal)
    assert ["seen" in line for line in shown] == [True]
    assert (shown == ["seen"]) == (seen == "stdout")


def test_many_starts(run, tmp_path):
    """A file starts one run per line with the ids of its field; a second time all runs are joined."""
    path = tmp_path / "orders.jsonl"
    path.write_text("".join(f'{{"id":"many-{n}","number":{n}}}\n' for n in range(5)))
    command = ("start", "cli-order", "--input", f"@{path}", "--id-field", "id")
    assert run(*command).stderr == "5 started, 0 joined, 0 refused\n"
    assert run(*command).stderr == "0 started, 5 joined, 0 refused\n"
    listed = json.loads(run("list", "--type", "cli-order", "--output", "json").stdout)
    assert [one["workflow_id"] for one in listed] == [f"many-{n}" for n in range(5)]


def test_many_results(run, tmp_path):
    """With --wait each run's result or error is a line of JSON; a failed run makes the exit code 1."""
    path = tmp_path / "numbers.jsonl"
    path.write_text("1\n2\n-3\n")
    ended = run("start", "cli-trial", "--input", f"@{path}", "--wait", code=1)
    assert "3 started, 0 joined, 0 refused" in ended.stderr
    printed = [json.loads(line) for line in ended.stdout.splitlines()]
    assert sorted(one["result"] for one in printed if "result" in one) == [2, 4]
    assert [one["error"].rpartition(": ")[2] for one in printed if "error" in one] == ["too small"]


def test_many_refusals(run, tmp_path):
    """A line that is refused is reported with its id and stops no other line; the exit code is 1."""
    path = tmp_path / "mixed.jsonl"
    path.write_text("".join(f'{{"id":"mixed-{n}","number":{json.dumps(n or "x")}}}\n' for n in range(3)))
    ended = run("start", "cli-order", "--input", f"@{path}", "--id-field", "id", code=1)
    assert "2 started, 0 joined, 1 refused" in ended.stderr
    assert "penstock: mixed-0: " in ended.stderr


@pytest.mark.parametrize("many", [False, True])
def test_one_timeout_for_start_and_wait(tmp_path, many):
    """--timeout limits start and wait together: without a processor the command ends in time with exit code 5."""
    log = ("--log", f"embedded:{tmp_path}/log")
    assert CliRunner().invoke(penstock, ["topics", "apply", *log]).exit_code == 0
    (tmp_path / "many.jsonl").write_text("1\n2\n")
    input_ = ["--input", f"@{tmp_path}/many.jsonl"] if many else []
    began_s = time.monotonic()
    ended = CliRunner().invoke(penstock, ["start", "t", *input_, "--wait", "--timeout", "500ms", *log])
    assert time.monotonic() - began_s < 10
    assert ended.exit_code == 5
    assert ended.stdout == ""
    assert "no processor answered within 0." in ended.stderr
    assert "the command is in the log" in ended.stderr


def test_a_wait_that_times_out(run):
    """If the run has not closed when --timeout ends, the message says that it stays open; exit code 5."""
    run("start", "cli-waits", "--id", "overdue")
    ended = run("start", "cli-waits", "--id", "overdue", "--wait", "--timeout", "2s", code=5)
    assert "overdue did not close in time; its run stays open" in ended.stderr
