"""Tests of `list`, `show` and `history` on a running namespace."""

import json

import pytest


def test_one_run(run):
    """signal, result, show, history and list agree on one run, as text and JSON."""
    run("start", "cli-waits", "--id", "life")
    assert json.loads(run("show", "life", "--output", "json").stdout)["status"] == "running"
    run("signal", "life", "go", "--input", "-", stdin="7")
    assert run("result", "life", "--timeout", "20s").stdout == "7\n"
    assert "COMPLETED" in run("show", "life").stdout
    lines = run("history", "life").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2", "3"]
    assert [line.split()[2] for line in lines] == ["WorkflowStarted", "SignalReceived", "WorkflowCompleted"]
    assert [event["number"] for event in json.loads(run("history", "life", "--output", "json").stdout)] == [1, 2, 3]
    listed = json.loads(run("list", "--type", "cli-waits", "--status", "completed", "--output", "json").stdout)
    assert [one["workflow_id"] for one in listed] == ["life"]
    assert "life" in run("list").stdout


def test_pages_of_a_list(run):
    """A list that reached its limit shows the option for the next page."""
    for id in ("page-1", "page-2"):
        run("start", "cli-trial", "--id", id, "--input", "1", "--wait")
    ended = run("list", "--limit", "1", "--after", "page-")
    assert "page-1" in ended.stdout
    assert "page-2" not in ended.stdout
    assert "--after page-1" in ended.stderr


def test_an_id_with_control_characters(run):
    r"""An id with a newline or an escape is found; text shows `\n` and `\x1b`, JSON is not changed."""
    id = "new\nline\x1b[31m"
    shown = r"new\nline\x1b[31m"
    assert f"started {shown} (run " in run("start", "cli-waits", "--id", id).stderr
    assert run("show", id).stdout.startswith(f"{shown}  cli-waits")
    assert json.loads(run("show", id, "--output", "json").stdout)["workflow_id"] == id
    (line,) = [line for line in run("list").stdout.splitlines() if line.startswith("new")]
    assert line.split()[:3] == [shown, "cli-waits", "running"]
    assert f"{shown} received the signal g\\to" in run("signal", id, "g\to").stderr
    assert run("history", id).stdout.splitlines()[1].endswith("g\\to null")


@pytest.mark.parametrize("way", ["auto", "http", "log"])
def test_ways_of_reading(run, way):
    """show, history and list print the same over HTTP and over the log."""
    id = f"way-{way}"
    run("start", "cli-trial", "--id", id, "--input", "1", "--wait")
    assert "COMPLETED" in run("show", id, "--reads", way).stdout
    assert len(run("history", id, "--reads", way).stdout.splitlines()) == 4
    assert run("list", "--after", id[:-1], "--limit", "1", "--reads", way).stdout.splitlines()[1].startswith(id)
    assert "no run with the id missing" in run("show", "missing", "--reads", way, code=4).stderr


def test_an_unknown_way_of_reading(run):
    """--reads takes auto, http and log; the environment is checked as well."""
    assert "is not one of 'auto', 'http', 'log'" in run("list", "--reads", "kafka", code=2).stderr


@pytest.mark.parametrize("way", ["http", "log"])
def test_show_of_a_class(run, way):
    """show lists the queries, updates and signals that a class answers, and its queries alone once it has closed."""
    id = f"answers-{way}"
    run("start", "cli-claim", "--id", id)
    assert "  answers  queries status; updates amend\n" in run("show", id, "--reads", way).stdout
    shown = json.loads(run("show", id, "--reads", way, "--output", "json").stdout)
    assert shown["handlers"] == {"signals": [], "queries": ["status"], "updates": ["amend"]}
    run("terminate", id)
    assert "  answers  queries status\n" in run("show", id, "--reads", way).stdout
