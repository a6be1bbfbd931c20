"""Tests of the root command: global flags, --help, --version."""

from importlib.metadata import version

from click.testing import CliRunner

from penstock.cli.root import penstock


def test_position_of_flags(namespace):
    """Global flags are accepted before and after the verb; the last one wins."""
    before = CliRunner().invoke(penstock, ["--log", namespace, "--namespace", "cli", "list"])
    both = CliRunner().invoke(penstock, ["--namespace", "other", "list", "--log", namespace, "--namespace", "cli"])
    assert before.exit_code == both.exit_code == 0


def test_help():
    """--help lists every verb and the exit codes."""
    help_text = CliRunner().invoke(penstock, ["--help"]).stdout
    for verb in (
        "dev", "processor", "worker", "start", "list", "show", "history", "result", "signal", "cancel", "terminate",
        "unblock", "topics", "dead-letters", "demo", "Exit codes", "not closed", "PENSTOCK_LOG",
    ):  # fmt: skip
        assert verb in help_text


def test_the_version():
    """--version prints the installed version."""
    assert version("penstock") in CliRunner().invoke(penstock, ["--version"]).stdout
