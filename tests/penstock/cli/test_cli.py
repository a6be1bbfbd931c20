"""Does the command line do what API.md says, with one clear sentence and the right exit code for each failure?"""

import json
import os
import pty
import subprocess
import sys
import time
from importlib.metadata import version

import pytest
from click.testing import CliRunner

from penstock.cli.root import penstock
from penstock.client import client as client_module
from penstock.client.sync import LoopThread
from penstock.hosting.engine import Engine
from penstock.schemas.errors import LogUnavailable, StoreLocked
from penstock.topics import connect as connect_module

WORKFLOWS = """
from typing import TypedDict

from penstock import Signal, activity, workflow

go = Signal("go", int)

@activity(retries=0)
async def double(number: int) -> int:
    if number < 0:
        raise ValueError("too small")
    return 2 * number

@workflow(name="cli-trial")
async def trial(number: int) -> int:
    return await double(number)

class Order(TypedDict):
    id: str
    number: int

@workflow(name="cli-order")
async def order(order: Order) -> int:
    return await go.wait()

@workflow(name="cli-waits")
async def waits() -> int:
    return await go.wait()
"""


@pytest.fixture(scope="module")
def namespace(tmp_path_factory):
    """A running namespace on an embedded log; gives the log's URL."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "cli_trial_workflows.py").write_text(WORKFLOWS)
    engine = Engine([str(folder / "cli_trial_workflows.py")], f"embedded:{folder}/log", namespace="cli")
    loop = LoopThread()
    loop.run(engine.__aenter__())
    loop.run(engine.client.list())  # it serves: what its log says of that belongs to no test
    yield f"embedded:{folder}/log"
    loop.run(engine.__aexit__(None, None, None))
    loop.close()


@pytest.fixture
def run(namespace):
    """Type a command against the running namespace."""

    def typed(*words, code=0, stdin=None):
        ended = CliRunner().invoke(penstock, [*words, "--log", namespace, "--namespace", "cli"], input=stdin)
        assert ended.exit_code == code, (ended.stdout, ended.stderr)
        return ended

    return typed


def one_sentence(ended, *parts):
    assert ended.stdout == ""
    assert ended.stderr.startswith("penstock: ")
    assert ended.stderr.count("\n") == 1
    for part in parts:
        assert part in ended.stderr


def test_start_and_wait(run):
    """With --wait the result stands on stdout as JSON, and nothing else."""
    ended = run("start", "cli-trial", "--id", "waited", "--input", "21", "--wait", "--timeout", "20s")
    assert ended.stdout == "42\n"
    assert "started waited (run " in ended.stderr


def test_start_twice(run):
    """The second start of an id is told that it joined, and prints the id alone on stdout."""
    run("start", "cli-waits", "--id", "twice")
    ended = run("start", "cli-waits", "--id", "twice")
    assert ended.stdout == "twice\n"
    assert "twice was started before (run " in ended.stderr
    assert "joined it" in ended.stderr
    one_sentence(run("start", "cli-waits", "--id", "twice", "--on-existing", "reject", code=1), "twice")


@pytest.mark.parametrize("seen", ["both", "stdout", "stderr"])
def test_start_on_a_terminal(namespace, seen):
    """A terminal gets the id of a start once: in a sentence, or alone where the sentence goes elsewhere."""
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


def test_the_life_of_a_run(run):
    """signal, result, show, history and list tell of one run, for people and as JSON."""
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


def test_a_page(run):
    """A list that was cut says how the next page is asked for."""
    for id in ("page-1", "page-2"):
        run("start", "cli-trial", "--id", id, "--input", "1", "--wait")
    ended = run("list", "--limit", "1", "--after", "page-")
    assert "page-1" in ended.stdout
    assert "page-2" not in ended.stdout
    assert "--after page-1" in ended.stderr


def test_a_run_that_fails(run):
    """A failed run is exit code 1 and its failure with the cause, from start and from result."""
    run("start", "cli-trial", "--id", "fails", "--input", "-1")
    one_sentence(run("result", "fails", code=1), "fails failed", "ValueError: too small")
    started = run("start", "cli-trial", "--id", "fails-too", "--input", "-1", "--wait", code=1)
    assert "ValueError: too small" in started.stderr
    assert "too small" in run("history", "fails").stdout


def test_cancel_and_terminate(run):
    """cancel and terminate end a run, whose result is then exit code 1 with the reason."""
    for verb in ("cancel", "terminate"):
        run("start", "cli-waits", "--id", verb)
        run(verb, verb, "--reason", "stock-taking")
        one_sentence(run("result", verb, "--timeout", "20s", code=1), verb)
        assert "stock-taking" in run("history", verb).stdout


def test_many_starts(run, tmp_path):
    """A file of lines starts one run a line under the ids of its field; a second time it joins every one."""
    path = tmp_path / "orders.jsonl"
    path.write_text("".join(f'{{"id":"many-{n}","number":{n}}}\n' for n in range(5)))
    command = ("start", "cli-order", "--input", f"@{path}", "--id-field", "id")
    assert run(*command).stderr == "5 started, 0 joined, 0 refused\n"
    assert run(*command).stderr == "0 started, 5 joined, 0 refused\n"
    listed = json.loads(run("list", "--type", "cli-order", "--output", "json").stdout)
    assert [one["workflow_id"] for one in listed] == [f"many-{n}" for n in range(5)]


def test_many_results(run, tmp_path):
    """With --wait each run's result, or why it has none, is a line of JSON; a failed one makes the exit code 1."""
    path = tmp_path / "numbers.jsonl"
    path.write_text("1\n2\n-3\n")
    ended = run("start", "cli-trial", "--input", f"@{path}", "--wait", code=1)
    assert "3 started, 0 joined, 0 refused" in ended.stderr
    told = [json.loads(line) for line in ended.stdout.splitlines()]
    assert sorted(one["result"] for one in told if "result" in one) == [2, 4]
    assert [one["error"].rpartition(": ")[2] for one in told if "error" in one] == ["too small"]


