"""Where does a shard keep its rows? In a sorted map of bytes that is written whole batches at a time.

Contract, held by every adapter (tests/contract/test_store.py):

1. `write` is atomic: after a crash either all of its rows are there or none.
2. `scan` yields rows with start <= key < stop, in the order of their bytes, and sees every finished `write`.
3. A value of None in `write` deletes the row; deleting what is not there is no error.
4. `close` releases every lock, so that the same path can be opened at once again; a closed store refuses use.
5. Reads may come from any thread while one thread writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol


class StoreReader(Protocol):
    """What may be read: committed rows only."""

    def get(self, key: bytes) -> bytes | None:
        """The row's value, or None."""
        ...

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < stop in the order of their bytes; close the iterator to let go early."""
        ...


class Store(StoreReader, Protocol):
    """A shard's rows; see the contract at the top of this file."""

    def write(self, rows: Mapping[bytes, bytes | None]) -> None:
        """Put and delete all of `rows` in one atomic batch. Raises StoreError."""
        ...

    def wipe(self) -> None:
        """Delete every row: the store is to be rebuilt from the changelog."""
        ...

    def close(self) -> None:
        """Let go of files and locks. May be called twice."""
        ...
