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


def test_start_with_options(run):
    """Memo, search attributes, headers, bounds and retries of a start reach its run, and `show` prints them."""
    run(
        "start", "cli-waits", "--id", "with-options", "--memo", '{"by": "ann"}', "--header", "trace=a=b",
        "--search", '{"customer": "c1", "due": {"datetime": "2026-11-26T10:00:00Z"}}', "--run-timeout", "1h",
        "--execution-timeout", "2h", "--retries", "2", "--backoff", "1s,5s",
    )  # fmt: skip
    shown = json.loads(run("show", "with-options", "--output", "json").stdout)
    assert shown["memo"] == {"by": "ann"}
    assert shown["search"] == {"customer": "c1", "due": "2026-11-26T10:00:00Z"}
    (started, *_) = json.loads(run("history", "with-options", "--output", "json").stdout)
    assert (started["run_timeout_ms"], started["headers"]) == (3_600_000, {"trace": "a=b"})
    assert (started["retry"]["retries_max"], started["retry"]["delays_ms"]) == (2, [1_000, 5_000])
    text = run("show", "with-options").stdout
    assert '  search   customer="c1", due="2026-11-26T10:00:00Z"\n' in text
    assert '  memo     {"by":"ann"}\n' in text


def test_start_later(run):
    """With --start-delay the run exists, and `show` says when its code begins."""
    run("start", "cli-waits", "--id", "later", "--start-delay", "1h", "--retries", "unlimited", "--backoff", "2")
    assert "  begins   at " in run("show", "later").stdout
    (started,) = json.loads(run("history", "later", "--output", "json").stdout)
    assert (started["retry"]["retries_max"], started["retry"]["factor"]) == (-1, 2.0)


def test_start_without_a_processor(tmp_path):
    """With --stored a start returns once the log has it, though no processor runs."""
    here = ["--log", f"embedded:{tmp_path}/log", "--namespace", "cli"]
    assert CliRunner().invoke(penstock, ["topics", "apply", *here]).exit_code == 0
    ended = CliRunner().invoke(penstock, ["start", "cli-waits", "--id", "kept", "--stored", *here])
    assert (ended.exit_code, ended.stdout) == (0, "kept\n")
    assert "the log has the start of kept" in ended.stderr


def test_many_starts_with_options(run, tmp_path):
    """Options of a file of runs hold for each of them."""
    (tmp_path / "runs.jsonl").write_text("1\n2\n")
    run("start", "cli-trial", "--input", f"@{tmp_path}/runs.jsonl", "--search", '{"batch": "b1"}')
    found = json.loads(run("list", "--output", "json", "--limit", "1000").stdout)
    assert sum(one["search"] == {"batch": "b1"} for one in found) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--memo", "7"], "The memo is no JSON object"),
        (["--memo", "{"], "is not JSON"),
        (["--search", '{"status": 1}'], "cannot be called status"),
        (["--search", '{"a": {"b": 1}}'], "for a moment, write"),
        (["--start-delay", "soon"], "soon"),
        (["--run-timeout", "0s"], "run_timeout='0s' is too short"),
        (["--execution-timeout", "x"], "x"),
        (["--retries", "-1"], "--retries '-1' is invalid: give 0 or more, or `unlimited`"),
        (["--backoff", "0.5"], "backoff=0.5 is invalid"),
        (["--backoff", "1s,x"], "x"),
        (["--header", "name"], "--header 'name' is no NAME=TEXT"),
    ],
)
def test_invalid_options_of_a_start(run, options, words):
    """Each invalid option is refused with one sentence; nothing is started."""
    one_message(run("start", "cli-waits", "--id", "refused-options", *options, code=2), words)
    run("show", "refused-options", code=4)
