"""Tests of Ctrl-C: exit code 130 and no traceback, at any moment of a command."""

import os
import signal
import subprocess
import sys
import time

import pytest

WAIT_S = 60

SLOW = """
import os, time
os.write(1, b"here")
time.sleep(600)
"""

SWALLOWS = """
import os, time
try:
    os.write(1, b"here")
    time.sleep(600)
except BaseException as error:
    raise ImportError("an error of the module") from error
"""

IGNORES_ONE = """
import os, time
for _ in range(2):
    try:
        os.write(1, b"here")
        time.sleep(600)
    except KeyboardInterrupt:
        pass
"""

INTERRUPTED_RESTART = """
import os, signal
if os.environ.get("PYTHONHASHSEED") == "0":
    os.kill(os.getpid(), signal.SIGINT)
"""


def _reset_sigint():
    """Restore the default of SIGINT, which is ignored if the tests run in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Command:
    """`penstock …` in a process, started as a shell starts it."""

    def __init__(self, folder, *words, **environment):
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
        inherited.pop("PYTHONHASHSEED", None)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "penstock", *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**inherited, **environment}, preexec_fn=_reset_sigint,  # noqa: PLW1509 (one system call, no lock)
        )  # fmt: skip

    def wait_until_loading(self):
        """Wait until the module reports that it is being loaded."""
        assert self._process.stdout.read(4) == b"here", self._process.stderr.read().decode()

    def interrupt(self):
        self._process.send_signal(signal.SIGINT)

    def check_ended_quietly(self):
        _, stderr = self._process.communicate(timeout=WAIT_S)
        assert self._process.returncode == 130, stderr.decode()
        assert stderr.decode().strip() == "penstock: interrupted"


def written(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize("verb", ["dev", "processor", "worker", "topics plan"])
@pytest.mark.parametrize("text", [SLOW, SWALLOWS], ids=["slow", "swallows"])
def test_while_a_module_loads(tmp_path, verb, text):
    """An interrupt during the import of a user module ends the command, even if the module converts it."""
    written(tmp_path / "slow_to_load.py", text)
    command = Command(tmp_path, *verb.split(), "slow_to_load.py")
    command.wait_until_loading()
    command.interrupt()
    command.check_ended_quietly()
    assert not (tmp_path / ".penstock").exists()


def test_a_module_that_ignores_an_interrupt(tmp_path):
    """If a module swallows the first interrupt, the second ends the command at once."""
    written(tmp_path / "ignores.py", IGNORES_ONE)
    command = Command(tmp_path, "dev", "ignores.py")
    for _ in range(2):
        command.wait_until_loading()
        command.interrupt()
    command.check_ended_quietly()


def test_while_penstock_itself_loads(tmp_path):
    """An interrupt during the import of Penstock's own libraries ends the command."""
    written(tmp_path / "libraries" / "click.py", SLOW)
    command = Command(tmp_path, "list", PYTHONPATH=str(tmp_path / "libraries"))
    command.wait_until_loading()
    command.interrupt()
    command.check_ended_quietly()


def test_while_a_host_restarts_itself(tmp_path):
    """An interrupt while a host restarts itself with a fixed hash seed is not lost."""
    written(tmp_path / "libraries" / "sitecustomize.py", INTERRUPTED_RESTART)
    written(tmp_path / "never_loaded.py", SLOW)
    command = Command(tmp_path, "dev", "never_loaded.py", PYTHONPATH=str(tmp_path / "libraries"))
    command.check_ended_quietly()


@pytest.mark.parametrize("words", ["start t", "signal x go", "result x", "list", "demo"])
def test_while_a_command_waits(tmp_path, words):
    """Commands that wait for a processor or a run end at an interrupt."""
    log = ["--log", f"embedded:{tmp_path}/log"]
    made = subprocess.run(
        [sys.executable, "-m", "penstock", "topics", "apply", *log], capture_output=True, timeout=WAIT_S
    )
    assert made.returncode == 0
    command = Command(tmp_path, *words.split(), *log)
    time.sleep(1.5)
    command.interrupt()
    command.check_ended_quietly()
