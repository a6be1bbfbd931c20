"""Do the long-running commands start, stop and stay up as they say? Each runs as a process of its own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from penstock.cli.hosts import _input_hint
from penstock.engine.authoring.workflow import WorkflowDefinition

WAIT_S = 60

WORKFLOWS = """
import os
from penstock import activity, workflow

@activity
def who() -> int:
    return os.getpid()

@workflow(name="hosts-trial")
async def trial() -> int:
    return await who()

@workflow(name="hosts-seed")
async def seed() -> str:
    return SEED

SEED = os.environ.get("PYTHONHASHSEED", "none")
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "hosted.py").write_text(WORKFLOWS)
    return tmp_path


def penstock(folder, *words, code=0):
    ended = subprocess.run(
        [sys.executable, "-m", "penstock", *words], cwd=folder, capture_output=True, text=True, timeout=WAIT_S,
        check=False,
    )  # fmt: skip
    assert ended.returncode == code, (words, ended.stdout, ended.stderr)
    return ended.stdout


@contextlib.contextmanager
def host(folder, *words):
    """A host in the background, its stderr in a file; killed at the end if it still runs."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}
    with (folder / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "penstock", *words], cwd=folder, stderr=stderr, env=environment
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def told(folder):
    return (folder / "stderr").read_text()


def wait_for(what, condition):
    deadline = time.monotonic() + WAIT_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {WAIT_S} s for {what}"
        time.sleep(0.05)
    return found


def alive(pid):
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"  # a zombie is dead, only nobody has asked for its code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_dev(folder, number):
    """`dev` makes what it needs, says what to type, serves other shells, and drains at a signal with exit code 0."""
    with host(folder, "dev", "hosted.py") as process:
        wait_for("the banner", lambda: "In another shell" in told(folder))
        assert "  penstock start hosts-seed --id hosts-seed-1 --wait\n" in told(folder)
        wait_for("its topics", (folder / ".penstock" / "log.sqlite3").exists)
        assert penstock(folder, "start", "hosts-seed", "--id", "s", "--wait") == '"0"\n'
        assert penstock(folder, "start", "hosts-trial", "--id", "t", "--wait") == f"{process.pid}\n"
        assert json.loads(penstock(folder, "history", "t", "--output", "json"))[0]["event"] == "WorkflowStarted"
        process.send_signal(number)
        assert process.wait(WAIT_S) == 0
    assert "Traceback" not in told(folder)


async def takes_none(): ...
async def takes_text(sku: str): ...
async def takes_number(number: int = 7): ...
async def takes_several(order_id: str, total: float): ...
async def takes_what_is_missing(order: "Missing"): ...  # noqa: F821 - the claim


@pytest.mark.parametrize(
    ("function", "hint"),
    [
        (takes_none, ""),
        (takes_text, "--input '\"…\"' "),
        (takes_number, "--input 1 "),
        (takes_several, "--input '{…}' "),
        (takes_what_is_missing, "--input '{…}' "),
    ],
)
def test_the_hint_of_dev_fits(function, hint):
    """The line that `dev` tells to type has an --input that fits the workflow's parameters, and none without one."""
    assert _input_hint(WorkflowDefinition(function, "hosts-hint", 1)) == hint


def test_a_place_where_no_state_can_be_kept(folder):
    """A directory that cannot be made is exit code 3 and a sentence that names it; nothing is left running."""
    with host(folder, "dev", "hosted.py", "--data", "hosted.py/state") as process:
        assert process.wait(WAIT_S) == 3
    assert "the directory of the state hosted.py/state cannot be made" in told(folder)
    assert "bug" not in told(folder)


def test_a_place_below_where_no_state_can_be_kept(folder):
    """What stands in the way below the directory of the state is exit code 3 and a sentence that names it, too."""
    (folder / "state").mkdir()
    (folder / "state" / "default").write_text("a file where the namespace's directory belongs")
    with host(folder, "dev", "hosted.py", "--data", "state") as process:
        assert process.wait(WAIT_S) == 3
    assert "the directory of the state state/default cannot be written" in told(folder)
    assert "bug" not in told(folder)


