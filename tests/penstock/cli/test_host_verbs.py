"""Tests of `dev`, `processor` and `worker`, each as a process."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
from click.testing import CliRunner

from penstock.cli import root
from penstock.cli.host_verbs import _input_hint
from penstock.engine.authoring.definition import TypeOptions, WorkflowDefinition
from penstock.hosting import hash_seed, namespace, parts, supervisor

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
    """Run a host in the background with stderr in a file; kill it at the end if it still runs."""
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


def stderr_of(folder):
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
    return status.rpartition(")")[2].split()[0] != "Z"  # a zombie has ended; its parent has not read its exit code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_dev(folder, number):
    """`dev` creates topics, prints example commands, serves other shells, and drains after a signal."""
    with host(folder, "dev", "hosted.py") as process:
        wait_for("the banner", lambda: "In another shell" in stderr_of(folder))
        assert "  penstock start hosts-seed --id hosts-seed-1 --wait\n" in stderr_of(folder)
        wait_for("its topics", (folder / ".penstock" / "log.sqlite3").exists)
        assert penstock(folder, "start", "hosts-seed", "--id", "s", "--wait") == '"0"\n'
        assert penstock(folder, "start", "hosts-trial", "--id", "t", "--wait") == f"{process.pid}\n"
        assert json.loads(penstock(folder, "history", "t", "--output", "json"))[0]["event"] == "WorkflowStarted"
        process.send_signal(number)
        assert process.wait(WAIT_S) == 0
    assert "Traceback" not in stderr_of(folder)


async def takes_none(): ...
async def takes_text(sku: str): ...
async def takes_number(number: int = 7): ...
async def takes_several(order_id: str, total: float): ...
async def takes_an_unknown_type(order: "Missing"): ...  # noqa: F821 - the claim


@pytest.mark.parametrize(
    ("function", "hint"),
    [
        (takes_none, ""),
        (takes_text, "--input '\"…\"' "),
        (takes_number, "--input 1 "),
        (takes_several, "--input '{…}' "),
        (takes_an_unknown_type, "--input '{…}' "),
    ],
)
def test_input_hint_of_dev(function, hint):
    """The example command of `dev` has an --input that fits the workflow's parameters, and none if it takes none."""
    assert _input_hint(WorkflowDefinition(function, TypeOptions("hosts-hint"))) == hint


def test_state_directory_that_cannot_be_created(folder):
    """A state directory that cannot be created is exit code 3 and a message that names it; the process ends."""
    with host(folder, "dev", "hosted.py", "--data", "hosted.py/state") as process:
        assert process.wait(WAIT_S) == 3
    assert "the state directory hosted.py/state cannot be created" in stderr_of(folder)
    assert "bug" not in stderr_of(folder)


def test_state_directory_that_cannot_be_written(folder):
    """A file in the place of a namespace's state directory is exit code 3 and a message that names it."""
    (folder / "state").mkdir()
    (folder / "state" / "default").write_text("a file where the namespace's directory belongs")
    with host(folder, "dev", "hosted.py", "--data", "state") as process:
        assert process.wait(WAIT_S) == 3
    assert "the directory of the state state/default cannot be written" in stderr_of(folder)
    assert "bug" not in stderr_of(folder)


def test_a_second_signal(folder):
    """A second signal ends a host at once, even while an activity runs."""
    (folder / "hosted.py").write_text(
        "import time\nfrom penstock import activity, workflow\n@activity\ndef long() -> None:\n    time.sleep(600)\n"
        '@workflow(name="hosts-long")\nasync def trial() -> None:\n    await long()\n'
    )
    with host(folder, "dev", "hosted.py", "--log-level", "debug") as process:
        wait_for("its topics", lambda: "shards granted" in stderr_of(folder))
        penstock(folder, "start", "hosts-long", "--id", "t")
        wait_for("the activity", lambda: "for activity long, attempt 1" in penstock(folder, "show", "t"))
        process.send_signal(signal.SIGINT)
        time.sleep(1)
        assert process.poll() is None, "it must wait for the activity"
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 128 + signal.SIGTERM


def test_processor_and_worker(folder):
    """`processor` and `worker` as two processes execute a workflow; without topics `processor` is exit code 3."""
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
    """A worker for a queue without a topic ends with exit code 3 and names the command that creates it."""
    penstock(folder, "topics", "apply")
    ended = subprocess.run(
        [sys.executable, "-m", "penstock", "worker", "hosted", "--queue", "bank", "--log-level", "error"], cwd=folder,
        capture_output=True, text=True, timeout=WAIT_S, check=False,
    )  # fmt: skip
    assert ended.returncode == 3
    assert "penstock.default.tasks.bank" in ended.stderr
    assert "topics apply" in ended.stderr


