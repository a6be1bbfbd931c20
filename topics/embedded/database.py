"""SQLite file shared by threads and processes: schema, connections, transactions with bounded waits.

A process has one writing connection, which its threads use in turn, and a pool of reading connections (with WAL,
readers and the writer do not wait for each other). A log in memory has a single connection for both.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.schemas.errors import LogUnavailable, OutcomeUnknown, PenstockError
from penstock.topics.embedded.changes import Changes

MEMORY = ":memory:"
SCHEMA_VERSION = 1
WAIT_S_MAX = 10.0
RETRY_S_FIRST, RETRY_S_MAX = 0.0005, 0.005

# A record's place is its partition's id and its offset in one integer, so that a partition is a contiguous range of the
# table's own B-tree: appending and reading need no second index.
OFFSET_BITS = 40

_SCHEMA = f"""
CREATE TABLE topics (name TEXT PRIMARY KEY, partitions INTEGER NOT NULL, config TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE partitions (id INTEGER PRIMARY KEY, topic TEXT NOT NULL, number INTEGER NOT NULL, first INTEGER NOT NULL,
    next INTEGER NOT NULL, compacted INTEGER NOT NULL, kept INTEGER NOT NULL, UNIQUE (topic, number));
CREATE TABLE records (place INTEGER PRIMARY KEY, key BLOB, value BLOB, at_ms INTEGER NOT NULL);
CREATE TABLE offsets (consumer_group TEXT NOT NULL, topic TEXT NOT NULL, number INTEGER NOT NULL,
    next INTEGER NOT NULL, metadata TEXT NOT NULL, PRIMARY KEY (consumer_group, topic, number)) WITHOUT ROWID;
CREATE TABLE consumer_groups (name TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE members (id INTEGER PRIMARY KEY AUTOINCREMENT, consumer_group TEXT NOT NULL, topics TEXT NOT NULL,
    lease_until_ms INTEGER NOT NULL);
CREATE TABLE grants (consumer_group TEXT NOT NULL, topic TEXT NOT NULL, number INTEGER NOT NULL,
    member INTEGER NOT NULL, generation INTEGER NOT NULL, PRIMARY KEY (consumer_group, topic, number)) WITHOUT ROWID;
CREATE TABLE transactors (id TEXT PRIMARY KEY, epoch INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE upkeep (name TEXT PRIMARY KEY, at_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE VIEW readable AS SELECT topic, number AS partition, place & ((1 << {OFFSET_BITS}) - 1) AS offset,
    key, value, at_ms FROM records JOIN partitions ON id = place >> {OFFSET_BITS};
PRAGMA user_version = {SCHEMA_VERSION};
"""  # noqa: S608 - constants of this file


class Database:
    """Database of a log, in a file or in memory. Raises LogUnavailable if it cannot be opened or stays busy."""

    def __init__(self, path: str, wait_s: float = WAIT_S_MAX) -> None:
        self._path = path
        self._wait_s = wait_s
        self._in_memory = path == MEMORY
        self._writing = threading.Lock()
        self._pool: list[sqlite3.Connection] = []
        self._closed = False
        if not self._in_memory:
            _make_folder(Path(path).parent)
        with self._translated_errors():
            self._writer = self._open()
            self._prepare()
            self.changes = Changes(None if self._in_memory else self._open())

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A durable transaction, committed at the end of the block and rolled back if the block raises.

        Raises LogUnavailable if nothing was written, OutcomeUnknown if the disk failed during the commit."""
        self._acquire_writer()
        try:
            with self._translated_errors():
                self._begin()
                try:
                    yield self._writer
                except BaseException:
                    self._rollback()
                    raise
                self._commit()
        finally:
            self._writing.release()
        self.changes.announce()

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A consistent view of the committed data. Raises LogUnavailable."""
        if self._in_memory:
            self._acquire_writer()
            try:
                with self._translated_errors():
                    yield self._writer
            finally:
                self._writing.release()
            return
        with self._translated_errors():
            self._require_open()
            connection = self._from_pool()
            try:
                connection.execute("BEGIN")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                connection.close()
                raise
            self._return_to_pool(connection)

    def close(self) -> None:
        """Close the file, after the current `write` block has ended."""
        self._acquire_writer(closing=True)
        try:
            self._closed = True
            self._writer.close()
            while self._pool:
                self._pool.pop().close()
            self.changes.close()
        finally:
            self._writing.release()

    def checkpoint(self) -> None:
        """Move the write-ahead file's contents into the main file and truncate it, if there are no readers."""
        if not self._in_memory:
            self._acquire_writer()
            try:
                with self._translated_errors():
                    self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                self._writing.release()

    def _open(self) -> sqlite3.Connection:
        # Threads pass connections on, but never use one at the same time.
        connection = sqlite3.connect(
            self._path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        connection.execute(f"PRAGMA busy_timeout = {int(self._wait_s * 1000)}")
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    def _prepare(self) -> None:
        connection = self._writer
        if not self._in_memory:
            self._execute_when_free("PRAGMA journal_mode = WAL", RETRY_S_MAX)
            connection.execute("PRAGMA journal_size_limit = 67108864")
        # The retries of `_execute_when_free` are faster than SQLite's, whose sleeps grow to 100 ms.
        connection.execute("PRAGMA busy_timeout = 0")
        self._begin()
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0 and not connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone():
            for statement in _SCHEMA.split(";\n"):
                connection.execute(statement)
        elif version != SCHEMA_VERSION:
            self._rollback()
            raise LogUnavailable(
                f"{self._path} is not a log of this version of Penstock: use another file, or move this one away"
            )
        connection.execute("COMMIT")

    def _acquire_writer(self, *, closing: bool = False) -> None:
        if not self._writing.acquire(timeout=self._wait_s):
            raise LogUnavailable(f"the log {self._path} was busy for {self._wait_s:g} s in this process: try again")
        if self._closed and not closing:
            self._writing.release()
            self._require_open()

    def _require_open(self) -> None:
        if self._closed:
            raise LogUnavailable(f"the log {self._path} was closed: open it again")

    def _from_pool(self) -> sqlite3.Connection:
        try:
            return self._pool.pop()
        except IndexError:
            return self._open()

    def _return_to_pool(self, connection: sqlite3.Connection) -> None:
        if self._closed:
            connection.close()
        else:
            self._pool.append(connection)

    def _begin(self) -> None:
        self._execute_when_free("BEGIN IMMEDIATE", RETRY_S_FIRST)

    def _execute_when_free(self, statement: str, pause_s: float) -> None:
        """Execute the statement, again while other processes have the file locked."""
        deadline = time.monotonic() + self._wait_s
        while True:
            try:
                self._writer.execute(statement)
                return
            except sqlite3.OperationalError as error:
                if not _busy(error) or time.monotonic() > deadline:
                    raise
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, RETRY_S_MAX)

    def _commit(self) -> None:
        try:
            self._writer.execute("COMMIT")
        except sqlite3.Error as error:
            self._rollback()
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_IOERR:
                raise OutcomeUnknown(f"the disk of {self._path} failed during a commit ({error})") from error
            raise

    def _rollback(self) -> None:
        if self._writer.in_transaction:
            self._writer.execute("ROLLBACK")

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except PenstockError:
            raise
        except sqlite3.Error as error:
            raise LogUnavailable(self._message(error)) from error

    def _message(self, error: sqlite3.Error) -> str:
        if _busy(error):
            return f"the log {self._path} was busy in another process for {self._wait_s:g} s: try again"
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        remedies = {
            sqlite3.SQLITE_CANTOPEN: "cannot be opened: choose another path or correct its permissions",
            sqlite3.SQLITE_READONLY: "cannot be written: correct its permissions",
            sqlite3.SQLITE_PERM: "cannot be opened: correct its permissions",
            sqlite3.SQLITE_NOTADB: "is not a Penstock log: use another file, or move this one away",
            sqlite3.SQLITE_CORRUPT: "is damaged: restore it from a backup, or move it away",
            sqlite3.SQLITE_FULL: "cannot grow because the disk is full: free some space",
        }
        return f"the log {self._path} {remedies.get(code, f'cannot be used: {error}')}"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LogUnavailable(
            f"the log's folder {folder} cannot be created ({error.strerror}): "
            "choose another path or correct its permissions"
        ) from error


def _busy(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