def test_many_refusals(run, tmp_path):
    """A line that the workflow refuses is told by its id and stops no other line; the exit code is 1."""
    path = tmp_path / "mixed.jsonl"
    path.write_text("".join(f'{{"id":"mixed-{n}","number":{json.dumps(n or "x")}}}\n' for n in range(3)))
    ended = run("start", "cli-order", "--input", f"@{path}", "--id-field", "id", code=1)
    assert "2 started, 0 joined, 1 refused" in ended.stderr
    assert "penstock: mixed-0: " in ended.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("start", "nobody-hosts-this"), 1, "nobody-hosts-this"),
        (("start", "cli-trial", "--input", '"text"'), 1, "cli-trial"),
        (("start", "cli-trial", "--input", "{bad"), 2, "line 1, column 2"),
        (("start", "cli-trial", "--input", "@absent.json"), 2, "absent.json"),
        (("start", "cli-trial", "--id", "x" * 256), 2, "255"),
        (("show", "nobody"), 4, "nobody"),
        (("history", "nobody"), 4, "nobody"),
        (("result", "nobody"), 4, "nobody"),
        (("signal", "nobody", "go"), 4, "nobody"),
        (("cancel", "nobody"), 4, "nobody"),
        (("retry", "nobody"), 4, "nobody"),
        (("dead-letters", "show", "0/99"), 4, "0/99"),
        (("dead-letters", "show", "x"), 2, "PARTITION/OFFSET"),
    ],
)
def test_mistakes(run, words, code, said):
    """What is typed wrong, or names nothing, is one sentence and its exit code."""
    one_sentence(run(*words, code=code), said)


def test_a_timeout(run):
    """Waiting that was bounded ends with exit code 5 and says that the run stays open, and where to look."""
    run("start", "cli-waits", "--id", "slow")
    one_sentence(run("result", "slow", "--timeout", "300ms", code=5), "stays open", "penstock show slow")


