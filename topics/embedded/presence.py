"""Detection of dead members: each member holds a lock on a file of its own, in a folder beside the log.

The kernel releases the lock however the process ends, including `kill -9`, but not while the process is stopped. A free
lock therefore proves that the member is dead, before its lease expires; and another process with the same pid is not
mistaken for it. If the file is missing or the file system has no locks, the lease decides, as for a stopped process.

The lock is flock's, which belongs to the open file and not to the process, so that several members of one process are
distinct. Files are created, examined and removed inside write transactions of the log only, hence by one process at a
time; ids of members are never reused.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Container
from pathlib import Path

logger = logging.getLogger(__name__)


class Presence:
    """Lock files of a log's members. `folder` is None for a log in memory, whose members end with it."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._held: dict[int, int] = {}  # file descriptors by member

    def announce(self, member: int) -> None:
        """Create the member's file and hold its lock."""
        if self._folder is None:
            return
        self.release(member)  # held if an earlier transaction with the same new id did not commit
        try:
            self._folder.mkdir(exist_ok=True)
            file = os.open(self._folder / str(member), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            logger.debug("no lock file for member %d, using its lease: %s", member, error)
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
            with contextlib.suppress(OSError):  # there is no file, or the folder contains others
                (self._folder / str(member)).unlink(missing_ok=True)
                self._folder.rmdir()

    def release(self, member: int) -> None:
        """Release the member's lock. Idempotent."""
        file = self._held.pop(member, None)
        if file is not None:
            os.close(file)

    def sweep(self, members: Container[int]) -> None:
        """Remove files that dead processes left behind, except those of `members`."""
        found: list[Path] = []
        if self._folder is not None:
            with contextlib.suppress(OSError):  # the folder could not be created
                found = list(self._folder.iterdir())
        for member in (int(path.name) for path in found if path.name.isdecimal()):
            if member not in members and self.is_gone(member):
                self.withdraw(member)


def _locked(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError:  # the lock is held elsewhere, or the file system does not support locks
        return False
    return True
