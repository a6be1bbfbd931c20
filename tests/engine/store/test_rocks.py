"""Tests of RocksStore beyond the contract of stores: crashes, locks, damaged files, bounded use of disk."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock.engine.store import rocks
from penstock.engine.store.rocks import RocksStore, delete_store
from penstock.schemas.errors import StoreCorrupt, StoreError, StoreLocked

# Writes batches of a hundred rows that all hold the batch's number, and prints the number of each written batch.
BATCH_WRITER = """
import sys
from penstock.engine.store.rocks import RocksStore
store = RocksStore(sys.argv[1])
number = int(store.get(b"row-000") or b"0")
while True:
    number += 1
    store.write({b"row-%03d" % row: b"%d" % number for row in range(100)} | {b"once-%09d" % number: b"v" * 1000})
    print(number, flush=True)
"""

HOLDER = """
import sys
from penstock.engine.store.rocks import RocksStore
store = RocksStore(sys.argv[1])
print("open", flush=True)
sys.stdin.readline()
"""


@contextmanager
def child(program: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs this program on the store at `path`; killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)


def filled(path: Path) -> None:
    """A closed store with rows in several files."""
    for part in range(3):
        store = RocksStore(path)
        store.write({b"%d-%04d" % (part, row): os.urandom(100) for row in range(2000)})
        store.close()


def flip_bits(file: Path, start: int, length: int) -> None:
    content = bytearray(file.read_bytes())
    for at in range(start, min(start + length, len(content))):
        content[at] ^= 0xFF
    file.write_bytes(content)


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_process_leaves_whole_batches(tmp_path: Path, seed: int) -> None:
    """After SIGKILL in mid-write, every batch is present whole or not at all, and no finished one is missing."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    path = tmp_path / "store"
    for _ in range(2):
        with child(BATCH_WRITER, path) as process:
            assert process.stdout is not None
            finished = 0
            for _ in range(chance.randint(1, 300)):
                finished = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            rest, _ = process.communicate(timeout=30)
            finished = max([finished, *(int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n"))])
        store = RocksStore(path)
        numbers = {int(value) for _, value in store.scan(b"row-", b"row.")}
        once = [int(key[5:]) for key, _ in store.scan(b"once-", b"once.")]
        store.close()
        assert len(numbers) == 1
        number = numbers.pop()
        assert number >= finished
        assert once == list(range(1, number + 1))


def test_a_store_open_elsewhere_is_locked(tmp_path: Path) -> None:
    """Opening a store that another process has open raises StoreLocked with its path; afterwards it opens."""
    path = tmp_path / "store"
    with child(HOLDER, path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(StoreLocked, match="open in another process") as locked:
            RocksStore(path)
        assert str(path) in str(locked.value)
        with pytest.raises(StoreLocked, match="open in another process"):
            delete_store(path)
    RocksStore(path).close()


def test_a_store_open_here_is_locked(tmp_path: Path) -> None:
    """Opening a store twice in one process raises StoreLocked, and so does deleting an open one."""
    store = RocksStore(tmp_path)
    store.write({b"a": b"1"})
    with pytest.raises(StoreLocked, match="open in this process"):
        RocksStore(tmp_path)
    with pytest.raises(StoreLocked, match="open in this process"):
        delete_store(tmp_path)
    assert store.get(b"a") == b"1"
    store.close()


def test_reopening_right_after_close_finds_the_rows(tmp_path: Path) -> None:
    """The same path opens at once after close, twenty times over, although scans were left open."""
    left_open = []
    for turn in range(20):
        store = RocksStore(tmp_path)
        assert [int(value) for _, value in store.scan(b"", b"a")] == list(range(turn))
        store.write({b"%02d" % turn: b"%d" % turn})
        scan = store.scan(b"", b"a")
        next(scan)
        left_open += [scan, store.scan(b"", b"a")]
        store.close()


@pytest.mark.parametrize("damaged", ["*.sst", "MANIFEST-*", "CURRENT"])
def test_damaged_files_are_corrupt(tmp_path: Path, damaged: str) -> None:
    """Flipped bits in tables, manifest or CURRENT raise StoreCorrupt on opening or on reading, never fewer rows."""
    path = tmp_path / "store"
    filled(path)
    for file in path.glob(damaged):
        flip_bits(file, file.stat().st_size // 3, 8)

    def read_all() -> None:
        store = RocksStore(path)
        try:
            list(store.scan(b"", b"a"))
        finally:
            store.close()

    with pytest.raises(StoreCorrupt, match="delete that directory"):
        read_all()


def test_a_damaged_block_is_corrupt_on_get(tmp_path: Path) -> None:
    """Reading a row whose block is damaged raises StoreCorrupt instead of returning None."""
    filled(tmp_path)
    for file in tmp_path.glob("*.sst"):
        flip_bits(file, 0, 2000)
    store = RocksStore(tmp_path)
    with pytest.raises(StoreCorrupt, match="damaged"):
        store.get(b"0-0000")
    store.close()


@pytest.mark.parametrize("missing", ["*.sst", "MANIFEST-*", "CURRENT"])
def test_missing_files_are_corrupt(tmp_path: Path, missing: str) -> None:
    """A store whose tables, manifest or CURRENT are gone raises StoreCorrupt, and never opens as an empty one."""
    path = tmp_path / "store"
    filled(path)
    for file in path.glob(missing):
        file.unlink()
    with pytest.raises(StoreCorrupt, match=str(path)):
        RocksStore(path)


def test_a_damaged_store_can_be_deleted(tmp_path: Path) -> None:
    """delete_store removes a store that cannot be opened; the path opens empty afterwards."""
    path = tmp_path / "store"
    filled(path)
    (path / "CURRENT").write_bytes(b"nonsense")
    delete_store(path)
    assert not path.exists()
    delete_store(path)
    store = RocksStore(path)
    assert list(store.scan(b"", b"a")) == []
    store.close()


def test_deleting_keeps_foreign_files(tmp_path: Path) -> None:
    """delete_store keeps files that are not the store's."""
    filled(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    delete_store(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_those_who_wait_for_a_store_disturb_nobody(tmp_path: Path) -> None:
    """Several threads that open a store in turn get it, or StoreLocked, and nothing else.

    Each opening deletes old logs of RocksDB before it takes the lock, so that two delete the same file."""
    errors: list[Exception] = []

    def open_in_turn() -> None:
        for _ in range(100):
            try:
                RocksStore(tmp_path / "s").close()
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=open_in_turn) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [error for error in errors if not isinstance(error, StoreLocked)] == []


def test_an_old_log_that_another_has_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that disappears while a store is opened means that another is opening it too: StoreLocked."""

    def fail(*_: object) -> None:
        raise Exception(
            "IO error: No such file or directory: while unlink() file: s/LOG.old.1: No such file or directory"
        )

    monkeypatch.setattr(rocks, "Rdict", fail)
    with pytest.raises(StoreLocked, match="opened or closed by another"):
        RocksStore(tmp_path / "s")


def test_a_path_that_is_a_file_is_a_store_error(tmp_path: Path) -> None:
    """A path that cannot be a directory raises StoreError with the path, not StoreCorrupt."""
    path = tmp_path / "file"
    path.write_text("not a store")
    with pytest.raises(StoreError, match=str(path)) as refused:
        RocksStore(path)
    assert type(refused.value) is StoreError


def test_a_large_scan_is_lazy(tmp_path: Path) -> None:
    """Looking at the first row of many large ones reads a bounded part of them."""
    store = RocksStore(tmp_path)
    store.write({b"%04d" % row: bytes(100_000) for row in range(100)})
    store.close()
    store = RocksStore(tmp_path)
    scan = store.scan(b"", b"a")
    assert next(scan)[0] == b"0000"
    ahead = scan.gi_frame.f_locals["rows"]
    assert len(ahead) <= 3
    assert sum(1 for _ in scan) == 99
    store.close()


def test_a_wipe_survives_a_restart(tmp_path: Path) -> None:
    """Rows deleted by wipe stay deleted after the store is opened again."""
    filled(tmp_path)
    store = RocksStore(tmp_path)
    store.wipe()
    store.write({b"new": b"1"})
    store.close()
    store = RocksStore(tmp_path)
    assert list(store.scan(b"", b"z")) == [(b"new", b"1")]
    store.close()


def test_info_logs_are_bounded(tmp_path: Path) -> None:
    """Opening a store often leaves a bounded number of RocksDB's own log files."""
    for _ in range(12):
        RocksStore(tmp_path).close()
    assert len(list(tmp_path.glob("LOG*"))) <= 5
