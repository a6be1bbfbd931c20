"""Is a member's process still there? Each member holds a lock on a small file of its own, in a folder beside the log.

The kernel lets go of the lock however the process ends, by `kill -9` too, and never while it is merely frozen. So who
finds the lock free knows at once that the member is dead, whatever its lease says; and no process that got the same pid
later is taken for it. A file that is not there, or a file system without locks, tells nothing: then the lease decides
alone, as it does for the frozen.

The lock is flock's, which belongs to the open file and not to the process: members of one process count apart. Files
are made, looked at and removed only inside write transactions of the log, hence by one process at a time; ids of
members are never given twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Container
from pathlib import Path

_logger = logging.getLogger(__name__)


class Presence:
    """The files of one log's members. `folder` None: a log in memory, whose members die with it."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._held: dict[int, int] = {}  # file descriptors by member

    def announce(self, member: int) -> None:
        """Hold the member's lock from now on."""
        if self._folder is None:
            return
        self.release(member)  # a transaction before did not commit, and the id is given for the first time once more
        try:
            self._folder.mkdir(exist_ok=True)
            file = os.open(self._folder / str(member), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            _logger.debug("member %d is known by its lease alone: %s", member, error)
            return
        if _locked(file, fcntl.LOCK_EX):
            self._held[member] = file
        else:
            os.close(file)

    def is_gone(self, member: int) -> bool:
        """Whether the member's process is known to have ended."""
        if self._folder is None or member in self._held:
            return False
        try:
            file = os.open(self._folder / str(member), os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return _locked(file, fcntl.LOCK_SH)
        finally:
            os.close(file)

    def withdraw(self, member: int) -> None:
        """Remove the member's file; its lock is held until `release`."""
        if self._folder is not None:
            with contextlib.suppress(OSError):  # there was no file, or others are left
                (self._folder / str(member)).unlink(missing_ok=True)
                self._folder.rmdir()

    def release(self, member: int) -> None:
        """Let go of the member's lock; said again, it changes nothing."""
        file = self._held.pop(member, None)
        if file is not None:
            os.close(file)

    def sweep(self, members: Container[int]) -> None:
        """Remove the files that dead processes left of members that are struck off: of all but these."""
        found: list[Path] = []
        if self._folder is not None:
            with contextlib.suppress(OSError):  # no folder could be made
                found = list(self._folder.iterdir())
        for member in (int(path.name) for path in found if path.name.isdecimal()):
            if member not in members and self.is_gone(member):
                self.withdraw(member)


def _locked(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError:  # somebody else has it, or this file system knows no locks
        return False
    return True
