"""A process's place in a state directory, and the transactional id that follows from it."""

from __future__ import annotations

import fcntl
import socket
import uuid
from pathlib import Path
from typing import IO

import structlog

from penstock.schemas.errors import SettingsError, StoreError
from penstock.topics.catalogue import Topics

logger = structlog.get_logger(__name__)

SLOTS_MAX = 256


class Slot:
    """A process's place in a state directory. It names the transactional id, which stays the same after a restart.

    The lock ends with the process, however that ends, so that a restarted processor finds its slot free."""

    def __init__(self, data: Path) -> None:
        self._data = data
        try:
            data.mkdir(parents=True, exist_ok=True)
            self._file, self.number = self._lock()
        except OSError as error:
            raise StoreError(
                f"the directory of the state {data} cannot be written ({error.strerror}): "
                "choose another with --data, or mend its permissions"
            ) from error
        self.installation = self._installation()

    def transactional_id(self, topics: Topics) -> str:
        """The transactional id of this slot."""
        return f"{topics.prefix}.{topics.namespace}.processor.{self.installation}.{self.number}"

    def close(self) -> None:
        """Release the slot."""
        self._file.close()

    def _lock(self) -> tuple[IO[str], int]:
        for number in range(SLOTS_MAX):
            file = (self._data / f"slot-{number}.lock").open("a+")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                continue
            return file, number
        raise SettingsError(f"{SLOTS_MAX} processors already use {self._data}; give this one another data directory.")

    def _installation(self) -> str:
        """Name of the data directory, created at first use; written atomically, since an empty name would be shared.

        A copied directory, or a moved one, gets a name of its own: two processors under one would fence each other."""
        path, place = self._data / "installation", self._data / "installation.place"
        with (self._data / "installation.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            name = _text_of(path)
            if name and _text_of(place) == _place_of(path):
                return name
            if name:
                logger.warning(
                    "this data directory is a copy of another one, or was moved: it gets a transactional id of its own",
                    path=str(self._data),
                )
            name = uuid.uuid4().hex
            _write(path, name)
            _write(place, _place_of(path))
            return name


def _place_of(path: Path) -> str:
    """Where a file is: no copy of it has the same inode and time of change, and no other machine the same name."""
    found = path.stat()
    return f"{socket.gethostname()} {found.st_dev} {found.st_ino} {found.st_ctime_ns}"


def _text_of(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


def _write(path: Path, text: str) -> None:
    fresh = path.with_name("installation.new")
    fresh.write_text(text)
    fresh.replace(path)
