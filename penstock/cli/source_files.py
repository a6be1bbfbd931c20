"""Source files of a program: which ones it has loaded, and whether one of them has changed."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

SETTLED_WAIT_S_MAX = 2.0
_Stamps = dict[str, tuple[int, int]]


def loaded_source_files() -> list[str]:
    """Files of the modules that this process has loaded, without Python's, Penstock's and those of packages that are
    installed."""
    installed = _installed()
    found = set()
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not file or name == "__main__" or name.partition(".")[0] == "penstock":
            continue
        path = str(Path(file).resolve())
        if path.endswith(".py") and not path.startswith(installed):
            found.add(path)
    return sorted(found)


class Watch:
    """Files whose times and sizes are compared by `look`."""

    def __init__(self) -> None:
        self.files: set[str] = set()
        self._beside = False
        self._stamps: _Stamps = {}

    def watch(self, files: Iterable[str], *, beside: bool = False) -> None:
        """Watch these files instead of those before. A change since the last look is still seen in files that stay.

        `beside`: also all Python files in their folders, such as one that an import lacks."""
        self.files, self._beside = set(files), beside
        now = self._read()
        self._stamps = {path: self._stamps.get(path, stamp) for path, stamp in now.items()}

    def look(self) -> list[str]:
        """Files that have changed, appeared or gone since the last time."""
        before, self._stamps = self._stamps, self._read()
        return sorted(path for path in {*before, *self._stamps} if before.get(path) != self._stamps.get(path))

    def settled(self) -> bool:
        """Whether no file was written in the present second. Python takes versions of one size and one second for the
        same, and would run the bytecode of the earlier one."""
        now = time.time()
        latest = max((time_ns for time_ns, _ in self._read().values()), default=0) / 1e9
        return int(latest) < int(now) or latest > now + SETTLED_WAIT_S_MAX  # a clock that is ahead: no use to wait

    def _read(self) -> _Stamps:
        found: _Stamps = {}
        for path in self._reached():
            try:
                status = os.stat(path)  # noqa: PTH116 - several times a second, for each file
            except OSError:  # gone, or about to be replaced
                continue
            found[path] = status.st_mtime_ns, status.st_size
        return found

    def _reached(self) -> set[str]:
        folders = {file.rpartition(os.sep)[0] for file in self.files} if self._beside else ()
        return self.files.union(*map(_python_files, folders))


def _python_files(folder: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry.path for entry in entries if entry.name.endswith(".py"))
    except OSError:
        return


def _installed() -> tuple[str, ...]:
    """Folders of Python's modules and of installed packages, each with a separator at its end."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = [*(sysconfig.get_path(name) for name in names), *site.getsitepackages(), site.getusersitepackages()]
    return tuple(f"{Path(folder).resolve()}{os.sep}" for folder in folders if folder)
