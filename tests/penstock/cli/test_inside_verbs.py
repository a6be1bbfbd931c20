"""Tests of `stack` and `debug`: runs that are rebuilt from their histories in a process of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.client.sync import LoopThread
from penstock.hosting.engine import Engine

WAIT_S = 60
CODE = """
import asyncio
from penstock import Signal, activity, sleep, workflow

go = Signal("inside-go", int)

@activity(name="inside-double")
async def double(number: int) -> int:
    return 2 * number

async def approved() -> int:
    return await go.wait()  # line 12

@workflow(name="inside")
async def inside(number: int) -> int:
    doubled = await double(number)
    timer = asyncio.create_task(sleep("30d"), name="patience")
    answer = await approved()
    timer.cancel()
    return doubled + answer
"""


@pytest.fixture(scope="module")
def hosted(tmp_path_factory):
    """A namespace with a run that waits, and one that has closed; yields the folder."""
    folder = tmp_path_factory.mktemp("inside")
    (folder / "inside_flow.py").write_text(CODE)
    loop = LoopThread()
    engine = Engine([str(folder / "inside_flow.py")], f"embedded:{folder}/log")
    loop.run(engine.__aenter__())

    async def use():
        waiting = await engine.client.start_by_name("inside", b"3", "waits")
        while not (await waiting.describe())["signals_awaited"]:
            pass
        closed = await engine.client.start_by_name("inside", b"3", "closed")
        await closed.signal("inside-go", 1)
        await closed.result("20s")

    loop.run(use())
    yield folder
    loop.run(engine.__aexit__(None, None, None))
    loop.close()


def penstock(folder: Path, *words: str, stdin: str = "", exit_code: int = 0, code: str = CODE):
    (folder / "at_hand.py").write_text(code)
    ended = subprocess.run(
        [sys.executable, "-m", "penstock", *words, "--log", f"embedded:{folder}/log"],
        cwd=folder, input=stdin, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True,
        timeout=WAIT_S, check=False,
    )  # fmt: skip
    assert ended.returncode == exit_code, (ended.stdout, ended.stderr)
    return ended


def test_stack(hosted):
    """stack names the lines of each task that waits, outermost first."""
    lines = penstock(hosted, "stack", "waits", "at_hand.py").stdout.splitlines()
    assert lines == [
        "inside",
        f"  {hosted}/at_hand.py:18 in inside",
        "    answer = await approved()",
        f"  {hosted}/at_hand.py:12 in approved",
        "    return await go.wait()  # line 12",
        "patience",
        f"  {hosted}/at_hand.py:17 in sleep",
        '    timer = asyncio.create_task(sleep("30d"), name="patience")',
    ]


def test_stack_as_json(hosted):
    """As JSON each task has its lines."""
    tasks = json.loads(penstock(hosted, "stack", "waits", "at_hand.py", "--output", "json").stdout)
    assert [(one["task"], one["lines"][-1]["number"]) for one in tasks] == [("inside", 12), ("patience", 17)]


def test_stack_of_a_closed_run(hosted):
    """The code of a closed run stands nowhere."""
    ended = penstock(hosted, "stack", "closed", "at_hand.py")
    assert (ended.stdout, ended.stderr) == ("", "no code of closed waits: its run has closed, or has not begun\n")


def test_code_that_does_not_fit(hosted):
    """Code that does not repeat the history, or lacks the type, is refused with the remedy."""
    other = CODE.replace("await double(number)", "number")
    message = penstock(hosted, "stack", "waits", "at_hand.py", exit_code=2, code=other).stderr
    assert "does not repeat the history of waits" in message
    assert "`penstock replay` shows what differs" in message
    renamed = CODE.replace('name="inside"', 'name="another"')
    assert (
        "does not define the workflow inside"
        in penstock(hosted, "debug", "waits", "at_hand.py", exit_code=2, code=renamed).stderr
    )
    assert "no run with the id missing" in penstock(hosted, "stack", "missing", "at_hand.py", exit_code=4).stderr


def test_debug(hosted):
    """debug stops at the first line of the run's code, goes on from line to line, and knows its values."""
    ended = penstock(hosted, "debug", "closed", "at_hand.py", stdin="p number\nb 19\nc\np doubled, answer\nc\n")
    assert "at_hand.py(16)inside()\n-> doubled = await double(number)" in ended.stdout
    assert "(Pdb) 3\n" in ended.stdout
    assert "(Pdb) (6, 1)\n" in ended.stdout
    assert ended.stderr == "the history ends here\n"


def test_debug_ends_when_its_user_quits(hosted):
    """Quitting ends the command without an error."""
    ended = penstock(hosted, "debug", "waits", "at_hand.py", stdin="q\n")
    assert "at_hand.py(16)inside()" in ended.stdout
    assert ended.stderr == ""
