"""Tests of `topics plan`, `apply` and `verify`."""

import json

from click.testing import CliRunner

from penstock.cli.root import penstock


def test_topics(tmp_path):
    """plan shows changes, apply makes them, verify then finds nothing; another number of shards is refused."""
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
