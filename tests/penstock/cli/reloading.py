"""`penstock dev --reload` as a process, for tests that edit its files."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from penstock.client.sync import SyncClient

WAIT_S = 60
CODE = """
from penstock import Signal, activity, workflow

go = Signal("reload-go", int)

@activity(name="reload-price")
def price(number: int) -> int:
    return 10 * number

@activity(name="reload-check")
def check(number: int) -> None: ...

@workflow(name="reload-order")
async def order(number: int) -> int:
    first = await price(number)
    return first + await go.wait()
"""
HARMLESS = CODE.replace("10 * number", "20 * number")
BREAKING = CODE.replace("    first =", "    await check(number)\n    first =")
SYNTAX_ERROR = CODE.replace("return first +", "return first + +(")
LONG = CODE.replace("    return 10 *", "    pathlib.Path('begun').touch()\n    time.sleep(600)\n    return 10 *")
LONG = f"import pathlib\nimport time\n{LONG}"
RENAMED = CODE.replace('"reload-order"', '"reload-sale"')


class Dev:
    """`penstock dev --reload flow.py` in a folder of its own, with its output in a file."""

    def __init__(self, folder: Path, url: str = "", namespace: str = "default") -> None:
        self.folder, self.flow = folder, folder / "flow.py"
        self.flow.write_text(CODE)
        self._output = folder / "output"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
        place = ["--log", url, "--namespace", namespace] if url else []
        with self._output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "penstock", "dev", "--reload", *place, "flow.py"],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
            )
        self._seen = 0
        self.says("In another shell")
        self.client = SyncClient(url or f"embedded:{folder}/.penstock", namespace=namespace)
        self.client.__enter__()

    def says(self, *texts: str) -> str:
        """Wait until it has printed these texts since the last call; returns what it printed since."""

        def since() -> str:
            assert self.process.poll() is None, self._output.read_text()
            return self._output.read_text()[self._seen :]

        for text in texts:
            wait_for(f"{text!r} in its output", lambda text=text: text in since(), self._output.read_text)
        found = since()
        self._seen += len(found)
        return found

    def edit(self, code: str) -> None:
        """Save the file as editors do: another one takes its place."""
        written = self.flow.with_suffix(".py~")
        written.write_text(code)
        written.replace(self.flow)

    def start(self, id: str) -> None:
        """Start an order of 1, and wait until it waits for its signal."""
        self.client.start_by_name("reload-order", b"1", id)
        wait_for(f"{id} to wait", lambda: self.client.describe(id)["signals_awaited"], self._output.read_text)

    def finish(self, id: str) -> int:
        """Send the signal; returns the result."""
        self.client.signal(id, "reload-go", 1)
        result: int = self.client.result(id, timeout=f"{WAIT_S}s")
        return result

    def children(self) -> list[int]:
        """Processes that it started and that run."""
        return children_of(self.process.pid)

    def close(self) -> None:
        """End it, if it still runs."""
        self.client.__exit__(None, None, None)
        if self.process.poll() is None:
            self.process.kill()  # its children see the end of their stdin
        self.process.wait(WAIT_S)


def wait_for(what: str, condition: Callable[[], Any], shown: Callable[[], str] = str) -> Any:
    deadline = time.monotonic() + WAIT_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {WAIT_S} s for {what}\n{shown()}"
        time.sleep(0.1)
    return found


def children_of(pid: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(words[1]) == pid and words[0] != "Z":
            found.append(int(folder.name))
    return found


def alive(pid: int) -> bool:
    try:
        return (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]) != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
