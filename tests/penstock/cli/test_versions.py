"""Tests of `versions list` and `versions set`."""

import asyncio
import json
import subprocess
import sys

import pytest

from penstock.cli.versions import _by_version
from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.workflow import workflow
from penstock.hosting.engine import Engine

go = Signal("cli-versions-go", int)


@workflow(name="cli-versions", version=1)
async def first() -> int:
    return await go.wait()


@workflow(name="cli-versions", version=2)
async def second() -> int:
    return await go.wait()


def listed(url, *words):
    found = spoken(url, "list", *words)
    assert found.returncode == 0, found.stderr
    return found


def spoken(url, *words):
    command = [sys.executable, "-m", "penstock", "versions", *words, "--log", url]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_versions_are_listed(tmp_path):
    """list shows the versions that live processes host with their open runs, and names runs that none hosts."""
    url = f"embedded:{tmp_path}/log"

    async def use():
        async with Engine([first], url) as engine:
            for n in range(2):
                await engine.client.start(first(), id=f"old-{n}")
        async with Engine([second], url) as engine:
            await engine.client.start(second(), id="new")
            text = await asyncio.to_thread(listed, url, "cli-versions")
            shown = await asyncio.to_thread(listed, url, "--output", "json")
            other = await asyncio.to_thread(listed, url, "none")
        return text, json.loads(shown.stdout), other

    text, shown, other = asyncio.run(use())
    assert [line.split() for line in text.stdout.splitlines()] == [
        ["TYPE", "VERSION", "SHARE", "PROCESSES", "OPEN", "RUNS"],
        ["cli-versions", "1", "-", "0", "2"],
        ["cli-versions", "2", "rest", "1", "1"],
    ]
    assert "2 open runs of cli-versions version 1 are stranded: no live process hosts it" in text.stderr
    assert shown == [
        {"type": "cli-versions", "version": 1, "share": None, "processes": 0, "open_runs": 2},
        {"type": "cli-versions", "version": 2, "share": None, "processes": 1, "open_runs": 1},
    ]
    assert "no such version is hosted" in other.stderr


def test_several_versions_of_one_process(tmp_path):
    """A process that hosts two versions is counted for both."""
    url = f"embedded:{tmp_path}/log"

    async def use():
        async with Engine([first, second], url):
            return await asyncio.to_thread(listed, url, "--output", "json")

    assert [(one["version"], one["processes"]) for one in json.loads(asyncio.run(use()).stdout)] == [(1, 1), (2, 1)]


def test_a_share_is_set_and_listed(tmp_path):
    """set gives a version a share of new runs on all shards, list shows it, and --default takes it back."""
    url = f"embedded:{tmp_path}/log"

    async def use():
        async with Engine([first, second], url) as engine:
            done = await asyncio.to_thread(spoken, url, "set", "cli-versions", "2", "--share", "0%", "--by", "ann")
            run = await engine.client.start(second(), id="shared")
            text = await asyncio.to_thread(listed, url, "cli-versions")
            shown = await asyncio.to_thread(listed, url, "--output", "json")
            later = await asyncio.to_thread(spoken, url, "set", "cli-versions", "3", "--share", "5%")
            back = await asyncio.to_thread(spoken, url, "set", "cli-versions", "2", "--default")
            shares = await engine.client.versions.shares("cli-versions")
            return done, await run.describe(), text, json.loads(shown.stdout), later, back, shares

    done, described, text, shown, later, back, shares = asyncio.run(use())
    assert (done.returncode, done.stderr) == (0, "version 2 of cli-versions has 0% of new runs\n")
    assert described["version"] == 1
    assert [line.split()[:4] for line in text.stdout.splitlines()[1:]] == [
        ["cli-versions", "1", "rest", "1"],
        ["cli-versions", "2", "0%", "1"],
    ]
    assert [one["share"] for one in shown] == [None, "0%"]
    assert "note: no live processor hosts version 3 of cli-versions (hosted: 1, 2)" in later.stderr
    assert back.stderr == "version 2 of cli-versions has the default share of new runs\n"
    assert shares == [{"type": "cli-versions", "version": 3, "share": "5%", "shards": [0]}]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["2", "--share", "110%"], "A share is a percentage from 0% to 100% with at most two decimals"),
        (["2", "--share", "-1"], "A share is a percentage from 0% to 100% with at most two decimals"),
        (["2", "--share", "ten"], "such as '10%', not 'ten'."),
        (["0", "--share", "10%"], "The version of a workflow is a whole number from 1 to 1,000,000,000, not 0."),
        (["2"], "Give either the share of the version, such as `--share 10%`, or `--default`."),
        (["2", "--share", "10%", "--default"], "Give either the share of the version"),
    ],
)
def test_a_wrong_share_is_one_sentence(words, sentence):
    """A share or version that cannot be is refused with one sentence, before the log is opened."""
    found = spoken("embedded:/nowhere/log", "set", "cli-versions", *words)
    assert (found.returncode, found.stderr.count("\n"), sentence in found.stderr) == (2, 1, True)


def test_a_type_that_is_not_hosted_has_no_share(tmp_path):
    """A type that no live processor hosts is refused with one sentence that lists those that are."""
    url = f"embedded:{tmp_path}/log"

    async def use():
        async with Engine([first], url):
            return await asyncio.to_thread(spoken, url, "set", "cli-verzions", "2", "--share", "1%")

    found = asyncio.run(use())
    assert (found.returncode, "hosts a workflow called 'cli-verzions'; hosted: cli-versions." in found.stderr) == (
        1,
        True,
    )


def test_shards_that_differ_are_shown():
    """A share that not all shards have is shown with those that have it."""
    one = {"type": "t", "version": 2, "share": "10%", "shards": [0, 2]}
    other = {"type": "t", "version": 2, "share": "0%", "shards": [1]}
    assert _by_version([one, other], {0, 1, 2}) == {("t", 2): "10% (shard 0, 2); 0% (shard 1)"}
    assert _by_version([one], {0, 1, 2}) == {("t", 2): "10% (shard 0, 2)"}
    assert _by_version([one], {0, 2}) == {("t", 2): "10%"}


def test_unknown_is_not_drained(tmp_path):
    """While a shard has no processor, list says so and shows no numbers: runs that it cannot count may be open."""
    url = f"embedded:{tmp_path}/log"

    async def use():
        async with Engine([first], url) as engine:
            await engine.client.start(first(), id="uncounted")

    asyncio.run(use())
    found = spoken(url, "list")
    assert (found.returncode, found.stdout) == (3, "")
    assert "no processor answered within" in found.stderr