def test_a_timeout_in_seconds(run):
    """A --timeout that is only a number is seconds."""
    run("start", "cli-waits", "--id", "bare")
    one_sentence(run("result", "bare", "--timeout", "0.3", code=5), "bare did not close")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("start",), "Missing argument 'TYPE'"),
        (("start", "t", "--timeout", "1s"), "--timeout needs --wait"),
        (("start", "t", "--id-field", "x"), "--id-field needs"),
        (("start", "t", "--id", "x", "--input", "@x.jsonl"), "--id is for one run"),
        (("list", "--limit", "0"), "--limit"),
        (("list", "--status", "blokced"), "'blocked'"),
        (("dead-letters", "replay"), "say --all"),
        (("nonsense",), "No such command 'nonsense'"),
        (("show", "x", "--output", "yaml"), "yaml"),
    ],
)
def test_usage(namespace, words, said):
    """Wrong use is exit code 2, with what would be right."""
    arguments = ["--log", namespace, "--namespace", "cli", *words]
    ended = CliRunner().invoke(penstock, arguments)
    assert ended.exit_code == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_topics(tmp_path):
    """plan tells, apply makes, verify finds nothing wrong afterwards; another number of shards is refused."""
    log = ("--log", f"embedded:{tmp_path}/log", "--namespace", "made")

    def typed(*words, code=0):
        ended = CliRunner().invoke(penstock, ["topics", *words, *log])
        assert ended.exit_code == code, ended.stderr
        return ended.stdout

    assert "create penstock.made.commands with 3 partitions" in typed("plan", "--shards", "3")
    assert "does not exist" in typed("verify", "--shards", "3", code=1)
    typed("apply", "--shards", "3", "--queue", "bank")
    assert typed("plan") == typed("verify") == ""
    assert json.loads(typed("verify", "--output", "json")) == []
    assert "tasks.other" in typed("plan", "--queue", "other")
    assert "cannot be changed" in typed("plan", "--shards", "4", code=1)
    assert typed("apply", "--shards", "4", code=3) == ""


def test_dead_letters(run, namespace):
    """A command that cannot be read is listed, shown, replayed (it comes back) and discarded."""
    from penstock.topics.catalogue import Topics
    from penstock.topics.log import Record
    from penstock.topics.publishing import publish

    log, topics = connect_module.connect(namespace), Topics("cli")
    publish(log, [Record(topics.commands, 0, b"order-1", b"\x01rubbish")], 10)

    def listed(*words, count):
        for _ in range(200):
            found = json.loads(run("dead-letters", "list", "--output", "json", *words).stdout)
            if len(found) == count:
                return found
        raise AssertionError(f"waited for {count} dead letters, there are {found}")

    (letter,) = listed(count=1)
    assert (letter["reason"], letter["topic"], letter["key"]) == ("undecodable", topics.commands, "order-1")
    assert "rubbish" in run("dead-letters", "show", letter["letter"]).stdout
    run("dead-letters", "replay", letter["letter"])
    assert {one["done"] for one in listed("--done", count=2)} == {"replayed", ""}
    run("dead-letters", "discard", "--all")
    assert run("dead-letters", "list").stderr == "no dead letters\n"
    log.close()


def test_nobody_answers(tmp_path, monkeypatch):
    """Without a processor a start is exit code 3, and says that the command stands in the log."""
    monkeypatch.setattr(client_module, "ANSWER_TIMEOUT_S", 0.2)
    log = ("--log", f"embedded:{tmp_path}/log")
    assert CliRunner().invoke(penstock, ["topics", "apply", *log]).exit_code == 0
    ended = CliRunner().invoke(penstock, ["start", "t", *log])
    assert ended.exit_code == 3
    one_sentence(ended, "is in the log", "penstock processor", "namespace default")


@pytest.mark.parametrize("many", [False, True])
def test_one_timeout_for_start_and_wait(tmp_path, many):
    """--timeout bounds the start as well as the wait: where no processor runs, it is over in time, with exit code 5."""
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


