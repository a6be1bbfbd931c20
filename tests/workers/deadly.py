"""Worker process of the tests of activities that end it, and of frozen workers.

python -m tests.workers.deadly URL NAMESPACE FOLDER NAME CONCURRENCY
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from penstock.topics.catalogue import Topics
from penstock.topics.connect import connect
from penstock.workers.activity.decorator import activity
from penstock.workers.worker import Worker

_began_file = -1


@activity(name="deadly")
async def deadly(number: int) -> int:
    """End the process soon after the beginning."""
    os.write(_began_file, f"{number}\n".encode())
    await asyncio.sleep(0.05)
    os._exit(9)


@activity(name="harmless")
async def harmless(number: int) -> int:
    """Take half a second."""
    os.write(_began_file, f"{number}\n".encode())
    await asyncio.sleep(0.5)
    return number


def start(url: str, namespace: str, folder: Path, name: str, concurrency: int = 100) -> subprocess.Popen[bytes]:
    """Start a worker process with both activities."""
    command = [sys.executable, "-m", "tests.workers.deadly", url, namespace, str(folder), name, str(concurrency)]
    with (folder / f"{name}.out").open("ab") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=Path(__file__).parents[2])


def began(folder: Path, name: str) -> list[int]:
    """The numbers of the attempts that the worker began, in order."""
    path = folder / f"{name}.began"
    return list(map(int, path.read_text().split())) if path.exists() else []


def _main(url: str, namespace: str, folder: str, name: str, concurrency: str) -> None:
    global _began_file
    _began_file = os.open(Path(folder) / f"{name}.began", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    definitions = {one.name: one for one in (deadly, harmless)}
    Worker(connect(url), Topics(namespace), definitions, name=name, concurrency=int(concurrency)).run()


if __name__ == "__main__":
    _main(*sys.argv[1:6])