def test_another_number_of_shards(folder):
    """A processor whose setting `shards` differs from the namespace's number ends with exit code 3."""
    penstock(folder, "topics", "apply", "--shards", "2")
    (folder / "pyproject.toml").write_text("[tool.penstock]\nshards = 3\n")
    ended = subprocess.run(
        [sys.executable, "-m", "penstock", "processor", "hosted"], cwd=folder, capture_output=True, text=True,
        timeout=WAIT_S, check=False,
    )  # fmt: skip
    assert ended.returncode == 3
    assert "2 shards" in ended.stderr


def children(folder):
    lines = [line for line in stderr_of(folder).splitlines() if "processor process started" in line]
    return [json.loads(line)["pid"] for line in lines]


def test_several_processors(folder):
    """A processor process that is killed is restarted while the others continue; a signal drains all of them."""
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
    assert "Traceback" not in stderr_of(folder)


@pytest.mark.parametrize("processes", [1, 2])
def test_flags_of_one_start(folder, monkeypatch, processes):
    """--reset-clock and --accept-loss reach the processor, here or at the first start of a supervisor's children."""
    penstock(folder, "topics", "apply")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(hash_seed, "with_fixed_hash_seed", lambda: None)
    # Definitions of other tests in this process have no topics here.
    monkeypatch.setattr(namespace, "check_topics", lambda *_: 1)
    seen = []
    monkeypatch.setattr(supervisor, "supervise", lambda again, count, first: seen.extend((first, again)) or 0)
    monkeypatch.setattr(parts, "run_until_signalled", lambda *_, **__: None)

    def noted(*_, driver, **__):
        seen.append([flag for flag in ("reset_clock", "accept_loss") if getattr(driver, flag)])
        return types.SimpleNamespace(address="")

    monkeypatch.setattr(parts, "processor_part", noted)
    words = ["processor", "hosted", "--reset-clock", "--accept-loss", "--processes", str(processes)]
    ended = CliRunner().invoke(root.penstock, words)
    assert ended.exit_code == 0, (ended.stdout, ended.stderr)
    expected = {"reset_clock", "accept_loss"} if processes == 1 else {"--reset-clock", "--accept-loss"}
    assert expected <= set(seen[0])
    assert all(expected.isdisjoint(command) for command in seen[1:])


def test_a_supervisor_that_is_killed(folder):
    """Processor processes end when their supervisor is killed."""
    penstock(folder, "topics", "apply", "hosted")
    with host(folder, "processor", "hosted", "--processes", "2", "--log-format", "json") as parent:
        pids = wait_for("two processes", lambda: len(children(folder)) == 2 and children(folder))
        parent.kill()
        wait_for("the end of both", lambda: not any(map(alive, pids)))


def test_the_demo(tmp_path):
    """The demo ends well, with the tracking number, the path, and what to try next; it leaves nothing behind."""
    output = penstock(tmp_path, "demo")
    assert "joined the existing run" in output
    assert "CardDeclined: the bank refused" in output
    assert "reserve → reserve → reserve → signal approval → charge → slept → demo-ship → completed" in output
    assert "tracking number PS-83DCEFB7" in output
    assert output.index("tracking number") < output.index("Try next")
    assert list(tmp_path.iterdir()) == []


OTHER = """
from penstock import workflow

@workflow(name="hosts-other")
async def other() -> None: ...
"""


def refused(folder, *words):
    """The message of a command that ends with exit code 2."""
    ended = subprocess.run(
        [sys.executable, "-m", "penstock", *words], cwd=folder, capture_output=True, text=True, timeout=WAIT_S,
        check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr
    return ended.stderr


def test_neighbours_are_refused(folder):
    """A second `dev` in the folder, another program's processor, and a worker of another application, are refused with
    one sentence; a second processor of the same program is not."""
    (folder / "other.py").write_text(OTHER)
    with host(folder, "dev", "hosted.py", "--application", "hosts"):
        wait_for("the banner", lambda: "In another shell" in stderr_of(folder))
        assert "another `penstock dev` runs on" in refused(folder, "dev", "hosted.py")
        assert "this program hosts hosts-other, and process " in refused(folder, "processor", "other.py")
        assert "choose another with --namespace" in refused(folder, "worker", "hosted.py", "--application", "mine")
        shown = json.loads(penstock(folder, "namespace", "show", "--output", "json"))
        assert [sorted(member["workflows"]) for member in shown["members"]] == [["hosts-seed", "hosts-trial"]]
        (folder / "second").mkdir()
        log = ("--log", f"embedded:{folder}/.penstock")
        (folder / "second" / "hosted.py").write_text(WORKFLOWS)
        with host(folder / "second", "processor", "hosted.py", *log) as second:
            wait_for("the second processor", lambda: "processor started" in stderr_of(folder / "second"))
            assert len(json.loads(penstock(folder, "namespace", "show", "--output", "json"))["members"]) == 2
            assert second.poll() is None