def test_a_second_signal(folder):
    """A second signal ends a host at once, activities or not."""
    (folder / "hosted.py").write_text(
        "import time\nfrom penstock import activity, workflow\n@activity\ndef long() -> None:\n    time.sleep(600)\n"
        '@workflow(name="hosts-long")\nasync def trial() -> None:\n    await long()\n'
    )
    with host(folder, "dev", "hosted.py", "--log-level", "debug") as process:
        wait_for("its topics", lambda: "shards granted" in told(folder))
        penstock(folder, "start", "hosts-long", "--id", "t")
        wait_for("the activity", lambda: "for activity long, attempt 1" in penstock(folder, "show", "t"))
        process.send_signal(signal.SIGINT)
        time.sleep(1)
        assert process.poll() is None, "it waits for the activity"
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 128 + signal.SIGTERM


def test_processor_and_worker(folder):
    """Apart from each other, processor and worker do what `dev` does in one; topics must be there first."""
    penstock(folder, "processor", "hosted", code=3)
    penstock(folder, "topics", "apply", "hosted", "--shards", "2")
    with (
        host(folder, "worker", "hosted", "--queue", "default") as worker,
        host(folder, "processor", "hosted") as processor,
    ):
        assert penstock(folder, "start", "hosts-trial", "--wait") == f"{worker.pid}\n"
        for process in (worker, processor):
            process.terminate()
            assert process.wait(WAIT_S) == 0


def test_a_queue_without_topic(folder):
    """A worker of a queue that has no topic ends with exit code 3 and says what makes it."""
    penstock(folder, "topics", "apply")
    ended = subprocess.run(
        [sys.executable, "-m", "penstock", "worker", "hosted", "--queue", "bank", "--log-level", "error"], cwd=folder,
        capture_output=True, text=True, timeout=WAIT_S, check=False,
    )  # fmt: skip
    assert ended.returncode == 3
    assert "penstock.default.tasks.bank" in ended.stderr
    assert "topics apply" in ended.stderr


def test_other_shards_than_declared(folder):
    """A processor whose settings say another number of shards than the namespace has stops with exit code 3."""
    penstock(folder, "topics", "apply", "--shards", "2")
    (folder / "pyproject.toml").write_text("[tool.penstock]\nshards = 3\n")
    ended = subprocess.run(
        [sys.executable, "-m", "penstock", "processor", "hosted"], cwd=folder, capture_output=True, text=True,
        timeout=WAIT_S, check=False,
    )  # fmt: skip
    assert ended.returncode == 3
    assert "2 shards" in ended.stderr


def children(folder):
    lines = [line for line in told(folder).splitlines() if "processor process started" in line]
    return [json.loads(line)["pid"] for line in lines]


def test_several_processors(folder):
    """A processor process that is killed is started again while the others go on; a signal drains them all."""
    penstock(folder, "topics", "apply", "hosted", "--shards", "2")
    with host(folder, "processor", "hosted", "--processes", "2", "--log-format", "json") as parent:
        first, second = wait_for("two processes", lambda: len(children(folder)) == 2 and children(folder))
        penstock(folder, "start", "hosts-seed", "--wait")
        os.kill(first, signal.SIGKILL)
        third = wait_for("another one", lambda: children(folder)[2:])[0]
        assert alive(second)
        penstock(folder, "start", "hosts-seed", "--wait")
        parent.send_signal(signal.SIGINT)
        assert parent.wait(WAIT_S) == 0
    assert not alive(second)
    assert not alive(third)
    assert "Traceback" not in told(folder)


def test_a_parent_that_is_killed(folder):
    """Processor processes end when the parent that watched them is gone."""
    penstock(folder, "topics", "apply", "hosted")
    with host(folder, "processor", "hosted", "--processes", "2", "--log-format", "json") as parent:
        pids = wait_for("two processes", lambda: len(children(folder)) == 2 and children(folder))
        parent.kill()
        wait_for("the end of both", lambda: not any(map(alive, pids)))


def test_the_demo(tmp_path):
    """The demo ends well, with the tracking number, the path, and what to try next; it leaves nothing behind."""
    told = penstock(tmp_path, "demo")
    assert "joined the run that is there" in told
    assert "CardDeclined: the bank refused" in told
    assert "reserve → reserve → reserve → signal approval → charge → slept → demo-ship → completed" in told
    assert "tracking number PS-83DCEFB7" in told
    assert told.index("tracking number") < told.index("Try next")
    assert list(tmp_path.iterdir()) == []
