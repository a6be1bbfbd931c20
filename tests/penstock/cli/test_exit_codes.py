"""Tests of exit codes and error messages."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from penstock.cli.root import penstock
from penstock.client import connection as connection_module
from penstock.schemas.errors import LogUnavailable, StoreLocked
from tests.penstock.cli.helpers import one_message


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("start", "not-hosted"), 1, "not-hosted"),
        (("start", "cli-trial", "--input", '"text"'), 1, "cli-trial"),
        (("start", "cli-trial", "--input", "{bad"), 2, "line 1, column 2"),
        (("start", "cli-trial", "--input", "@absent.json"), 2, "absent.json"),
        (("start", "cli-trial", "--id", "x" * 256), 2, "255"),
        (("show", "missing"), 4, "missing"),
        (("history", "missing"), 4, "missing"),
        (("result", "missing"), 4, "missing"),
        (("signal", "missing", "go"), 4, "missing"),
        (("cancel", "missing"), 4, "missing"),
        (("unblock", "missing"), 4, "missing"),
        (("dead-letters", "show", "0/99"), 4, "0/99"),
        (("dead-letters", "show", "x"), 2, "PARTITION/OFFSET"),
    ],
)
def test_mistakes(run, words, code, message):
    """An invalid argument or an unknown name is one message and its exit code."""
    one_message(run(*words, code=code), message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("start",), "Missing argument 'TYPE'"),
        (("start", "t", "--timeout", "1s"), "--timeout needs --wait"),
        (("start", "t", "--id-field", "x"), "--id-field needs"),
        (("start", "t", "--id", "x", "--input", "@x.jsonl"), "--id is for one run"),
        (("list", "--limit", "0"), "--limit"),
        (("list", "--status", "blokced"), "'blocked'"),
        (("dead-letters", "replay"), "use --all"),
        (("nonsense",), "No such command 'nonsense'"),
        (("show", "x", "--output", "yaml"), "yaml"),
    ],
)
def test_usage(namespace, words, message):
    """Invalid usage is exit code 2, with the correction."""
    arguments = ["--log", namespace, "--namespace", "cli", *words]
    ended = CliRunner().invoke(penstock, arguments)
    assert ended.exit_code == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_no_processor(tmp_path, monkeypatch):
    """A start without a processor is exit code 3; the message says that the command is in the log."""
    monkeypatch.setattr(connection_module, "ANSWER_TIMEOUT_S", 0.2)
    log = ("--log", f"embedded:{tmp_path}/log")
    assert CliRunner().invoke(penstock, ["topics", "apply", *log]).exit_code == 0
    ended = CliRunner().invoke(penstock, ["start", "t", *log])
    assert ended.exit_code == 3
    one_message(ended, "is in the log", "penstock processor", "namespace default")


def test_no_log_and_no_topics(tmp_path):
    """Without a log the message says what creates it; exit code 3, and nothing is created."""
    ended = CliRunner().invoke(penstock, ["start", "t", "--log", f"embedded:{tmp_path}/none"])
    assert ended.exit_code == 3
    one_message(ended, "penstock dev FILE")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (LogUnavailable("no broker answers at host:9092."), 3, "no broker answers at host:9092."),
        (StoreLocked("the store is open in another process."), 3, "another process"),
        (RuntimeError("odd"), 70, "this is a bug in Penstock: RuntimeError: odd"),
    ],
)
def test_errors_of_log_and_store(run, monkeypatch, error, code, message):
    """Errors of log and store have their exit code; others are reported as bugs; --debug shows tracebacks."""

    def broken(_):
        raise error

    monkeypatch.setattr(connection_module, "connect", broken)
    one_message(run("list", code=code), message)
    assert "Traceback" in run("list", "--debug", code=code).stderr


@pytest.mark.parametrize("verb", ["dev", "processor", "worker"])
def test_modules_that_cannot_be_hosted(verb, tmp_path):
    """A missing module, and one without definitions, end a host with exit code 2 before anything is created."""
    (tmp_path / "empty_module.py").write_text("")
    for module, message in (("absent.module", "no module 'absent'"), ("empty_module.py", "decorator")):
        ended = subprocess.run(
            [sys.executable, "-m", "penstock", verb, module], cwd=tmp_path, capture_output=True,
            text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (ended.returncode, ended.stdout) == (2, "")
        assert message in ended.stderr
        assert ended.stderr.count("\n") == 1
    assert not (tmp_path / ".penstock").exists()


def test_bad_settings(tmp_path):
    """An unknown setting in pyproject.toml is exit code 2 and a message that names it."""
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