def test_an_id_with_control_characters(run):
    r"""An id may hold a newline or an escape: it is found, and shown as `\n` and `\x1b`; JSON has it as it is."""
    id = "new\nline\x1b[31m"
    shown = r"new\nline\x1b[31m"
    assert f"started {shown} (run " in run("start", "cli-waits", "--id", id).stderr
    assert run("show", id).stdout.startswith(f"{shown}  cli-waits")
    assert json.loads(run("show", id, "--output", "json").stdout)["workflow_id"] == id
    (line,) = [line for line in run("list").stdout.splitlines() if line.startswith("new")]
    assert line.split()[:3] == [shown, "cli-waits", "running"]
    assert f"{shown} has the signal g\\to" in run("signal", id, "g\to").stderr
    assert run("history", id).stdout.splitlines()[1].endswith("g\\to null")


def test_a_wait_that_is_over(run):
    """A run that has not closed when --timeout is over is told of, and that it stays open; exit code 5."""
    run("start", "cli-waits", "--id", "overdue")
    ended = run("start", "cli-waits", "--id", "overdue", "--wait", "--timeout", "2s", code=5)
    assert "overdue did not close in time; its run stays open" in ended.stderr


def test_no_log_and_no_topics(tmp_path):
    """Where no log, or no namespace, was made, the sentence says what makes it; exit code 3, and nothing is made."""
    ended = CliRunner().invoke(penstock, ["start", "t", "--log", f"embedded:{tmp_path}/none"])
    assert ended.exit_code == 3
    one_sentence(ended, "penstock dev FILE")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (LogUnavailable("nobody answers at host:9092."), 3, "nobody answers at host:9092."),
        (StoreLocked("the store is open in another process."), 3, "another process"),
        (RuntimeError("odd"), 70, "this is a bug in Penstock: RuntimeError: odd"),
    ],
)
def test_failures_underneath(run, monkeypatch, error, code, said):
    """Errors of log and store are sentences with their code; anything else is called a bug. Tracebacks on demand."""

    def broken(_):
        raise error

    monkeypatch.setattr(client_module, "connect", broken)
    one_sentence(run("list", code=code), said)
    assert "Traceback" in run("list", "--debug", code=code).stderr


@pytest.mark.parametrize("verb", ["dev", "processor", "worker"])
def test_modules_that_do_not_load(verb, tmp_path):
    """A missing module, and one without anything to run, end a host with exit code 2 before anything is made."""
    (tmp_path / "empty_module.py").write_text("")
    for module, said in (("absent.module", "no module 'absent'"), ("empty_module.py", "decorator")):
        ended = subprocess.run(
            [sys.executable, "-m", "penstock", verb, module], cwd=tmp_path, capture_output=True,
            text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (ended.returncode, ended.stdout) == (2, "")
        assert said in ended.stderr
        assert ended.stderr.count("\n") == 1
    assert not (tmp_path / ".penstock").exists()


def test_bad_settings(tmp_path):
    """A pyproject.toml that sets what is not known ends every command with exit code 2 and its name."""
    (tmp_path / "pyproject.toml").write_text("[tool.penstock]\nnamespac = 'x'\n")
    ended = subprocess.run(
        [sys.executable, "-m", "penstock", "list"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert "namespac" in ended.stderr


def test_flags_stand_anywhere(namespace):
    """Global flags count before and after the verb; the one nearer to the end wins."""
    before = CliRunner().invoke(penstock, ["--log", namespace, "--namespace", "cli", "list"])
    both = CliRunner().invoke(penstock, ["--namespace", "other", "list", "--log", namespace, "--namespace", "cli"])
    assert before.exit_code == both.exit_code == 0


def test_help_tells_exit_codes():
    """--help lists every verb and what exit codes mean."""
    told = CliRunner().invoke(penstock, ["--help"]).stdout
    for verb in (
        "dev", "processor", "worker", "start", "list", "show", "history", "result", "signal", "cancel", "terminate",
        "retry", "topics", "dead-letters", "demo", "Exit codes", "not closed", "PENSTOCK_LOG",
    ):  # fmt: skip
        assert verb in told


def test_the_version():
    """--version tells the version that is installed."""
    assert version("penstock") in CliRunner().invoke(penstock, ["--version"]).stdout
