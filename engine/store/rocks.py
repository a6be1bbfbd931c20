"""Store on disk: RocksDB, through rocksdict in raw mode.

Properties that the adapter relies on (rocksdict 0.3.29, RocksDB 10.4; each was tested):

- `raw_mode=True` always: the default mode pickles, so a tampered directory could run code.
- The write-ahead log is on and never synced: the changelog is the durable copy, the local log only saves a long
  restore. A batch is one entry of it, so a process killed at any point leaves whole batches.
- Iterators of rocksdict end silently at a damaged block; only `status()` reports it, so every scan that ends calls it.
- `Rdict.close` keeps the directory locked for as long as one iterator lives, so the store knows its open scans and
  ends them first.
- Keys are kind + id + NUL + ...: no prefix of fixed length identifies a run, so there is no prefix extractor; scans are
  bounded by `iterate_upper_bound` and point reads by a bloom filter over whole keys.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Lock
from weakref import WeakSet

from rocksdict import (
    BlockBasedOptions,
    Cache,
    DbClosedError,
    DBCompressionType,
    Options,
    Rdict,
    RdictIter,
    ReadOptions,
    WriteBatch,
    WriteBufferManager,
    WriteOptions,
)

from penstock.schemas.errors import StoreCorrupt, StoreError, StoreLocked

MEBIBYTE = 1024 * 1024
BLOCK_CACHE_BYTES = 64 * MEBIBYTE  # for all stores of a process together
WRITE_BUFFER_BYTES = 32 * MEBIBYTE  # of each store; at most two of them at once
WRITE_BUFFERS_BYTES = 64 * MEBIBYTE  # of all stores of a process together
WAL_BYTES_MAX = 128 * MEBIBYTE
OPEN_FILES_MAX = 256

# A scan reads ahead in growing steps: looking at the first row stays cheap, and long scans pay per row only.
_ROWS_AHEAD_FIRST = 8
_ROWS_AHEAD_MAX = 256
_BYTES_AHEAD_MAX = 256 * 1024


class RocksStore:
    """Store in a directory of its own, created if missing.

    Opening raises StoreLocked while another store has it open, StoreCorrupt if its files are damaged, else StoreError.
    `get` and `write` hold the interpreter's lock throughout."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._lock = Lock()  # guards _cursors, and each cursor against `close` in another thread
        self._cursors: WeakSet[_Cursor] = WeakSet()
        self._closed = False
        self._write_options = WriteOptions()
        self._write_options.sync = False  # the write-ahead log itself is on by default
        try:
            Path(self.path).mkdir(parents=True, exist_ok=True)
            self._db = Rdict(self.path, _options())
        except Exception as error:
            raise _store_error(error, self.path) from error

    def get(self, key: bytes) -> bytes | None:
        """The row's value, or None. Raises StoreCorrupt, StoreError."""
        try:
            value: bytes | None = self._db.get(key)
        except Exception as error:
            raise _store_error(error, self.path) from error
        return value

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < stop in the order of their bytes, as of this call, read lazily (up to 256 rows or
        256 kB ahead). Raises StoreCorrupt, StoreError."""
        options = ReadOptions()
        options.set_iterate_upper_bound(stop)
        with self._lock:
            try:
                cursor = _Cursor(self._db.iter(options), options, start, self._lock, self.path)
            except Exception as error:
                raise _store_error(error, self.path) from error
            self._cursors.add(cursor)
        return _rows(cursor) if start < stop else iter(())

    def write(self, rows: Mapping[bytes, bytes | None]) -> None:
        """Put and delete all of `rows` in one atomic batch. Raises StoreError."""
        batch = WriteBatch(raw_mode=True)
        put, delete = batch.put, batch.delete
        for key, value in rows.items():
            if value is None:
                delete(key)
            else:
                put(key, value)
        self._write(batch)

    def wipe(self) -> None:
        """Delete every row, atomically. Later compactions release the space."""
        try:
            last = self._db.iter()
            last.seek_to_last()
            last.status()
            if not last.valid():
                return
            batch = WriteBatch(raw_mode=True)
            batch.delete_range(b"", last.key() + b"\x00")
        except Exception as error:
            raise _store_error(error, self.path) from error
        self._write(batch)

    def close(self) -> None:
        """Release files and locks; open scans raise StoreError from now on. May be called twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for cursor in self._cursors:
                cursor.drop()
            try:
                self._db.close()
            except Exception as error:
                raise _store_error(error, self.path) from error

    def _write(self, batch: WriteBatch) -> None:
        try:
            self._db.write(batch, self._write_options)
        except Exception as error:
            raise _store_error(error, self.path) from error


def delete_store(path: str | os.PathLike[str]) -> None:
    """Delete the store in this directory, damaged or not; it is rebuilt from the changelog when opened next.

    Files that are not RocksDB's are kept. Raises StoreLocked while a store has it open, else StoreError."""
    place = Path(path)
    if not place.is_dir():
        return
    try:
        Rdict.destroy(os.fspath(place), Options(raw_mode=True))
        for leftover in (*place.glob("rocksdict-config.json"), *place.glob("LOG*"), *place.glob("LOCK")):
            leftover.unlink()
    except Exception as error:
        raise _store_error(error, os.fspath(place)) from error
    with suppress(OSError):  # it holds foreign files, or is gone already
        place.rmdir()


