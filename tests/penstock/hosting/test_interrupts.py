"""Does Ctrl-C end a command quietly with exit code 130, whatever the command is doing just then?"""

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
    raise ImportError("a library's own idea of what went wrong") from error
"""

HEEDS_NOTHING = """
import os, time
for _ in range(2):
    try:
        os.write(1, b"here")
        time.sleep(600)
    except KeyboardInterrupt:
        pass
"""

INTERRUPTED_WHILE_STARTING_AGAIN = """
import os, signal
if os.environ.get("PYTHONHASHSEED") == "0":
    os.kill(os.getpid(), signal.SIGINT)
"""


def _heed_interrupts():
    """As in a terminal's foreground: where the tests themselves run in the background, SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Command:
    """`penstock …` in a process of its own, started as a shell starts it."""

    def __init__(self, folder, *words, **environment):
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
        inherited.pop("PYTHONHASHSEED", None)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "penstock", *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**inherited, **environment}, preexec_fn=_heed_interrupts,  # noqa: PLW1509 (one system call, no lock)
        )  # fmt: skip

    def until_here(self):
        """Wait until the module says that it is being loaded."""
        assert self._process.stdout.read(4) == b"here", self._process.stderr.read().decode()

    def interrupt(self):
        self._process.send_signal(signal.SIGINT)

    def ended_quietly(self):
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
    """An interrupt while the user's module is being imported ends the command, whatever the module makes of it."""
    written(tmp_path / "slow_to_load.py", text)
    command = Command(tmp_path, *verb.split(), "slow_to_load.py")
    command.until_here()
    command.interrupt()
    command.ended_quietly()
    assert not (tmp_path / ".penstock").exists()


def test_a_module_that_heeds_no_interrupt(tmp_path):
    """Where a module swallows the first interrupt and goes on loading, the second ends the command at once."""
    written(tmp_path / "deaf.py", HEEDS_NOTHING)
    command = Command(tmp_path, "dev", "deaf.py")
    for _ in range(2):
        command.until_here()
        command.interrupt()
    command.ended_quietly()


def test_while_penstock_itself_loads(tmp_path):
    """An interrupt before the command line stands, while its own libraries are imported, is as quiet."""
    written(tmp_path / "libraries" / "click.py", SLOW)
    command = Command(tmp_path, "list", PYTHONPATH=str(tmp_path / "libraries"))
    command.until_here()
    command.interrupt()
    command.ended_quietly()


def test_while_a_host_starts_again(tmp_path):
    """An interrupt that comes while a host starts itself again with a fixed hash seed is not lost and shows nothing."""
    written(tmp_path / "libraries" / "sitecustomize.py", INTERRUPTED_WHILE_STARTING_AGAIN)
    written(tmp_path / "never_loaded.py", SLOW)
    command = Command(tmp_path, "dev", "never_loaded.py", PYTHONPATH=str(tmp_path / "libraries"))
    command.ended_quietly()


@pytest.mark.parametrize("words", ["start t", "signal x go", "result x", "list", "demo"])
def test_while_a_command_waits(tmp_path, words):
    """Commands that wait, for a processor or for a run, end as quietly."""
    log = ["--log", f"embedded:{tmp_path}/log"]
    made = subprocess.run(
        [sys.executable, "-m", "penstock", "topics", "apply", *log], capture_output=True, timeout=WAIT_S
    )
    assert made.returncode == 0
    command = Command(tmp_path, *words.split(), *log)
    time.sleep(1.5)
    command.interrupt()
    command.ended_quietly()
