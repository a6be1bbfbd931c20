"""Tests of `versions list`."""

import asyncio
import json
import subprocess
import sys

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
    command = [sys.executable, "-m", "penstock", "versions", "list", *words, "--log", url]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)


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
        ["TYPE", "VERSION", "PROCESSES", "OPEN", "RUNS"],
        ["cli-versions", "1", "0", "2"],
        ["cli-versions", "2", "1", "1"],
    ]
    assert "2 open runs of cli-versions version 1 are stranded: no live process hosts it" in text.stderr
    assert shown == [
        {"type": "cli-versions", "version": 1, "processes": 0, "open_runs": 2},
        {"type": "cli-versions", "version": 2, "processes": 1, "open_runs": 1},
    ]
    assert "no such version is hosted" in other.stderr


def test_several_versions_of_one_process(tmp_path):
    """A process that hosts two versions is counted for both."""
    url = f"embedded:{tmp_path}/log"

    async def use():
        async with Engine([first, second], url):
            return await asyncio.to_thread(listed, url, "--output", "json")

    assert [(one["version"], one["processes"]) for one in json.loads(asyncio.run(use()).stdout)] == [(1, 1), (2, 1)]