class _Cursor:
    """Iterator of RocksDB that the store can close."""

    __slots__ = ("__weakref__", "_iterator", "_lock", "_options", "_path")

    def __init__(self, iterator: RdictIter, options: ReadOptions, start: bytes, lock: Lock, path: str) -> None:
        # RocksDB reads the upper bound out of the options' own memory: they must live as long as the iterator, which
        # does not keep them (rocksdict 0.3.29). Freed, the bound would be arbitrary memory.
        self._options = options
        iterator.seek(start)
        self._iterator: RdictIter | None = iterator
        self._lock = lock
        self._path = path

    def take(self, rows_max: int) -> list[tuple[bytes, bytes]]:
        """The next rows, fewer than requested if they are large; none at the end."""
        rows: list[tuple[bytes, bytes]] = []
        size_bytes = 0
        with self._lock:  # `close` must not return while a reference to the iterator is held here
            iterator = self._iterator
            if iterator is None:
                raise _closed(self._path)
            try:
                while len(rows) < rows_max and size_bytes < _BYTES_AHEAD_MAX and iterator.valid():
                    key, value = iterator.key(), iterator.value()
                    rows.append((key, value))
                    size_bytes += len(key) + len(value)
                    iterator.next()
                if not iterator.valid():
                    iterator.status()  # raises if the scan ended at a block that cannot be read
            except Exception as error:
                raise _store_error(error, self._path) from error
            finally:
                del iterator
        return rows

    def drop(self) -> None:
        self._iterator = None


def _rows(cursor: _Cursor) -> Iterator[tuple[bytes, bytes]]:
    rows_max = _ROWS_AHEAD_FIRST
    try:
        while rows := cursor.take(rows_max):
            yield from rows
            rows_max = min(rows_max * 4, _ROWS_AHEAD_MAX)
    finally:
        cursor.drop()


@cache
def _block_cache() -> Cache:
    """Cache for all stores of the process: the number of its shards changes, its memory must not."""
    return Cache(BLOCK_CACHE_BYTES)


@cache
def _write_buffers() -> WriteBufferManager:
    """Limit of the write buffers of all stores of the process: the store that writes next flushes its own."""
    return WriteBufferManager(WRITE_BUFFERS_BYTES, allow_stall=False)


def _options() -> Options:
    table = BlockBasedOptions()
    table.set_block_cache(_block_cache())
    table.set_block_size(16 * 1024)
    table.set_bloom_filter(10, block_based=False)
    table.set_cache_index_and_filter_blocks(True)  # bounded by the cache, instead of growing with the store
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_block_based_table_factory(table)
    options.set_write_buffer_size(WRITE_BUFFER_BYTES)
    options.set_max_write_buffer_number(2)
    options.set_write_buffer_manager(_write_buffers())
    options.set_memtable_whole_key_filtering(True)  # most reads are of unknown message ids, and miss
    options.set_memtable_prefix_bloom_ratio(0.02)
    options.set_max_total_wal_size(WAL_BYTES_MAX)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_max_open_files(OPEN_FILES_MAX)
    options.set_max_background_jobs(2)
    # Rows of timers and tasks are written to be deleted soon: compact where deletions pile up, so that scans do not
    # have to wade through them.
    options.add_compact_on_deletion_collector_factory(1024, 512, 0.5)
    options.set_max_log_file_size(4 * MEBIBYTE)
    options.set_keep_log_file_num(4)
    options.set_max_manifest_file_size(16 * MEBIBYTE)
    options.set_stats_dump_period_sec(0)
    return options


def _store_error(error: Exception, path: str) -> StoreError:
    """Error of our own for one that rocksdict raised (a bare Exception with RocksDB's text); it says what to do."""
    text = str(error)
    if isinstance(error, StoreError):
        return error
    if isinstance(error, DbClosedError):
        return _closed(path)
    if "lock hold by current process" in text:
        return StoreLocked(f"the store at {path} is open in this process already: close it first")
    if "While lock file" in text:
        return StoreLocked(
            f"the store at {path} is open in another process: stop that process, or give this one its own directory"
        )
    if "No such file or directory: while unlink" in text:
        # Before it takes the lock, an opening deletes old logs; two that do so at a time meet here (RocksDB 10.4).
        return StoreLocked(f"the store at {path} is being opened or closed by another: open it again ({text})")
    missing_file = "No such file or directory: While open" in text
    if text.startswith("Corruption") or missing_file:
        return StoreCorrupt(
            f"the files of the store at {path} are damaged: delete that directory; it is rebuilt from the changelog "
            f"({text})"
        )
    return StoreError(f"the store at {path} failed: {text}")


def _closed(path: str) -> StoreError:
    return StoreError(f"the store at {path} is closed: open it again")
