"""Inputs that were read and are not yet decided: a turn may be full before its batch is taken."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable

from penstock.topics.log import StoredRecord


class Backlog:
    """Inputs by shard, in the order they were read."""

    def __init__(self) -> None:
        self._records: dict[int, deque[StoredRecord]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, records: Iterable[StoredRecord]) -> None:
        """Append what was read."""
        for record in records:
            self._records.setdefault(record.partition, deque()).append(record)
            self._count += 1

    def first(self, number: int) -> StoredRecord | None:
        """The shard's first input, which stays."""
        records = self._records.get(number)
        return records[0] if records else None

    def pop(self, number: int) -> StoredRecord:
        """Remove the shard's first input."""
        records = self._records[number]
        record = records.popleft()
        if not records:
            del self._records[number]
        self._count -= 1
        return record

    def take(self, count: int, without: Container[int] = ()) -> list[tuple[int, list[StoredRecord]]]:
        """Remove up to `count` inputs, of all shards alike but those in `without`, as batches by shard."""
        taken: list[tuple[int, list[StoredRecord]]] = []
        for number, records in list(self._records.items()):
            if count <= 0:
                break
            if number in without:
                continue
            if len(records) <= count:
                batch = list(records)
                del self._records[number]
            else:
                batch = [records.popleft() for _ in range(count)]
                self._records[number] = self._records.pop(number)  # the others are first the next time
            taken.append((number, batch))
            count -= len(batch)
            self._count -= len(batch)
        return taken

    def put_back(self, number: int, records: list[StoredRecord]) -> None:
        """Return the end of a batch that was taken."""
        self._records.setdefault(number, deque()).extendleft(reversed(records))
        self._count += len(records)

    def drop(self, number: int) -> None:
        """Forget a shard's inputs: it was released, or starts again from its store."""
        self._count -= len(self._records.pop(number, ()))

    def clear(self) -> None:
        """Forget all inputs."""
        self._records.clear()
        self._count = 0
