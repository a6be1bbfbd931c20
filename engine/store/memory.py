"""Store in memory: a dictionary with its keys in order.

Used by tests, the simulator and `embedded::memory:`; it keeps the contract of RocksDB (tests/contract/test_store.py).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from threading import Lock

from penstock.schemas.errors import StoreError

# Above this many new or deleted keys in one write, sorting the whole list again is cheaper than
# shifting its tail once for each key.
_SHIFTED_KEYS_MAX = 16


class MemoryStore:
    """Store in this process's memory. Raises StoreError when used after `close`."""

    def __init__(self) -> None:
        self._rows: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []  # the keys of _rows, sorted
        self._closed = False
        self._lock = Lock()  # so that a scan in another thread sees a write whole or not at all

    def get(self, key: bytes) -> bytes | None:
        """The row's value, or None."""
        self._must_be_open()
        return self._rows.get(key)

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < stop in the order of their bytes, as they are at this call."""
        self._must_be_open()
        with self._lock:
            keys = self._keys[bisect_left(self._keys, start) : bisect_left(self._keys, stop)]
            rows = [(key, self._rows[key]) for key in keys]
        return self._while_open(rows)

    def write(self, rows: Mapping[bytes, bytes | None]) -> None:
        """Put and delete all of `rows` at once."""
        self._must_be_open()
        with self._lock:
            added = [key for key, value in rows.items() if value is not None and key not in self._rows]
            deleted = [key for key, value in rows.items() if value is None and key in self._rows]
            for key, value in rows.items():
                if value is None:
                    self._rows.pop(key, None)
                else:
                    self._rows[key] = value
            self._order(added, deleted)

    def wipe(self) -> None:
        """Delete every row."""
        self._must_be_open()
        with self._lock:
            self._rows.clear()
            self._keys.clear()

    def close(self) -> None:
        """Refuse use from now on; the rows are gone."""
        with self._lock:
            self._closed = True
            self._rows.clear()
            self._keys.clear()

    def _order(self, added: list[bytes], deleted: list[bytes]) -> None:
        """Make `_keys` equal to the keys of `_rows`."""
        keys = self._keys
        if len(deleted) > _SHIFTED_KEYS_MAX:
            keys[:] = [key for key in keys if key in self._rows]
        else:
            for key in deleted:
                del keys[bisect_left(keys, key)]
        if len(added) > _SHIFTED_KEYS_MAX:
            keys.extend(added)
            keys.sort()
        else:
            for key in added:
                keys.insert(bisect_left(keys, key), key)

    def _while_open(self, rows: list[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        for row in rows:
            self._must_be_open()
            yield row

    def _must_be_open(self) -> None:
        if self._closed:
            raise StoreError("the store in memory is closed: open a new one")
