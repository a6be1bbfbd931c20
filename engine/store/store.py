"""Interface of stores: a sorted map of bytes that is written in whole batches.

Contract, held by every adapter (tests/contract/test_store.py):

1. `write` is atomic: after a crash either all of its rows are there or none.
2. `scan` yields rows with start <= key < stop, in the order of their bytes, and sees every finished `write`.
3. A value of None in `write` deletes the row; deleting an absent row is no error.
4. `close` releases every lock, so that the same path can be opened again at once; a closed store raises StoreError.
5. Reads may come from any thread while one thread writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol


class StoreReader(Protocol):
    """Read access to a shard's committed rows."""

    def get(self, key: bytes) -> bytes | None:
        """The row's value, or None."""
        ...

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < stop in the order of their bytes; close the iterator to end the scan early."""
        ...


class Store(StoreReader, Protocol):
    """Rows of a shard; see the contract at the top of this file."""

    def write(self, rows: Mapping[bytes, bytes | None]) -> None:
        """Put and delete all of `rows` in one atomic batch. Raises StoreError."""
        ...

    def wipe(self) -> None:
        """Delete every row: the store is to be rebuilt from the changelog."""
        ...

    def close(self) -> None:
        """Release files and locks. May be called twice."""
        ...
