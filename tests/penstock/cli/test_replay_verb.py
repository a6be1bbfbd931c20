"""Tests of `replay`: recorded runs, compared with edited code in a process of its own."""

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
from penstock import Signal, activity, workflow

go = Signal("replay-go", int)

@activity(name="replay-double")
async def double(number: int) -> int:
    return 2 * number

@activity(name="replay-check")
async def check(number: int) -> None: ...

@workflow(name="replayed")
async def replayed(number: int) -> int:
    doubled = await double(number)
    return doubled + await go.wait()
"""
BREAKING = CODE.replace("    doubled = await", "    await check(number)\n    doubled = await")
ANOTHER_INPUT = CODE.replace("await double(number)", "await double(number + 1)")
OTHER_TYPE = CODE.replace('"replayed"', '"renamed"')


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A log with a closed and an open run; yields the folder."""
    folder = tmp_path_factory.mktemp("replay")
    (folder / "as_recorded.py").write_text(CODE)
    loop = LoopThread()
    engine = Engine([str(folder / "as_recorded.py")], f"embedded:{folder}/log")
    loop.run(engine.__aenter__())

    async def use():
        closed = await engine.client.start_by_name("replayed", b"2", "closed")
        await closed.signal("replay-go", 1)
        await closed.result("20s")
        waiting = await engine.client.start_by_name("replayed", b"3", "open")
        while not (await waiting.describe())["signals_awaited"]:
            pass
        for run in (closed, waiting):
            (folder / f"{run.id}.json").write_text(json.dumps(await run.history()))

    loop.run(use())
    loop.run(engine.__aexit__(None, None, None))
    loop.close()
    return folder


def replay(folder: Path, code: str, *words: str, exit_code: int):
    (folder / "edited.py").write_text(code)
    ended = subprocess.run(
        [sys.executable, "-m", "penstock", "replay", "--log", f"embedded:{folder}/log", "edited.py", *words],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert ended.returncode == exit_code, (ended.stdout, ended.stderr)
    return ended


@pytest.mark.parametrize("files", [(), ("open.json", "closed.json")], ids=["log", "files"])
def test_the_same_code(recorded, files):
    """Runs from the log, and from exported histories, are the same under the code that made them."""
    ended = replay(recorded, CODE, *files, exit_code=0)
    assert sorted(ended.stdout.splitlines()) == [
        "closed  replayed  WorkflowCompleted, 5 events  the same",
        "open  replayed  open, 3 events  the same",
    ]
    assert ended.stderr == "2 runs compared, 0 differ\n"


@pytest.mark.parametrize("files", [(), ("open.json", "closed.json")], ids=["log", "files"])
def test_a_breaking_edit(recorded, files):
    """An edit that would block open runs is named run by run, line by line, with exit code 1."""
    ended = replay(recorded, BREAKING, *files, exit_code=1)
    assert "open  replayed  open, 3 events  DIFFERS, and would be BLOCKED\n  event 1: the history holds" in ended.stdout
    assert "closed  replayed  WorkflowCompleted, 5 events  DIFFERS\n" in ended.stdout
    assert "    - ActivityScheduled replay-double as request 1 3\n" in ended.stdout
    assert "    + ActivityScheduled replay-check as request 1 3  (" in ended.stdout
    assert "edited.py:15)" in ended.stdout
    assert ended.stderr == "2 runs compared, 2 differ\n"


def test_one_run(recorded):
    """--id compares the runs of one id."""
    assert replay(recorded, BREAKING, "--id", "open", exit_code=1).stderr == "1 runs compared, 1 differ\n"
    ended = replay(recorded, CODE, "--id", "missing", exit_code=2)
    assert "there is no run of missing to compare" in ended.stderr


def test_json(recorded):
    """As JSON, each run has its differences; a changed input blocks no run."""
    ended = replay(recorded, ANOTHER_INPUT, "--id", "open", "--output", "json", exit_code=1)
    (report,) = json.loads(ended.stdout)
    assert (report["workflow_id"], report["blocks"], report["events"]) == ("open", False, 3)
    assert [(one["recorded"], one["asked"]) for one in report["differences"]] == [(["3"], ["4"])]


def test_what_cannot_be_compared(recorded):
    """Runs of types that the modules lack are listed with the reason."""
    ended = replay(recorded, OTHER_TYPE, exit_code=0)
    assert ended.stdout.count("not compared: the modules do not define its type") == 2
    assert ended.stderr == "0 runs compared, 0 differ; 2 not compared\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "is no history"),
        ("[", "is no history"),
        ('[{"event": "Unknown", "number": 1, "at_ms": 1}]', "no event of this"),
    ],
)
def test_files_that_are_no_history(recorded, text, message):
    """A file that is no history is refused with the command that writes one."""
    (recorded / "wrong.json").write_text(text)
    ended = replay(recorded, CODE, "wrong.json", exit_code=2)
    assert message in ended.stderr
    assert "penstock history ID --output json > ID.json" in ended.stderr


def test_a_file_without_modules(recorded):
    """Without a module there is no code to compare with."""
    ended = subprocess.run(
        [sys.executable, "-m", "penstock", "replay", "open.json"],
        cwd=recorded, capture_output=True, text=True, timeout=WAIT_S, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "name the modules with the code" in ended.stderr
