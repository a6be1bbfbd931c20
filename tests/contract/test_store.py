"""Contract tests of engine/store/store.py for every store."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.engine.store.memory import MemoryStore
from penstock.engine.store.rocks import RocksStore
from penstock.engine.store.store import Store
from penstock.schemas.errors import StoreError

STORES: dict[str, Callable[[Path], Store]] = {
    "memory": lambda _path: MemoryStore(),
    "rocks": lambda path: RocksStore(path / "store"),
}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = STORES[request.param](tmp_path)
    yield opened
    opened.close()


def numbered(number: int) -> dict[bytes, bytes | None]:
    """A hundred rows that all hold the same number."""
    return {b"row-%03d" % row: b"%d" % number for row in range(100)}


def test_what_was_written_is_read(store: Store) -> None:
    """A row written is there with its value, whatever its bytes; one never written is None."""
    rows = {b"": b"empty key", b"a": b"", b"\x00\xff": b"\x00" * 3, b"\xff" * 300: bytes(range(256))}
    store.write(rows)
    assert {key: store.get(key) for key in rows} == rows
    assert store.get(b"b") is None


def test_a_later_write_replaces(store: Store) -> None:
    """The last write of a key counts, also within scans."""
    store.write({b"a": b"1", b"b": b"1"})
    store.write({b"a": b"2"})
    assert store.get(b"a") == b"2"
    assert list(store.scan(b"", b"z")) == [(b"a", b"2"), (b"b", b"1")]


def test_none_deletes(store: Store) -> None:
    """A value of None deletes the row, in the same batch as other puts."""
    store.write({b"a": b"1", b"b": b"1"})
    store.write({b"a": None, b"c": b"1"})
    assert store.get(b"a") is None
    assert [key for key, _ in store.scan(b"", b"z")] == [b"b", b"c"]


def test_deleting_nothing_is_no_error(store: Store) -> None:
    """Deleting what is not there changes nothing and raises nothing."""
    store.write({b"a": b"1"})
    store.write({b"never": None})
    store.write({})
    assert list(store.scan(b"", b"z")) == [(b"a", b"1")]


def test_scan_includes_start_and_excludes_stop(store: Store) -> None:
    """A scan yields start <= key < stop exactly, longer and shorter keys included by their bytes."""
    keys = [b"a", b"a\x00", b"a\x01", b"aa", b"b", b"b\x00", b"c", b"\xff"]
    store.write(dict.fromkeys(keys, b"v"))
    assert [key for key, _ in store.scan(b"a\x00", b"b")] == [b"a\x00", b"a\x01", b"aa"]
    assert [key for key, _ in store.scan(b"a", b"b\x00")] == [b"a", b"a\x00", b"a\x01", b"aa", b"b"]
    assert [key for key, _ in store.scan(b"", b"\xff")] == keys[:-1]


@pytest.mark.parametrize(("start", "stop"), [(b"b", b"b"), (b"c", b"a"), (b"", b""), (b"x", b"z"), (b"a\x00", b"b")])
def test_an_empty_range_yields_nothing(store: Store, start: bytes, stop: bytes) -> None:
    """A scan between bounds with no key between them ends at once, also when they are the wrong way round."""
    store.write({b"a": b"1", b"b": b"1", b"c": b"1"})
    assert list(store.scan(start, stop)) == []


def test_scan_is_in_the_order_of_bytes(store: Store) -> None:
    """Rows come sorted by their unsigned bytes, in whatever order they were written, over many writes."""
    chance = random.Random(7)
    keys = sorted({chance.randbytes(chance.randint(1, 12)) for _ in range(3000)})
    shuffled = keys.copy()
    chance.shuffle(shuffled)
    for at in range(0, len(shuffled), 100):
        store.write({key: key[::-1] for key in shuffled[at : at + 100]})
    assert list(store.scan(b"", b"\xff" * 13)) == [(key, key[::-1]) for key in keys]


def test_a_scan_shows_the_rows_as_they_were_when_it_began(store: Store) -> None:
    """Writes after the call of scan, even of rows not yet reached, do not show in it."""
    before = {b"%05d" % row: b"old" for row in range(2000)}
    store.write(before)
    scan = store.scan(b"", b"a")
    first = next(scan)
    store.write(dict.fromkeys(before, None) | {b"00000a": b"new"})
    assert dict([first, *scan]) == before
    assert list(store.scan(b"", b"a")) == [(b"00000a", b"new")]


def test_a_scan_not_begun_yet_shows_the_rows_of_its_call(store: Store) -> None:
    """The moment of the call decides what a scan shows, not the moment of its first row."""
    store.write({b"a": b"old"})
    scan = store.scan(b"", b"z")
    store.write({b"a": b"new"})
    assert list(scan) == [(b"a", b"old")]


def test_a_scan_may_be_left_early(store: Store) -> None:
    """Scans abandoned at their first row, closed or not, prevent neither writes nor close."""
    store.write({b"%03d" % row: b"v" for row in range(500)})
    for _ in range(50):
        scan = store.scan(b"", b"a")
        assert next(scan) == (b"000", b"v")
        close = getattr(scan, "close", None)
        if close is not None:
            close()
    next(store.scan(b"", b"a"))
    store.write({b"000": None})
    assert next(store.scan(b"", b"a")) == (b"001", b"v")


def test_large_rows_pass_whole(store: Store) -> None:
    """Rows of a megabyte are written, read and scanned whole."""
    rows = {b"%d" % row: bytes([row]) * 1_000_000 for row in range(5)}
    store.write(rows)
    assert store.get(b"3") == rows[b"3"]
    assert dict(store.scan(b"", b"a")) == rows


def test_wipe_leaves_nothing(store: Store) -> None:
    """After a wipe no row is left, local and highest keys included, and the store goes on working."""
    store.write({b"\x00local": b"1", b"a": b"1", b"\xff" * 40: b"1", b"": b"1"})
    store.wipe()
    assert store.get(b"\x00local") is None
    assert store.get(b"\xff" * 40) is None
    assert list(store.scan(b"", b"\xff" * 50)) == []
    store.write({b"a": b"2"})
    assert list(store.scan(b"", b"z")) == [(b"a", b"2")]


def test_wiping_an_empty_store_is_no_error(store: Store) -> None:
    """Wiping twice, or before anything was written, leaves an empty store."""
    store.wipe()
    store.wipe()
    assert list(store.scan(b"", b"z")) == []


def test_a_closed_store_refuses_use(store: Store) -> None:
    """After close every method, and every scan still open, raises StoreError; closing again does not."""
    store.write({b"%04d" % row: b"v" for row in range(1000)})
    scan = store.scan(b"", b"a")
    next(scan)
    store.close()
    store.close()
    for use in (
        lambda: store.get(b"a"),
        lambda: store.write({b"a": b"1"}),
        lambda: list(store.scan(b"", b"a")),
        lambda: list(scan),
        store.wipe,
    ):
        with pytest.raises(StoreError, match="is closed"):
            use()


def test_another_thread_sees_batches_whole(store: Store) -> None:
    """A scan in another thread, while one writes, never shows a part of a batch, nor goes back in time."""
    store.write(numbered(0))
    stop = threading.Event()
    scans: list[set[bytes]] = []
    failures: list[BaseException] = []

    def read() -> None:
        try:
            while not stop.is_set():
                rows = list(store.scan(b"row-", b"row."))
                assert len(rows) == 100
                scans.append({value for _, value in rows})
        except BaseException as error:
            failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    number = 0
    while number < 300 or (len(scans) < 20 and reader.is_alive()):
        number += 1
        store.write(numbered(number))
    stop.set()
    reader.join(timeout=30)
    assert not reader.is_alive(), "waited 30 s for the reading thread to end"
    assert failures == []
    assert all(len(seen) == 1 for seen in scans)
    seen_in_order = [int(seen.pop()) for seen in scans]
    assert seen_in_order == sorted(seen_in_order)


def test_close_while_another_thread_scans(store: Store) -> None:
    """Closing under a reading thread ends its scan with StoreError and nothing worse."""
    store.write({b"%05d" % row: b"v" * 50 for row in range(5000)})
    begun = threading.Event()
    outcome: list[BaseException] = []

    def read() -> None:
        try:
            while True:
                for _ in store.scan(b"", b"a"):
                    begun.set()
        except BaseException as error:
            outcome.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    assert begun.wait(timeout=30), "waited 30 s for the first row"
    store.close()
    reader.join(timeout=30)
    assert not reader.is_alive(), "waited 30 s for the reading thread to notice that the store was closed"
    assert [type(error) for error in outcome] == [StoreError]


@pytest.mark.parametrize("seed", range(5))
def test_random_writes_agree_with_a_dictionary(store: Store, seed: int) -> None:
    """Any sequence of writes, deletions and wipes leaves what a dictionary would hold."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    model: dict[bytes, bytes] = {}
    for _ in range(150):
        rows: dict[bytes, bytes | None] = {
            b"%03d" % chance.randrange(300): chance.choice([None, chance.randbytes(4)])
            for _ in range(chance.choice([1, 3, 60]))
        }
        store.write(rows)
        for key, value in rows.items():
            if value is None:
                model.pop(key, None)
            else:
                model[key] = value
        if chance.random() < 0.02:
            store.wipe()
            model.clear()
        start, stop = (b"%03d" % chance.randrange(320) for _ in range(2))
        assert list(store.scan(start, stop)) == sorted(row for row in model.items() if start <= row[0] < stop)
    assert list(store.scan(b"", b"a")) == sorted(model.items())
